//! Rebuilding data directories, and putting them in place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lifeboat_etcd::{
    Cluster, EtcdError, Rebuild, etcdutl_minor, in_use, inspect_data_dir, inspect_file, rebuild, swap,
};
use lifeboat_tests::cluster;
use lifeboat_tests::cluster::testbed_bin;
use tempfile::TempDir;

use crate::kv::{Put, Writer};
use crate::{etcdctl_flags, golden, options, run};

fn request(snapshot: PathBuf, data_dir: PathBuf) -> Rebuild {
    Rebuild {
        etcdutl: testbed_bin().join("etcdutl"),
        snapshot,
        minor: None,
        data_dir,
        name: "one".to_owned(),
        initial_cluster: "one=https://127.0.0.1:2380".to_owned(),
        initial_cluster_token: "restored".to_owned(),
        initial_advertise_peer_urls: vec!["https://127.0.0.1:2380".to_owned()],
        bump_revision: 0,
    }
}

/// A folder with one file that tells which it is.
fn folder(path: PathBuf, content: &str) -> PathBuf {
    fs::create_dir(&path).unwrap();
    fs::write(path.join("which"), content).unwrap();
    path
}

fn content(path: &Path) -> String {
    fs::read_to_string(path.join("which")).unwrap()
}

#[tokio::test]
async fn a_cluster_comes_back_from_its_snapshot() {
    let mut etcd = cluster::Cluster::start_etcd(1).await;
    let access = etcd.etcd();
    let data_dir = etcd.etcd_data_dirs().remove(0);
    let put = Put { key: b"before".to_vec(), value: b"kept".to_vec(), lease: 0 };
    let revision = Writer::new(&access, 0).put(vec![put]).await;
    let snapshot = etcd.temp().join("snapshot.db");
    let mut stream = Cluster::connect(&options(&access)).unwrap().snapshot(&access.endpoints[0]).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    stream.finish().unwrap();
    fs::write(&snapshot, bytes).unwrap();
    Writer::new(&access, 0).delete(b"before", b"beforf").await;

    let facts = inspect_file(&snapshot).unwrap();
    assert_eq!(facts.revision, revision);
    let new = etcd.temp().join("new");
    let rebuilt = Rebuild { minor: facts.minor(), bump_revision: 1_000_000_000, ..request(snapshot, new.clone()) };
    rebuild(&rebuilt).await.unwrap();
    let restored = inspect_data_dir(&new).unwrap();
    assert_eq!((restored.revision, restored.members), (revision + 1_000_000_000, 1));

    assert!(in_use(&data_dir).unwrap());
    assert!(matches!(swap(&new, &data_dir, "x"), Err(EtcdError::InUse(path)) if path == data_dir));
    let (new_member, member) = (new.join("member"), data_dir.join("member"));
    assert!(matches!(swap(&new_member, &member, "x"), Err(EtcdError::InUse(_))));
    // The log alone tells, too.
    let (database, aside) = (data_dir.join("member/snap/db"), etcd.temp().join("db"));
    fs::rename(&database, &aside).unwrap();
    assert!(in_use(&data_dir).unwrap());
    fs::rename(&aside, &database).unwrap();

    etcd.stop_etcd().await;
    assert!(!in_use(&data_dir).unwrap());
    let kept = swap(&new, &data_dir, "restore").unwrap().unwrap();
    assert_eq!(kept, PathBuf::from(format!("{}.before-restore", data_dir.display())));
    assert!(inspect_data_dir(&kept).unwrap().revision > revision && !new.exists());
    etcd.start_etcd().await.unwrap();
    let mut args = etcdctl_flags(&access, &access.endpoints[0]);
    args.extend(["get", "before", "-w", "json"].map(str::to_owned));
    let answer = run("etcdctl", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["count"], 1);
    assert_eq!(answer["header"]["revision"], revision + 1_000_000_000);
}

#[test]
fn a_new_directory_takes_the_place_of_none() {
    let dir = TempDir::new().unwrap();
    let (new, target) = (folder(dir.path().join("new"), "new"), dir.path().join("target"));
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(swap(&new, &target, "x").unwrap(), None);
    assert_eq!(content(&target), "new");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!new.exists());
}

#[test]
fn the_old_directory_is_kept() {
    let dir = TempDir::new().unwrap();
    let (new, target) = (folder(dir.path().join("new"), "new"), folder(dir.path().join("target"), "old"));
    let kept = swap(&new, &target, "20261121").unwrap().unwrap();
    assert_eq!(kept, dir.path().join("target.before-20261121"));
    assert_eq!((content(&target).as_str(), content(&kept).as_str()), ("new", "old"));
    assert!(!new.exists());

    let next = folder(dir.path().join("next"), "next");
    let error = swap(&next, &target, "20261121").unwrap_err();
    assert!(matches!(&error, EtcdError::Io { path, .. } if *path == kept), "{error:?}");
    assert_eq!((content(&target).as_str(), content(&kept).as_str(), content(&next).as_str()), ("new", "old", "next"));
}

#[test]
fn a_folder_of_another_filesystem_is_refused() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let (new, target) = (folder(other.path().join("new"), "new"), folder(dir.path().join("target"), "old"));
    let error = swap(&new, &target, "x").unwrap_err();
    assert!(matches!(error, EtcdError::Exchange { .. }), "{error:?}");
    assert_eq!((content(&target).as_str(), content(&new).as_str()), ("old", "new"));
}

#[test]
fn what_is_not_there_is_not_in_use() {
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent");
    assert!(!in_use(&absent).unwrap());
    assert!(!absent.exists());
    assert!(swap(&absent, &dir.path().join("target"), "x").is_err());
    assert!(!in_use(dir.path()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_etcdutl_refuses_is_told() {
    let dir = TempDir::new().unwrap();
    let snapshot = golden::unpack("3.6.16", &dir);
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[40_000] ^= 1;
    let damaged = dir.path().join("damaged.db");
    fs::write(&damaged, bytes).unwrap();
    let error = rebuild(&request(damaged, dir.path().join("a"))).await.unwrap_err();
    assert!(error.to_string().contains("expected sha256"), "{error}");

    let taken = folder(dir.path().join("taken"), "x");
    let error = rebuild(&request(snapshot.clone(), taken)).await.unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");

    let absent = Rebuild { etcdutl: dir.path().join("etcdutl"), ..request(snapshot.clone(), dir.path().join("b")) };
    assert!(matches!(rebuild(&absent).await, Err(EtcdError::Io { .. })));
    let other = Rebuild { etcdutl: PathBuf::from("/bin/true"), ..absent };
    assert!(matches!(rebuild(&other).await, Err(EtcdError::Etcdutl { .. })));
    assert_eq!(etcdutl_minor(&testbed_bin().join("etcdutl")).await.unwrap().to_string(), "3.6");
}
