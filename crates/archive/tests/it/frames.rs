//! Ranged reads: the right bytes, and no others touched.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::rc::Rc;

use lifeboat_archive::{
    ArchiveError, Damage, Finished, Frame, FrameReader, FrameSize, SealOptions, SealedWriter, frame_range,
};
use lifeboat_model::Digest;
use proptest::prelude::*;

use crate::support::{KEY, damage, sample, seal};

/// What an object store's ranged GET would be asked for: each read is a request for the whole buffer.
struct Ranged {
    bytes: Vec<u8>,
    position: usize,
    requests: Rc<RefCell<Vec<Range<u64>>>>,
}

impl Ranged {
    fn new(bytes: Vec<u8>) -> (Self, Rc<RefCell<Vec<Range<u64>>>>) {
        let requests = Rc::new(RefCell::new(Vec::new()));
        (Self { bytes, position: 0, requests: Rc::clone(&requests) }, requests)
    }
}

impl Read for Ranged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.position as u64;
        self.requests.borrow_mut().push(start..start + buffer.len() as u64);
        let read = (&self.bytes[self.position..]).read(buffer)?;
        self.position += read;
        Ok(read)
    }
}

impl Seek for Ranged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(offset) = to else { panic!("only seeks to an offset were promised, not {to:?}") };
        self.position = usize::try_from(offset).unwrap();
        Ok(offset)
    }
}

fn part(plain: &[u8], frame_size: u32) -> Finished<Vec<u8>> {
    seal(plain, SealOptions { frame_size: FrameSize::new(frame_size), level: 1, record_frames: true })
}

fn plain_of<'a>(frame: &Frame, plain: &'a [u8]) -> &'a [u8] {
    let start = usize::try_from(frame.plain_offset).unwrap();
    &plain[start..start + usize::try_from(frame.plain_length).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_frame_reads_in_any_order_by_one_range(
        length in 1..1_500_000usize,
        frame_size in prop_oneof![2_000..20_000u32, 100_000..400_000u32],
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let plain = sample(length);
        let finished = part(&plain, frame_size);
        let stored_bytes = finished.sealed.stored_bytes;
        let (source, requests) = Ranged::new(finished.sink.clone());
        let mut reader = FrameReader::open(source, &KEY.identities, stored_bytes).unwrap();
        let head = 0..stored_bytes.min(32 * 1024);
        prop_assert_eq!(requests.take(), [head]);
        for index in order {
            let frame = index.get(&finished.frames);
            requests.borrow_mut().clear();
            prop_assert_eq!(reader.read_frame(frame).unwrap(), plain_of(frame, &plain));
            let range = frame_range(reader.payload_offset(), stored_bytes, frame).unwrap();
            let touched = requests.borrow();
            prop_assert!(touched.is_empty() || *touched == [range.clone()], "{touched:?} instead of {range:?}");
            prop_assert!(range.end <= stored_bytes);
            prop_assert!(range.end - range.start <= frame.stored_length + 2 * 65_552 + frame.stored_length / 4096);
        }
    }
}

#[test]
fn all_frames_read_forwards_and_backwards() {
    let plain = sample(800_000);
    let finished = part(&plain, 3_000);
    let mut reader =
        FrameReader::open(io::Cursor::new(&finished.sink), &KEY.identities, finished.sealed.stored_bytes).unwrap();
    for frame in finished.frames.iter().chain(finished.frames.iter().rev()) {
        assert_eq!(reader.read_frame(frame).unwrap(), plain_of(frame, &plain));
    }
}

