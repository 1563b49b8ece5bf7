//! Checked-in snapshots of several etcd versions, made by `tests/data/make`.

use std::path::{Path, PathBuf};

use lifeboat_etcd::{EtcdError, Inspector, Minor, Rebuild, SnapshotError, SnapshotFacts, Trailer};
use lifeboat_etcd::{inspect_data_dir, inspect_file, rebuild};
use lifeboat_tests::cluster::testbed_bin;
use proptest::prelude::*;
use tempfile::TempDir;

/// The version, and how many entries version 3.5.35 of `etcdutl snapshot status` counts in the snapshot.
const SNAPSHOTS: [(&str, u64); 3] = [("3.5.35", 64), ("3.6.16", 65), ("3.7.3", 65)];

pub(crate) fn snapshot(version: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/etcd-{version}.db.zst"));
    zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
}

pub(crate) fn unpack(version: &str, dir: &TempDir) -> PathBuf {
    let path = dir.path().join(format!("etcd-{version}.db"));
    std::fs::write(&path, snapshot(version)).unwrap();
    path
}

fn inspect(bytes: &[u8], trailer: Trailer) -> Result<SnapshotFacts, SnapshotError> {
    let mut inspector = Inspector::new(trailer);
    inspector.update(bytes);
    inspector.finish()
}

#[test]
fn snapshots_of_all_versions_are_read() {
    let dir = TempDir::new().unwrap();
    for (version, entries) in SNAPSHOTS {
        let facts = inspect_file(&unpack(version, &dir)).unwrap();
        let minor = version.rsplit_once('.').unwrap().0;
        assert_eq!(facts.keys, entries, "{version}");
        assert_eq!(facts.revision, 50, "{version}");
        // 43 keys at the revision that is compacted and one deletion, and 11 deletions in one transaction after it.
        assert_eq!(facts.key_revisions, 55, "{version}");
        assert_eq!(facts.minor().map(|minor| minor.to_string()).as_deref(), Some(minor));
        assert_eq!(facts.storage_version.is_some(), version > "3.6", "{version}");
        assert_eq!(facts.cluster_version, Some(format!("{minor}.0")), "{version}");
        assert_eq!((facts.members, facts.leases, facts.alarms), (1, 1, 0), "{version}");
        assert!(facts.consistent_index.unwrap() > 50 && facts.term.unwrap() >= 2, "{facts:?}");
        assert!(facts.kubernetes, "{version}");
        assert_eq!(facts.encryption, ["aescbc:v1:key1"], "{version}");
        assert_eq!((facts.page_size, facts.bytes), (4096, facts.pages * 4096 + 32), "{version}");
    }
}

#[test]
fn without_a_trailer_a_snapshot_is_refused_and_a_database_is_not() {
    for (version, _) in SNAPSHOTS {
        let bytes = snapshot(version);
        let database = &bytes[..bytes.len() - 32];
        assert_eq!(inspect(database, Trailer::Verify), Err(SnapshotError::NoTrailer), "{version}");
        let facts = inspect(database, Trailer::Absent).unwrap();
        let with_trailer = inspect(&bytes, Trailer::Verify).unwrap();
        assert!(with_trailer.sha256.is_some());
        assert_eq!(SnapshotFacts { sha256: None, bytes: facts.bytes, ..with_trailer }, facts, "{version}");
    }
}

#[test]
fn any_flipped_byte_is_found() {
    for (version, _) in SNAPSHOTS {
        let mut bytes = snapshot(version);
        for place in (0..bytes.len()).step_by(97).chain(bytes.len() - 32..bytes.len()) {
            bytes[place] ^= 0x10;
            assert!(inspect(&bytes, Trailer::Verify).is_err(), "{version} byte {place}");
            bytes[place] ^= 0x10;
        }
        assert!(inspect(&bytes, Trailer::Verify).is_ok());
    }
}

#[test]
fn any_truncation_is_found() {
    for (version, _) in SNAPSHOTS {
        let bytes = snapshot(version);
        let lengths = (0..bytes.len()).step_by(509).chain((0..bytes.len()).step_by(512).map(|length| length + 32));
        for length in lengths.filter(|length| *length < bytes.len()) {
            let error = inspect(&bytes[..length], Trailer::Verify).unwrap_err();
            let is_expected = match error {
                SnapshotError::NotBolt { .. } => length < 4096 + 80,
                SnapshotError::Truncated { actual, .. } => actual == length as u64,
                _ => false,
            };
            assert!(is_expected, "{version} cut to {length}: {error:?}");
        }
        let longer = [bytes.as_slice(), &[0; 4096]].concat();
        assert!(matches!(inspect(&longer, Trailer::Verify), Err(SnapshotError::TooLong { .. })));
    }
}

proptest! {
    #[test]
    fn damage_with_a_right_checksum_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..200, any::<u8>()), 1..20),
    ) {
        let mut bytes = snapshot("3.6.16");
        for (page, place, byte) in changes {
            let page = page.index(bytes.len() / 4096);
            bytes[page * 4096 + place] = byte;
        }
        let facts = inspect(&bytes, Trailer::VerifiedElsewhere);
        prop_assert_eq!(inspect(&bytes[..bytes.len() - 32], Trailer::Absent).is_ok(), facts.is_ok());
    }
}

/// etcdutl 3.6 restores 3.5 and 3.6. It would accept 3.7 too and report success, but etcd 3.6 then refuses to start
/// ("version 3.7.0 is not supported"), so it is refused here.
#[tokio::test]
async fn each_version_is_rebuilt_or_refused() {
    let dir = TempDir::new().unwrap();
    for (version, _) in SNAPSHOTS {
        let snapshot = unpack(version, &dir);
        let facts = inspect_file(&snapshot).unwrap();
        let request = Rebuild {
            etcdutl: testbed_bin().join("etcdutl"),
            snapshot,
            minor: facts.minor(),
            data_dir: dir.path().join(version),
            name: "one".to_owned(),
            initial_cluster: "one=https://127.0.0.1:2380".to_owned(),
            initial_cluster_token: "restored".to_owned(),
            initial_advertise_peer_urls: vec!["https://127.0.0.1:2380".to_owned()],
            bump_revision: 1_000_000_000,
        };
        let rebuilt = rebuild(&request).await;
        if version == "3.7.3" {
            let error = rebuilt.unwrap_err();
            assert!(matches!(error, EtcdError::EtcdutlVersion { .. }), "{error:?}");
            assert!(!request.data_dir.exists());
            continue;
        }
        assert_eq!(rebuilt.unwrap(), Minor { major: 3, minor: 6 });
        let restored = inspect_data_dir(&request.data_dir).unwrap();
        // The bump is an entry of its own.
        assert_eq!(restored.key_revisions, facts.key_revisions + 1, "{version}");
        assert_eq!(restored.revision, facts.revision + 1_000_000_000, "{version}");
    }
}
