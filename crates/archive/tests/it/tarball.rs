//! Tars of ours, and of others.

use std::io::{self, Read};

use lifeboat_archive::{ArchiveError, DEFAULT_ENTRY_LIMIT, Damage, TarReader, TarWriter};
use proptest::prelude::*;
use tar::{EntryType, Header};

use crate::support::{Trickle, damage, sample};

type Listing = Vec<(String, u64, Vec<u8>)>;

fn read_all(tar: impl Read, limit: u64) -> Result<Listing, ArchiveError> {
    let mut reader = TarReader::new(tar, limit);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let (path, offset, size) = (entry.path().to_owned(), entry.offset(), entry.size());
        let bytes = entry.into_bytes()?;
        assert_eq!(bytes.len() as u64, size);
        entries.push((path, offset, bytes));
    }
    Ok(entries)
}

fn reason(tar: &[u8]) -> String {
    match damage(read_all(tar, DEFAULT_ENTRY_LIMIT).unwrap_err()) {
        Damage::Tar { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn paths() -> impl Strategy<Value = String> {
    let component = prop_oneof!["[a-z0-9.:~é-]{1,12}", "[a-z]{60,130}"]
        .prop_filter("would be refused", |component| component != "." && component != "..");
    prop::collection::vec(component, 1..5).prop_map(|components| components.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn entries_round_trip_at_the_offsets_told(
        files in prop::collection::vec((paths(), 0..3000usize, 0..u64::from(u32::MAX)), 0..12),
        skip in any::<bool>(),
    ) {
        let mut writer = TarWriter::new(Vec::new());
        let mut expected = Vec::new();
        for (path, length, mtime) in &files {
            let data = sample(*length);
            let span = writer.append(path, &data, *mtime).unwrap();
            prop_assert_eq!(span.length, data.len() as u64);
            expected.push((path.clone(), span.offset, data));
        }
        let tar = writer.finish().unwrap();
        for (_, offset, data) in &expected {
            let start = usize::try_from(*offset).unwrap();
            prop_assert_eq!(&tar[start..start + data.len()], &data[..]);
        }
        prop_assert_eq!(&read_all(&tar[..], DEFAULT_ENTRY_LIMIT).unwrap(), &expected);
        prop_assert_eq!(&read_all(Trickle(&tar[..], false), DEFAULT_ENTRY_LIMIT).unwrap(), &expected);

        // Another reader sees the same.
        let mut archive = tar::Archive::new(&tar[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let header = entry.header();
            prop_assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0o600, 0, 0));
            seen.push((path, entry.raw_file_position(), data));
        }
        prop_assert_eq!(&seen, &expected);

        // Entries that are not read, or not to their end, are stepped over.
        let mut reader = TarReader::new(&tar[..], DEFAULT_ENTRY_LIMIT);
        let mut names = Vec::new();
        while let Some(mut entry) = reader.next_entry().unwrap() {
            if skip && entry.size() > 0 {
                entry.read_exact(&mut [0]).unwrap();
            }
            names.push(entry.path().to_owned());
        }
        prop_assert_eq!(names, files.into_iter().map(|(path, ..)| path).collect::<Vec<_>>());
    }

    #[test]
    fn noise_never_panics(mut tar in prop::collection::vec(any::<u8>(), 0..4096), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let _ = read_all(&tar[..], DEFAULT_ENTRY_LIMIT);
        let mut writer = TarWriter::new(Vec::new());
        writer.append(&"long/".repeat(30), b"", 0).unwrap_err();
        writer.append(&"long/x".repeat(30), &tar, 0).unwrap();
        tar = writer.finish().unwrap();
        for (index, byte) in flips {
            let index = index.index(tar.len());
            tar[index] ^= byte;
        }
        let _ = read_all(&tar[..], DEFAULT_ENTRY_LIMIT);
    }
}

#[test]
fn equal_input_makes_equal_output() {
    let make = || {
        let mut writer = TarWriter::new(Vec::new());
        writer.append("resources/core/v1/pods/shop/web.json", b"{}", 1_700_000_000).unwrap();
        writer.append(&format!("resources/{}.json", "x".repeat(300)), b"{}", 1_700_000_000).unwrap();
        writer.finish().unwrap()
    };
    assert_eq!(make(), make());
}

const BAD_PATHS: &[&str] = &[
    "",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "a//b",
    "a/",
    "/",
    ".",
    "./a",
    "a/./b",
    "a\\b",
    "a\nb",
    "a\u{1b}[2J",
    "a\u{85}b",
];

#[test]
fn paths_that_lead_elsewhere_are_not_written() {
    let long = "x".repeat(1025);
    let mut writer = TarWriter::new(Vec::new());
    for path in BAD_PATHS.iter().copied().chain([&long[..], "a\0b"]) {
        let error = writer.append(path, b"", 0).unwrap_err();
        assert!(matches!(error, ArchiveError::TarPath { .. }), "{path}: {error:?}");
    }
    writer.append(&"x".repeat(1024), b"", 0).unwrap();
    assert_eq!(read_all(&writer.finish().unwrap()[..], 0).unwrap().len(), 1, "the refused left nothing behind");
}

/// A tar of one entry with these raw header fields.
fn raw(name: &[u8], kind: EntryType, size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o777);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar
}

fn ended(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn paths_that_lead_elsewhere_are_not_read() {
    assert_eq!(read_all(&ended(raw(b"fine", EntryType::Regular, 2, b"{}"))[..], 2).unwrap().len(), 1);
    for path in BAD_PATHS {
        let short = ended(raw(path.as_bytes(), EntryType::Regular, 0, b""));
        assert!(reason(&short).contains("is refused"), "{path}");
        let mut long_name = raw(b"././@LongLink", EntryType::GNULongName, path.len() as u64, path.as_bytes());
        long_name.extend(ended(raw(b"fine", EntryType::Regular, 0, b"")));
        assert!(reason(&long_name).contains("is refused"), "{path} as a long name");
        if !path.contains('\n') {
            let record = format!(" path={path}\n");
            let record = format!("{}{record}", record.len() + if record.len() < 8 { 1 } else { 2 });
            let mut pax = raw(b"pax", EntryType::XHeader, record.len() as u64, record.as_bytes());
            pax.extend(ended(raw(b"fine", EntryType::Regular, 0, b"")));
            assert!(reason(&pax).contains("is refused"), "{path} in a PAX header: {}", reason(&pax));
        }
    }
    assert!(reason(&ended(raw(b"\xff\xfe", EntryType::Regular, 0, b""))).contains("UTF-8"));
}

#[test]
fn only_regular_files_are_read() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'g', b'K', b'S', b'V', b'D', b'M', 0xff] {
        let tar = ended(raw(b"x", EntryType::new(kind), 0, b""));
        assert!(reason(&tar).contains("is not a regular file"), "type {}", char::from(kind));
    }
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let over = ended(raw(b"x", EntryType::Regular, DEFAULT_ENTRY_LIMIT + 1, b""));
    assert!(reason(&over).contains("more than"));
    for size in [1 << 40, u64::MAX / 2, u64::MAX] {
        for kind in [EntryType::Regular, EntryType::GNULongName, EntryType::XHeader] {
            reason(&ended(raw(b"x", kind, size, b"")));
        }
    }
    // Within the limit, but not there.
    assert!(reason(&ended(raw(b"x", EntryType::Regular, 60 << 20, b""))).contains("cut short"));
    let name = vec![b'x'; 1026];
    let mut long_name = raw(b"././@LongLink", EntryType::GNULongName, 1026, &name);
    long_name.extend(ended(raw(b"fine", EntryType::Regular, 0, b"")));
    assert!(reason(&long_name).contains("larger than"));
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let long_name = || raw(b"././@LongLink", EntryType::GNULongName, 4, b"name");
    let mut twice = long_name();
    twice.extend(long_name());
    assert!(reason(&ended(twice)).contains("second long path"));
    assert!(reason(&ended(long_name())).contains("without an entry"));
    for record in ["13 size=9999\n", "14 linkpath=a\n", "22 GNU.sparse.major=1\n"] {
        assert_eq!(record.len(), record.split(' ').next().unwrap().parse::<usize>().unwrap(), "{record}");
        let mut pax = raw(b"pax", EntryType::XHeader, record.len() as u64, record.as_bytes());
        pax.extend(ended(raw(b"fine", EntryType::Regular, 0, b"")));
        let reason = reason(&pax);
        assert!(reason.contains("overrides") || reason.contains("sparse"), "{reason}");
    }
    let mut malformed = raw(b"pax", EntryType::XHeader, 10, b"99 path=x\n");
    malformed.extend(ended(raw(b"fine", EntryType::Regular, 0, b"")));
    assert!(reason(&malformed).contains("malformed"));
}

#[test]
fn every_truncation_and_anything_after_the_end_is_found() {
    let mut writer = TarWriter::new(Vec::new());
    writer.append("d/".repeat(60).trim_end_matches('/'), b"data", 0).unwrap();
    writer.append("short", &sample(600), 0).unwrap();
    let tar = writer.finish().unwrap();
    for length in 0..tar.len() {
        assert!(reason(&tar[..length]).contains("cut short"), "at {length}");
    }
    let padded = [&tar[..], &[0; 9000]].concat();
    assert_eq!(read_all(&padded[..], DEFAULT_ENTRY_LIMIT).unwrap().len(), 2, "stock tar pads to 10 KiB");
    let appended = [&tar[..], &[0; 100], b"x"].concat();
    assert!(reason(&appended).contains("after the end"));
}

#[test]
fn flipped_header_bytes_fail_their_checksum() {
    let tar = ended(raw(b"name", EntryType::Regular, 4, b"data"));
    for index in 0..512 {
        let mut altered = tar.clone();
        altered[index] ^= 1;
        // The checksum's own field may be written in more than one way.
        if !(148..156).contains(&index) {
            assert!(reason(&altered).contains("checksum"), "byte {index}");
        }
    }
}

#[test]
fn errors_of_the_source_pass_through() {
    let mut writer = TarWriter::new(Vec::new());
    writer.append("name", b"data", 0).unwrap();
    let tar = writer.finish().unwrap();
    for left in [0, 100, 513, 600, 1100, 1600] {
        let source = crate::support::Failing { inner: &tar[..], left };
        match read_all(source, DEFAULT_ENTRY_LIMIT) {
            Err(ArchiveError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            other => panic!("after {left} bytes: {other:?}"),
        }
    }
}