#[test]
fn a_frame_at_the_very_start_of_a_chunk_needs_no_end_of_file() {
    // Noise of a chosen length makes the second frame start where age's second chunk starts.
    let mut state = 9u64;
    let noise: Vec<u8> = (0..80_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    let mut met = 0;
    for length in 65_500..65_536 {
        let options = SealOptions { record_frames: true, ..SealOptions::default() };
        let mut writer = SealedWriter::new(Vec::new(), &KEY.recipients, options).unwrap();
        writer.write_all(&noise[..length]).unwrap();
        writer.cut_frame().unwrap();
        writer.write_all(&noise).unwrap();
        writer.cut_frame().unwrap();
        writer.write_all(&noise).unwrap();
        let finished = writer.finish().unwrap();
        let second = &finished.frames[1];
        if second.stored_offset != 65_536 {
            continue;
        }
        met += 1;
        let (source, requests) = Ranged::new(finished.sink.clone());
        let mut reader = FrameReader::open(source, &KEY.identities, finished.sealed.stored_bytes).unwrap();
        assert_eq!(reader.read_frame(second).unwrap(), noise);
        assert_eq!(requests.borrow().len(), 2, "one for the header, one for the frame");
        assert_eq!(reader.read_frame(&finished.frames[0]).unwrap(), &noise[..length]);
        assert_eq!(reader.read_frame(second).unwrap(), noise);
    }
    assert_eq!(met, 1, "one of these lengths hits the edge");
}

#[test]
fn impossible_frames_are_refused_before_anything_is_read() {
    let plain = sample(300_000);
    let finished = part(&plain, 10_000);
    let good = &finished.frames[3];
    let (source, requests) = Ranged::new(finished.sink.clone());
    let mut reader = FrameReader::open(source, &KEY.identities, finished.sealed.stored_bytes).unwrap();
    requests.borrow_mut().clear();
    let bad = [
        Frame { plain_length: 0, ..good.clone() },
        Frame { plain_length: (64 << 20) + 1, ..good.clone() },
        Frame { plain_length: u64::MAX, stored_length: u64::MAX, ..good.clone() },
        Frame { stored_length: 0, ..good.clone() },
        Frame { stored_length: 20_000, ..good.clone() },
        Frame { stored_offset: u64::MAX, ..good.clone() },
        Frame { stored_offset: finished.sealed.stored_bytes, ..good.clone() },
        Frame { stored_offset: finished.sealed.stored_bytes - 500, ..good.clone() },
    ];
    for frame in bad {
        let found = damage(reader.read_frame(&frame).unwrap_err());
        assert!(matches!(found, Damage::FrameBounds { .. }), "{frame:?}: {found:?}");
    }
    assert!(requests.borrow().is_empty());
    assert_eq!(reader.read_frame(good).unwrap(), plain_of(good, &plain));
}

#[test]
fn frames_that_are_not_where_they_are_said_to_be_are_damage() {
    let plain = sample(300_000);
    let finished = part(&plain, 10_000);
    let good = &finished.frames[3];
    let next = &finished.frames[4];
    let mut reader =
        FrameReader::open(io::Cursor::new(&finished.sink), &KEY.identities, finished.sealed.stored_bytes).unwrap();
    let swapped = Frame { sha256: next.sha256, ..good.clone() };
    assert!(matches!(damage(reader.read_frame(&swapped).unwrap_err()), Damage::FrameDigest { .. }));
    for shift in 1..20 {
        let shifted = Frame { stored_offset: good.stored_offset + shift, ..good.clone() };
        damage(reader.read_frame(&shifted).unwrap_err());
        let cut = Frame { stored_length: good.stored_length - shift, ..good.clone() };
        damage(reader.read_frame(&cut).unwrap_err());
        let short = Frame { plain_length: good.plain_length - shift, ..good.clone() };
        damage(reader.read_frame(&short).unwrap_err());
    }
    assert_eq!(reader.read_frame(good).unwrap(), plain_of(good, &plain), "other frames still read");
}

#[test]
fn every_flipped_byte_of_the_touched_range_is_found() {
    let plain = sample(900);
    let finished = part(&plain, 300);
    let stored_bytes = finished.sealed.stored_bytes;
    let frame = &finished.frames[1];
    for index in 0..finished.sink.len() {
        let mut altered = finished.sink.clone();
        altered[index] ^= 0x10;
        let read = FrameReader::open(io::Cursor::new(altered), &KEY.identities, stored_bytes)
            .and_then(|mut reader| reader.read_frame(frame));
        assert!(read.is_err(), "byte {index}");
    }
}

#[test]
fn a_source_shorter_than_promised_is_damage() {
    let plain = sample(400_000);
    let finished = part(&plain, 30_000);
    let frame = finished.frames.last().unwrap();
    for length in [0, 10, 300, 32_767, 32_768, 70_000, finished.sink.len() - 1] {
        let source = io::Cursor::new(&finished.sink[..length]);
        let read = FrameReader::open(source, &KEY.identities, finished.sealed.stored_bytes)
            .and_then(|mut reader| reader.read_frame(frame));
        damage(read.unwrap_err());
    }
}

#[test]
fn after_damage_in_age_no_frame_is_read() {
    let plain = sample(400_000);
    let mut finished = part(&plain, 30_000);
    let last = finished.sink.len() - 20_000;
    finished.sink[last] ^= 1;
    let mut reader =
        FrameReader::open(io::Cursor::new(&finished.sink), &KEY.identities, finished.sealed.stored_bytes).unwrap();
    let first = &finished.frames[0];
    assert_eq!(reader.read_frame(first).unwrap(), plain_of(first, &plain));
    let frame = finished.frames.last().unwrap();
    assert!(matches!(damage(reader.read_frame(frame).unwrap_err()), Damage::Stream(_)));
    assert!(matches!(damage(reader.read_frame(first).unwrap_err()), Damage::AlreadyFailed));
}

#[test]
fn a_failed_request_may_be_tried_again() {
    struct Flaky(io::Cursor<Vec<u8>>, usize);
    impl Read for Flaky {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            // Requests are cut short, so that a retry has something to trip over.
            let wanted = buffer.len().min(40_000);
            if self.1.is_multiple_of(7) {
                Err(io::ErrorKind::TimedOut.into())
            } else {
                self.0.read(&mut buffer[..wanted])
            }
        }
    }
    impl Seek for Flaky {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let plain = sample(2_000_000);
    let finished = part(&plain, 100_000);
    let source = Flaky(io::Cursor::new(finished.sink.clone()), 0);
    let mut reader = FrameReader::open(source, &KEY.identities, finished.sealed.stored_bytes).unwrap();
    let mut failures = 0;
    for frame in &finished.frames {
        let read = loop {
            match reader.read_frame(frame) {
                Ok(read) => break read,
                Err(ArchiveError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => failures += 1,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(read, plain_of(frame, &plain));
    }
    assert!(failures > 0);
}

#[test]
fn the_digest_is_of_the_plain_bytes() {
    let plain = sample(5_000);
    let finished = part(&plain, 2_000);
    assert_eq!(finished.frames.len(), 3);
    for frame in &finished.frames {
        assert_eq!(frame.sha256, Digest::of(plain_of(frame, &plain)));
    }
}
