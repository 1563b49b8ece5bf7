//! What goes in comes out.

use std::io::{self, Read, Write};

use lifeboat_archive::{ArchiveError, Frame, FrameReader, FrameSize, SealOptions, SealedReader, SealedWriter};
use lifeboat_model::Digest;
use proptest::prelude::*;

use crate::support::{Failing, KEY, Key, Trickle, open, open_from, promise, sample, seal};

/// What a writer is told to do.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..40_000usize, any::<u8>()).prop_map(|(length, byte)| {
            let mut bytes = sample(length);
            bytes.iter_mut().step_by(7).for_each(|b| *b ^= byte);
            Step::Write(bytes)
        }),
        1 => Just(Step::Cut),
    ];
    prop::collection::vec(step, 0..12)
}

/// The frames that must come of these steps, by the words of the documentation.
fn expected_frames(steps: &[Step], limit: usize) -> Vec<(u64, u64)> {
    let (mut start, mut end) = (0, 0);
    let mut frames = Vec::new();
    for step in steps {
        match step {
            Step::Cut if end > start => {
                frames.push((start, end - start));
                start = end;
            }
            Step::Cut => {}
            Step::Write(bytes) => {
                for _ in bytes {
                    if end - start == limit as u64 {
                        frames.push((start, end - start));
                        start = end;
                    }
                    end += 1;
                }
            }
        }
    }
    if end > start {
        frames.push((start, end - start));
    }
    frames
}

