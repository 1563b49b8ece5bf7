//! Nothing that was altered, cut, swapped or built to explode is taken for a part.

use std::io::{self, Read};

use lifeboat_archive::{ArchiveError, Damage, Frame, FrameReader, FrameSize, SealOptions, Sealed, SealedReader, Side};
use lifeboat_model::Digest;

use crate::support::{KEY, Key, age_seal, damage, open, promise, sample, seal};

fn small_part() -> (Vec<u8>, Vec<u8>, Sealed) {
    let plain = sample(700);
    let finished = seal(&plain, SealOptions { frame_size: FrameSize::new(256), ..SealOptions::default() });
    (plain, finished.sink, finished.sealed)
}

#[test]
fn every_flipped_bit_is_found() {
    let (_, stored, sealed) = small_part();
    for index in 0..stored.len() {
        for bit in 0..8 {
            let mut altered = stored.clone();
            altered[index] ^= 1 << bit;
            assert!(open(&altered, &sealed).is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn every_flipped_byte_is_found_by_age_alone() {
    let (_, stored, sealed) = small_part();
    for index in 0..stored.len() {
        let mut altered = stored.clone();
        altered[index] ^= 0x20;
        // Even if the manifest promised the altered bytes.
        let sealed = Sealed { stored_sha256: Digest::of(&altered), ..sealed };
        assert!(open(&altered, &sealed).is_err(), "byte {index}");
    }
}

#[test]
fn every_truncation_is_found() {
    let (_, stored, sealed) = small_part();
    for length in 0..stored.len() {
        let cut = &stored[..length];
        damage(open(cut, &sealed).unwrap_err());
        let promised = Sealed { stored_bytes: length as u64, stored_sha256: Digest::of(cut), ..sealed };
        damage(open(cut, &promised).unwrap_err());
    }
}

#[test]
fn truncation_between_age_chunks_is_found() {
    let plain = sample(1_000_000);
    let finished = seal(&plain, SealOptions { frame_size: FrameSize::new(50_000), ..SealOptions::default() });
    let header = finished.sink.len() % 65_552;
    for chunks in 0..finished.sink.len() / 65_552 {
        for header in [header, 216] {
            let cut = &finished.sink[..(header + chunks * 65_552).min(finished.sink.len() - 1)];
            let promised = Sealed { stored_bytes: cut.len() as u64, stored_sha256: Digest::of(cut), ..finished.sealed };
            damage(open(cut, &promised).unwrap_err());
        }
    }
}

#[test]
fn appended_bytes_are_found() {
    let (plain, stored, sealed) = small_part();
    for garbage in [&[0][..], b"age-encryption.org/v1\n", &stored, &sample(70_000)] {
        let mut longer = stored.clone();
        longer.extend_from_slice(garbage);
        let found = damage(open(&longer, &sealed).unwrap_err());
        assert!(matches!(found, Damage::TooLong { side: Side::Stored, .. }), "{found:?}");
        damage(open(&longer, &promise(&plain, &longer)).unwrap_err());
    }
}

#[test]
fn an_endless_source_is_not_read_to_its_end() {
    struct Counting<R>(R, u64);
    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let (_, stored, sealed) = small_part();
    let mut source = Counting((&stored[..]).chain(io::repeat(7)), 0);
    let found = SealedReader::new(&mut source, &KEY.identities, &sealed).and_then(SealedReader::finish).unwrap_err();
    assert!(matches!(damage(found), Damage::TooLong { side: Side::Stored, .. }));
    assert_eq!(source.1, sealed.stored_bytes + 1, "one byte shows that there are more");
}

#[test]
fn an_endless_header_is_not_read_to_its_end() {
    let stanza = b"-> X25519 AAAA\n\n".repeat(100_000);
    let mut stored = b"age-encryption.org/v1\n".to_vec();
    stored.extend_from_slice(&stanza);
    let sealed = promise(b"", &stored);
    let found = damage(open(&stored, &sealed).unwrap_err());
    assert_eq!(found.to_string(), "the part is not an age file: its header has more than 32768 bytes");
    let opened = FrameReader::open(io::Cursor::new(&stored), &KEY.identities, sealed.stored_bytes);
    damage(opened.err().unwrap());
}

#[test]
fn another_identity_is_told_from_damage() {
    let (_, stored, sealed) = small_part();
    let other = Key::generate();
    let found = SealedReader::new(&stored[..], &other.identities, &sealed).err().unwrap();
    assert!(matches!(found, ArchiveError::WrongIdentity), "{found:?}");
    let found = FrameReader::open(io::Cursor::new(&stored), &other.identities, sealed.stored_bytes).err().unwrap();
    assert!(matches!(found, ArchiveError::WrongIdentity), "{found:?}");
}

#[test]
fn what_is_no_age_file_is_said_to_be_none() {
    for bytes in [&b""[..], b"PK\x03\x04", b"age-encryption.org/v2\nwhatever", &sample(50_000)] {
        let found = damage(open(bytes, &promise(b"", bytes)).unwrap_err());
        assert!(matches!(found, Damage::Header { .. }), "{found:?}");
    }
}

#[test]
fn a_part_swapped_for_another_genuine_one_is_found() {
    let (_, stored, sealed) = small_part();
    let other = seal(&sample(701), SealOptions::default());
    assert!(open(&other.sink, &sealed).is_err());
    assert!(open(&stored, &other.sealed).is_err());
    // The same plain bytes, sealed anew: not what was signed.
    let again = seal(&sample(700), SealOptions { frame_size: FrameSize::new(256), ..SealOptions::default() });
    assert!(open(&again.sink, &sealed).is_err());
}

#[test]
fn other_plain_bytes_than_promised_are_found() {
    let plain = sample(10_000);
    let stored = age_seal(&zstd::bulk::compress(&plain, 1).unwrap());
    assert_eq!(open(&stored, &promise(&plain, &stored)).unwrap(), plain, "the test's own sealing works");

    let shorter = damage(open(&stored, &promise(&plain[..9_999], &stored)).unwrap_err());
    assert!(matches!(shorter, Damage::TooLong { side: Side::Plain, expected: 9_999 }), "{shorter:?}");
    let longer = damage(open(&stored, &promise(&sample(10_001), &stored)).unwrap_err());
    assert!(matches!(longer, Damage::TooShort { side: Side::Plain, actual: 10_000, .. }), "{longer:?}");
    let mut other = plain.clone();
    other[5000] ^= 1;
    let other = damage(open(&stored, &promise(&other, &stored)).unwrap_err());
    assert!(matches!(other, Damage::Digest { side: Side::Plain, .. }), "{other:?}");
}

#[test]
fn other_stored_bytes_than_promised_are_found() {
    // Sealed anew, an equal part has another digest, and, once in a while, the same length.
    let (_, stored, sealed) = small_part();
    let promised = Sealed { stored_sha256: Digest::of(b"the part that was signed"), ..sealed };
    let found = damage(open(&stored, &promised).unwrap_err());
    assert!(matches!(found, Damage::Digest { side: Side::Stored, .. }), "{found:?}");
}

#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = 1 << 30;
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    io::copy(&mut io::repeat(0).take(zeros), &mut packed).unwrap();
    let bomb = packed.finish().unwrap();
    let stored = age_seal(&bomb);
    let promised = promise(&[0; 1000], &stored);

    let mut reader = SealedReader::new(&stored[..], &KEY.identities, &promised).unwrap();
    let mut plain = Vec::new();
    let found = reader.read_to_end(&mut plain).unwrap_err();
    assert_eq!(plain.len(), 1000, "not a byte more is given out");
    assert!(matches!(damage(found.into()), Damage::TooLong { side: Side::Plain, expected: 1000 }));
    assert!(matches!(damage(reader.finish().unwrap_err()), Damage::AlreadyFailed));

    let frame = Frame {
        plain_offset: 0,
        plain_length: 60 << 20,
        stored_offset: 0,
        stored_length: bomb.len() as u64,
        sha256: Digest::of(b""),
    };
    let mut frames = FrameReader::open(io::Cursor::new(&stored), &KEY.identities, promised.stored_bytes).unwrap();
    assert!(matches!(damage(frames.read_frame(&frame).unwrap_err()), Damage::Stream(_)));
}

/// A frame of one raw block that asks for a window of `1 << log` bytes (RFC 8878, section 3.1.1.1.2).
fn frame_with_window(log: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3];
    let block = u32::try_from(content.len()).unwrap() << 3 | 1;
    frame.extend_from_slice(&block.to_le_bytes()[..3]);
    frame.extend_from_slice(content);
    frame
}

#[test]
fn a_giant_window_is_refused() {
    for (log, accepted) in [(10, true), (23, true), (24, false), (27, false), (31, false), (41, false)] {
        let stored = age_seal(&frame_with_window(log, b"hello"));
        let outcome = open(&stored, &promise(b"hello", &stored));
        assert_eq!(outcome.is_ok(), accepted, "window of 2^{log}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(matches!(damage(error), Damage::Stream(_)));
        }
    }
}

#[test]
fn empty_frames_without_end_stop_at_the_promised_size() {
    let stored = age_seal(&frame_with_window(10, b"").repeat(200_000));
    assert_eq!(open(&stored, &promise(b"", &stored)).unwrap(), b"");
    let mut shorter = promise(b"", &stored);
    shorter.stored_bytes /= 2;
    assert!(matches!(damage(open(&stored, &shorter).unwrap_err()), Damage::TooLong { side: Side::Stored, .. }));
}
