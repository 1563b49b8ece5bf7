//! What only folders do: permissions, links, full disks.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt as _;
use lifeboat_store::{DirectoryStore, Store, StoreError, body};
use tempfile::TempDir;

use crate::places::{folders, key, keys, leftovers, noise, pieces, read};

const MIB: usize = 1 << 20;
/// Tells the part of a test that runs on a small disk where that is.
const SMALL_DISK: &str = "LIFEBOAT_TEST_SMALL_DISK";

async fn open(folder: &TempDir) -> (DirectoryStore, PathBuf) {
    let root = folder.path().join("store");
    (DirectoryStore::open(&root, 1).await.unwrap(), root)
}

/// Everything below a folder, by path.
fn everything(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { everything(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn objects_are_private_files_under_their_keys() {
    let folder = TempDir::new().unwrap();
    let (store, root) = open(&folder).await;
    store.put_once(&key("a/b/c"), body("content")).await.unwrap();
    assert_eq!(fs::read_to_string(root.join("a/b/c")).unwrap(), "content");
    assert_eq!(everything(&root), [root.join("a/b/c")]);
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a/b/c"), mode("a/b"), mode("a"), mode("")), (0o600, 0o700, 0o700, 0o700));
}

#[tokio::test]
async fn a_folder_and_an_object_cannot_have_one_name() {
    let folder = TempDir::new().unwrap();
    let (store, root) = open(&folder).await;
    store.put_once(&key("a/b"), body("x")).await.unwrap();
    for name in ["a", "a/b/c"] {
        let put = store.put_once(&key(name), body("y")).await;
        assert!(matches!(put, Err(StoreError::File { .. })), "{name}: {put:?}");
    }
    store.delete(&key("a")).await.unwrap();
    assert_eq!(everything(&root), [root.join("a/b")]);
}

#[tokio::test]
async fn links_do_not_lead_out_of_the_store() {
    let folder = TempDir::new().unwrap();
    let (store, root) = open(&folder).await;
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    store.put_once(&key("in/real"), body("x")).await.unwrap();
    symlink(&outside, root.join("in/way")).unwrap();
    symlink(outside.join("secret"), root.join("in/file")).unwrap();
    symlink(outside.join("new"), root.join("in/dangling")).unwrap();

    for name in ["in/way/secret", "in/file", "in/dangling"] {
        let got = store.get(&key(name)).await;
        assert!(matches!(got, Err(StoreError::NotFound { .. })), "{name}: {got:?}");
        let got = store.get_range(&key(name), 0..1).await;
        assert!(matches!(got, Err(StoreError::NotFound { .. })), "{name}: {got:?}");
    }
    assert_eq!(keys(&store, "").await, ["in/real"]);
    assert_eq!(keys(&store, "in/way").await, [""; 0]);
    assert_eq!(folders(&store, "in").await, [""; 0]);
    for name in ["in/way/new", "in/file", "in/dangling"] {
        store.put_once(&key(name), body("overwritten")).await.unwrap_err();
    }
    store.delete(&key("in/way/secret")).await.unwrap();
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn leftovers_of_the_same_seed_are_not_in_the_way() {
    let folder = TempDir::new().unwrap();
    let (killed, root) = open(&folder).await;
    let object = key("a/k");
    let mut write = killed.put_once(&object, futures::stream::pending().boxed());
    while leftovers(&killed, "").await.is_empty() {
        assert!(futures::poll!(&mut write).is_pending());
    }
    std::mem::forget(write);
    let (next, _) = open(&folder).await;
    next.put_once(&key("a/k"), body("written")).await.unwrap();
    assert_eq!(fs::read_to_string(root.join("a/k")).unwrap(), "written");
    assert_eq!(leftovers(&next, "").await, ["a/k"]);
}

#[tokio::test]
async fn other_programs_files_are_not_seen() {
    let folder = TempDir::new().unwrap();
    let (store, root) = open(&folder).await;
    store.put_once(&key("a/k"), body("x")).await.unwrap();
    for name in [".hidden", "a/.nfs0001", "a/with space", "a/.k.part-1", "a/.k.part-zzzzzzzzzzzzzzzz", "a/ü"] {
        File::create(root.join(name)).unwrap();
    }
    fs::create_dir(root.join(".git")).unwrap();
    File::create(root.join(".git/k")).unwrap();
    let fifo = Command::new("mkfifo").arg(root.join("a/fifo")).status().unwrap();
    assert!(fifo.success());
    assert_eq!(keys(&store, "").await, ["a/k"]);
    assert_eq!(folders(&store, "").await, ["a"]);
    assert_eq!(leftovers(&store, "").await, [""; 0]);
    let got = store.get(&key("a/fifo")).await;
    assert!(matches!(got, Err(StoreError::NotFound { .. })), "{got:?}");
}

#[tokio::test]
async fn an_object_that_is_cut_while_it_is_read_is_an_error() {
    let folder = TempDir::new().unwrap();
    let (store, root) = open(&folder).await;
    store.put_once(&key("k"), pieces(&noise(1, 5 * MIB), MIB)).await.unwrap();
    let mut object = store.get(&key("k")).await.unwrap();
    object.body.next().await.unwrap().unwrap();
    File::options().write(true).open(root.join("k")).unwrap().set_len(2_000_000).unwrap();
    let ends: Vec<_> = object.body.collect().await;
    assert!(ends.last().unwrap().is_err(), "a shorter object was taken for the whole");
}

#[tokio::test]
async fn a_root_that_is_no_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("file");
    File::create(&root).unwrap();
    match DirectoryStore::open(&root, 1).await {
        Err(StoreError::File { path, .. }) => assert_eq!(path, root),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let script =
        "mount -t tmpfs -o size=4m none \"$1\" && exec \"$2\" --exact directory::on_a_small_disk --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(env::current_exe().unwrap())
        .env(SMALL_DISK, folder.path())
        .output()
        .expect("this test needs unshare of util-linux");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "needs user namespaces: {text}");
}

#[tokio::test]
#[ignore = "runs within a_full_disk_leaves_nothing_behind"]
async fn on_a_small_disk() {
    let root = PathBuf::from(env::var_os(SMALL_DISK).expect("the folder of the small disk"));
    let store = DirectoryStore::open(&root, 1).await.unwrap();
    store.put_once(&key("a/small"), body(noise(1, 1000))).await.unwrap();
    match store.put_once(&key("b/c/large"), pieces(&noise(2, 8 * MIB), 100_000)).await {
        Err(StoreError::NoSpace { resource, .. }) => assert!(resource.contains("large"), "{resource}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(everything(&root), [root.join("a/small")]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "an empty folder is left");
    assert_eq!(leftovers(&store, "").await, [""; 0]);
    // The space is free again.
    store.put_once(&key("b/c/fits"), pieces(&noise(3, 2 * MIB), 100_000)).await.unwrap();
    assert_eq!(read(&store, &key("b/c/fits")).await.unwrap(), noise(3, 2 * MIB));
}

#[tokio::test]
async fn readers_and_removers_of_one_folder_do_not_disturb_writers() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder).await;
    let store = std::sync::Arc::new(store);
    // Every delete removes the folders that it empties, while the other writers make them.
    let writers = (0..8).map(|n| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..50 {
                let key = key(&format!("shared/deep/{n}-{round}"));
                store.put_once(&key, body("x")).await.unwrap();
                assert_eq!(read(store.as_ref(), &key).await.unwrap(), "x");
                store.delete(&key).await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(keys(store.as_ref(), "").await, [""; 0]);
}