fn check_frames(frames: &[Frame], plain: &[u8]) {
    let mut stored_end = 0;
    for frame in frames {
        assert_eq!(frame.stored_offset, stored_end, "frames lie one behind the other");
        stored_end += frame.stored_length;
        let start = usize::try_from(frame.plain_offset).unwrap();
        let end = start + usize::try_from(frame.plain_length).unwrap();
        assert_eq!(frame.sha256, Digest::of(&plain[start..end]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_round_trip(
        steps in steps(),
        frame_size in prop_oneof![1..50u32, 1000..100_000u32, Just(1 << 20)],
        level in 1..6i32,
        others in 0..3usize,
    ) {
        // A frame a byte is slow, and no different from a few hundred.
        let frame_size = if frame_size < 50 { frame_size + 200 } else { frame_size };
        let keys: Vec<Key> = (0..others).map(|_| Key::generate()).collect();
        let texts = keys.iter().map(|key| key.file.recipient()).chain([KEY.file.recipient()]);
        let recipients = lifeboat_archive::Recipients::parse(texts).unwrap();
        let options = SealOptions { frame_size: FrameSize::new(frame_size), level, record_frames: true };
        let mut writer = SealedWriter::new(Vec::new(), &recipients, options).unwrap();
        let mut plain = Vec::new();
        for step in &steps {
            match step {
                Step::Write(bytes) => {
                    writer.write_all(bytes).unwrap();
                    plain.extend_from_slice(bytes);
                }
                Step::Cut => writer.cut_frame().unwrap(),
            }
            prop_assert_eq!(writer.plain_bytes(), plain.len() as u64);
        }
        let finished = writer.finish().unwrap();
        prop_assert_eq!(finished.sealed, promise(&plain, &finished.sink));
        let frames: Vec<_> = finished.frames.iter().map(|f| (f.plain_offset, f.plain_length)).collect();
        prop_assert_eq!(frames, expected_frames(&steps, frame_size as usize));
        check_frames(&finished.frames, &plain);
        for key in keys.iter().chain([&*KEY]) {
            let mut reader = SealedReader::new(&finished.sink[..], &key.identities, &finished.sealed).unwrap();
            let mut opened = Vec::new();
            reader.read_to_end(&mut opened).unwrap();
            reader.finish().unwrap();
            prop_assert_eq!(&opened, &plain);
        }
    }
}

#[test]
fn the_seek_table_lists_the_frames() {
    let plain = sample(500_000);
    let options = SealOptions { frame_size: FrameSize::new(30_000), record_frames: true, ..SealOptions::default() };
    let finished = seal(&plain, options);
    let identity: age::x25519::Identity = KEY.file.identity_file().lines().last().unwrap().parse().unwrap();
    let stream = age::decrypt(&identity, &finished.sink).unwrap();
    let table = zeekstd::SeekTable::from_seekable(&mut zeekstd::BytesWrapper::new(&stream)).unwrap();
    assert_eq!(table.num_frames() as usize, finished.frames.len());
    for (index, frame) in (0..).zip(&finished.frames) {
        assert_eq!(table.frame_start_decomp(index).unwrap(), frame.plain_offset);
        assert_eq!(table.frame_size_decomp(index).unwrap(), frame.plain_length);
        assert_eq!(table.frame_start_comp(index).unwrap(), frame.stored_offset);
        assert_eq!(table.frame_size_comp(index).unwrap(), frame.stored_length);
    }
}

#[test]
fn an_empty_part_is_a_part() {
    let finished = seal(b"", SealOptions { record_frames: true, ..SealOptions::default() });
    assert!(finished.frames.is_empty());
    assert_eq!(finished.sealed, promise(b"", &finished.sink));
    assert_eq!(open(&finished.sink, &finished.sealed).unwrap(), b"");
}

#[test]
fn a_header_that_no_reader_takes_is_not_written() {
    let recipient = KEY.file.recipient();
    let many = |count| lifeboat_archive::Recipients::parse(vec![recipient; count]).unwrap();
    let seal = |count| SealedWriter::new(Vec::new(), &many(count), SealOptions::default());
    assert!(matches!(seal(400).map(drop), Err(ArchiveError::HeaderTooLong { bytes: 39_000.. })));
    let mut writer = seal(300).unwrap();
    writer.write_all(b"plain").unwrap();
    let finished = writer.finish().unwrap();
    assert_eq!(open(&finished.sink, &finished.sealed).unwrap(), b"plain");
    FrameReader::open(io::Cursor::new(&finished.sink), &KEY.identities, finished.sealed.stored_bytes).unwrap();
}

#[test]
fn frames_are_recorded_only_when_asked_for() {
    let finished = seal(&sample(300_000), SealOptions { frame_size: FrameSize::new(1000), ..SealOptions::default() });
    assert!(finished.frames.is_empty());
}

#[test]
fn ends_at_the_edge_of_an_age_chunk_open_too() {
    // The zstd stream's length is hit by noise that cannot be packed: frame header 6 to 18 bytes, blocks 3 each.
    let noise: Vec<u8> = {
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..70_000 / 8).flat_map(|_| next()).collect()
    };
    let mut hits = 0;
    for length in 65_470..65_540 {
        let finished = seal(&noise[..length], SealOptions { record_frames: true, ..SealOptions::default() });
        let stream = finished.frames[0].stored_length + 17 + 8;
        hits += usize::from(stream == 65_536);
        assert_eq!(open(&finished.sink, &finished.sealed).unwrap(), &noise[..length]);
    }
    assert_eq!(hits, 1, "one of these lengths fills a chunk exactly");
}

#[test]
fn a_source_may_trickle_and_be_interrupted() {
    let plain = sample(5000);
    let finished = seal(&plain, SealOptions::default());
    assert_eq!(open_from(Trickle(&finished.sink[..], false), &finished.sealed).unwrap(), plain);
}

#[test]
fn finish_checks_what_was_not_read() {
    let finished = seal(&sample(500_000), SealOptions::default());
    let mut reader = SealedReader::new(&finished.sink[..], &KEY.identities, &finished.sealed).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    reader.finish().unwrap();

    let mut sealed = finished.sealed;
    sealed.plain_sha256 = Digest::of(b"something else");
    let mut reader = SealedReader::new(&finished.sink[..], &KEY.identities, &sealed).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    assert!(matches!(reader.finish(), Err(ArchiveError::Damaged(_))));
}

#[test]
fn a_failing_source_is_not_called_damage() {
    let finished = seal(&sample(400_000), SealOptions::default());
    for left in [0, 1, 100, 300, 70_000, finished.sink.len() - 1] {
        match open_from(Failing { inner: &finished.sink[..], left }, &finished.sealed) {
            Err(ArchiveError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            other => panic!("after {left} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_failing_sink_fails_the_part_for_good() {
    let plain = sample(2_000_000);
    let whole = seal(&plain, SealOptions::default()).sink.len();
    // age's header varies by some hundred bytes.
    for left in [0, 100, 70_000, 200_000, whole - 5000] {
        let sink = Failing { inner: Vec::new(), left };
        let mut writer = SealedWriter::new(sink, &KEY.recipients, SealOptions::default()).unwrap();
        let mut written = Ok(());
        for piece in plain.chunks(100_000) {
            written = written.and(writer.write_all(piece));
        }
        let Err(error) = written.and_then(|()| writer.finish().map(drop)) else { panic!("{left} bytes were enough") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{left}: {error}");
    }
}

#[test]
fn going_on_after_a_failed_write_does_not_make_a_part() {
    // Fails once, then works: age has lost a chunk by then.
    struct Hiccup(usize);
    impl Write for Hiccup {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 == 2 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = SealedWriter::new(Hiccup(0), &KEY.recipients, SealOptions::default()).unwrap();
    let outcomes: Vec<_> = sample(3_000_000).chunks(100_000).map(|piece| writer.write_all(piece).is_ok()).collect();
    assert!(outcomes.contains(&false), "the hiccup was met");
    assert!(writer.finish().is_err());
}
