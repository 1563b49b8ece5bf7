//! What every store keeps to, checked on all of them.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Digest, LockMode, ObjectLock};
use lifeboat_store::{Body, MAX_RANGE, RetainedStore, Retention, Store, StoreError, body, digest};
use lifeboat_tests::s3::S3Kind;
use tokio::sync::oneshot;

use crate::places::{self, Place, folders, key, keys, leftovers, noise, pieces, prefix, read};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn memory() {
    keep_the_contract(&places::memory()).await;
}

#[tokio::test]
async fn memory_with_locks() {
    keep_the_contract(&places::locking_memory()).await;
}

#[tokio::test]
async fn directory() {
    keep_the_contract(&places::directory().await).await;
}

#[tokio::test]
async fn versitygw() {
    keep_the_contract(&places::server(S3Kind::Versitygw).await).await;
}

#[tokio::test]
async fn minio() {
    keep_the_contract(&places::server(S3Kind::Minio).await).await;
}

#[tokio::test]
async fn versitygw_with_locks() {
    locks_hold_or_are_refused(&places::locking_server(S3Kind::Versitygw).await).await;
}

#[tokio::test]
async fn minio_with_locks() {
    locks_hold_or_are_refused(&places::locking_server(S3Kind::Minio).await).await;
}

#[tokio::test]
async fn embedded() {
    keep_the_contract(&places::server(S3Kind::Embedded).await).await;
}

async fn keep_the_contract(place: &Place) {
    let store = place.store.as_ref();
    println!("on {}: {}", place.name, store.location());
    what_is_written_is_read(store).await;
    ranges(store).await;
    keys_are_written_once(store).await;
    what_is_not_there(place).await;
    one_of_many_writers_wins(place).await;
    one_of_many_large_writers_wins(place).await;
    many_large_objects_are_written_at_once(place).await;
    listings_are_sorted_and_end_at_folders(store).await;
    long_listings_are_whole(place).await;
    a_failing_body_leaves_nothing(place).await;
    a_dropped_write_leaves_nothing(place).await;
    a_killed_write_is_found_and_removed(place).await;
    a_reader_may_stop_early(store).await;
    locks_hold_or_are_refused(place).await;
    capabilities_are_found(store).await;
}

/// Announces a check, so that a failure tells which one it was.
fn checking(what: &str) {
    println!("checking: {what}");
}

async fn what_is_written_is_read(store: &dyn Store) {
    let sizes = [0, 1, 1_000, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 40 * MIB];
    for (n, size) in sizes.into_iter().enumerate() {
        checking(&format!("{size} bytes"));
        let key = key(&format!("sizes/{size}"));
        let content = noise(n as u64, size);
        let before = Timestamp::now();
        let stored = store.put_once(&key, pieces(&content, 300_001)).await.unwrap();
        assert_eq!(stored.bytes, size as u64);
        let object = store.get(&key).await.unwrap();
        assert_eq!(object.bytes, size as u64);
        let age = object.modified.duration_since(before).abs();
        assert!(age < SignedDuration::from_secs(60), "modified {}", object.modified);
        assert!(read(store, &key).await.unwrap() == content, "other bytes came back");
        assert_eq!(digest(store, &key).await.unwrap(), (size as u64, Digest::of(&content)));
    }
    checking("empty chunks, and chunks larger than a part");
    let content = noise(9, 20 * MIB);
    let chunks = [Bytes::new(), content.slice(..1), Bytes::new(), content.slice(1..), Bytes::new()];
    store.put_once(&key("sizes/odd"), stream::iter(chunks.map(Ok)).boxed()).await.unwrap();
    assert!(read(store, &key("sizes/odd")).await.unwrap() == content);
}

async fn ranges(store: &dyn Store) {
    checking("ranges");
    let content = noise(1, 9 * MIB + 17);
    let key = key("ranges/object");
    store.put_once(&key, pieces(&content, MIB)).await.unwrap();
    let size = content.len() as u64;
    for range in [0..1, 0..size, size - 1..size, 1_000..200_000, 8 * MIB as u64 - 3..8 * MIB as u64 + 3] {
        let got = store.get_range(&key, range.clone()).await.unwrap();
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
        assert!(got == content.slice(start..end), "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "such a range must be refused")]
    let bad = [0..0, 5..5, 7..3, 0..size + 1, size..size + 1, size + 10..size + 20, 0..MAX_RANGE + 1, 0..u64::MAX];
    for range in bad {
        let got = store.get_range(&key, range.clone()).await;
        assert!(matches!(got, Err(StoreError::BadRange { .. })), "{range:?}: {got:?}");
    }
}

async fn keys_are_written_once(store: &dyn Store) {
    checking("keys are written once");
    let key = key("once/object");
    let first = noise(1, 100);
    store.put_once(&key, body(first.clone())).await.unwrap();
    for size in [0, 100, 9 * MIB] {
        let second = store.put_once(&key, pieces(&noise(2, size), MIB)).await;
        assert!(matches!(&second, Err(StoreError::AlreadyExists { key: k }) if *k == key), "{size}: {second:?}");
    }
    let same = store.put_once(&key, body(first.clone())).await;
    assert!(matches!(same, Err(StoreError::AlreadyExists { .. })), "{same:?}");
    assert_eq!(read(store, &key).await.unwrap(), first);
    assert_eq!(keys(store, "once").await, ["once/object"]);

    checking("what was removed may be written again");
    store.delete(&key).await.unwrap();
    assert!(matches!(store.get(&key).await, Err(StoreError::NotFound { .. })));
    let second = noise(2, 50);
    store.put_once(&key, body(second.clone())).await.unwrap();
    assert_eq!(read(store, &key).await.unwrap(), second);
}

async fn what_is_not_there(place: &Place) {
    checking("what is not there");
    let store = place.store.as_ref();
    store.put_once(&key("gone/folder/object"), body("x")).await.unwrap();
    // s3s-fs tries to read a folder as a file.
    let folder = (place.name != "embedded").then_some("gone/folder");
    for absent in ["gone/no", "gone/folder/no", "gone/nofolder/no"].into_iter().chain(folder) {
        let key = key(absent);
        let got = store.get(&key).await;
        assert!(matches!(&got, Err(StoreError::NotFound { key: k }) if *k == key), "{absent}: {got:?}");
        let got = store.get_range(&key, 0..1).await;
        assert!(matches!(&got, Err(StoreError::NotFound { key: k }) if *k == key), "{absent}: {got:?}");
        assert_eq!(keys(store, &format!("{absent}/x")).await, [""; 0]);
        assert_eq!(folders(store, &format!("{absent}/x")).await, [""; 0]);
        store.delete(&key).await.unwrap_or_else(|e| panic!("{absent}: {e:?}"));
    }
    assert_eq!(read(store, &key("gone/folder/object")).await.unwrap(), "x");
    store.delete(&key("gone/folder/object")).await.unwrap();
    assert_eq!(folders(store, "gone").await, [""; 0]);
}

async fn one_of_many_writers_wins(place: &Place) {
    checking("16 writers of one key");
    for round in 0..8 {
        race(place, &format!("race/{round}"), 16, 1_000 + round).await;
    }
}

async fn one_of_many_large_writers_wins(place: &Place) {
    checking("4 writers of one key, in parts");
    race(place, "race/large", 4, 9 * MIB).await;
}

async fn many_large_objects_are_written_at_once(place: &Place) {
    checking("6 large writers at once");
    let writers = (0..6).map(|n| {
        let store = place.store.clone();
        tokio::spawn(async move { store.put_once(&key(&format!("large/{n}")), pieces(&noise(n, 17 * MIB), MIB)).await })
    });
    for (n, done) in futures::future::join_all(writers).await.into_iter().enumerate() {
        assert_eq!(done.unwrap().unwrap().bytes, 17 * MIB as u64);
        let content = read(place.store.as_ref(), &key(&format!("large/{n}"))).await.unwrap();
        assert!(content == noise(n as u64, 17 * MIB), "{n}");
    }
}

async fn race(place: &Place, name: &str, writers: u64, size: usize) {
    let key = key(name);
    let tasks = (0..writers).map(|n| {
        let (store, key) = (place.store.clone(), key.clone());
        tokio::spawn(async move { store.put_once(&key, pieces(&noise(n, size), MIB)).await })
    });
    let mut winners = Vec::new();
    for (n, write) in futures::future::join_all(tasks).await.into_iter().enumerate() {
        match write.unwrap() {
            Ok(_) => winners.push(n as u64),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(e) => panic!("{name}: {e:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{name}: {winners:?} won");
    assert!(read(place.store.as_ref(), &key).await.unwrap() == noise(winners[0], size), "{name}: not the winner's");
    place.store.close().await;
    if place.tells_leftovers {
        assert_eq!(leftovers(place.store.as_ref(), "race").await, [""; 0]);
    }
}

async fn listings_are_sorted_and_end_at_folders(store: &dyn Store) {
    checking("listings");
    let all = ["l/a-b/k", "l/a.b/k", "l/a/k", "l/a/sub/deep/k", "l/a/z", "l/a0/k", "l/ab", "l/b/k", "lx/k"];
    for name in all.iter().rev() {
        store.put_once(&key(name), body(name.as_bytes())).await.unwrap();
    }
    assert_eq!(keys(store, "l").await, all[..8]);
    assert_eq!(keys(store, "l/a").await, all[2..5]);
    assert_eq!(keys(store, "l/a/sub").await, all[3..4]);
    assert_eq!(keys(store, "l/ab").await, [""; 0], "an object is no folder");
    assert_eq!(keys(store, "l/a/s").await, [""; 0], "a folder's name is not cut");
    assert_eq!(folders(store, "l").await, ["l/a-b", "l/a.b", "l/a", "l/a0", "l/b"]);
    assert_eq!(folders(store, "l/a").await, ["l/a/sub"]);
    assert_eq!(folders(store, "l/a-b").await, [""; 0]);
    let roots = folders(store, "").await;
    assert!(roots.contains(&"l".to_owned()) && roots.contains(&"lx".to_owned()), "{roots:?}");
    let everything = keys(store, "").await;
    assert!(everything.is_sorted() && all.iter().all(|key| everything.iter().any(|k| k == key)), "{everything:?}");
    let listed: Vec<_> = store.list(&prefix("l/b")).collect().await;
    let [Ok(object)] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((object.key.as_str(), object.bytes), ("l/b/k", 5));
    let age = object.modified.duration_since(Timestamp::now()).abs();
    assert!(age < SignedDuration::from_secs(60), "modified {}", object.modified);
}

async fn long_listings_are_whole(place: &Place) {
    checking("listings longer than a page");
    let names: Vec<_> = (0..1_100).map(|n| format!("many/f{n:04}/k")).collect();
    let puts = stream::iter(&names).map(|name| {
        let (store, key) = (place.store.clone(), key(name));
        async move { store.put_once(&key, body("x")).await.unwrap() }
    });
    puts.buffer_unordered(16).collect::<Vec<_>>().await;
    assert_eq!(keys(place.store.as_ref(), "many").await, names);
    let found = folders(place.store.as_ref(), "many").await;
    assert_eq!(found.len(), names.len());
    assert!(found.iter().zip(&names).all(|(folder, name)| name.starts_with(folder)));
}

async fn a_failing_body_leaves_nothing(place: &Place) {
    checking("a body that fails");
    let store = place.store.as_ref();
    for size in [0, 10, 20 * MIB] {
        let key = key(&format!("failing/{size}"));
        let failure = stream::once(async { Err(io::Error::other("the tap ran dry")) });
        let failing = pieces(&noise(1, size), MIB).chain(failure).boxed();
        match store.put_once(&key, failing).await {
            Err(StoreError::Body { key: k, source }) => {
                assert_eq!((k, source.to_string().as_str()), (key.clone(), "the tap ran dry"));
            }
            other => panic!("{size}: {other:?}"),
        }
        assert!(matches!(store.get(&key).await, Err(StoreError::NotFound { .. })));
        assert_eq!(keys(store, "failing").await, [""; 0]);
        assert_eq!(folders(store, "").await.iter().find(|f| *f == "failing"), None);
        if place.tells_leftovers {
            assert_eq!(leftovers(store, "").await, [""; 0]);
        }
    }
}

/// A write that has taken so many bytes and waits for more.
async fn begin_write<'s>(
    store: &'s dyn Store,
    name: &str,
    size: usize,
) -> Pin<Box<dyn Future<Output = ()> + Send + 's>> {
    let (taken, mut all_taken) = oneshot::channel();
    let rest = async move {
        let _ = taken.send(());
        pending::<io::Result<Bytes>>().await
    };
    let endless: Body = pieces(&noise(1, size), MIB).chain(stream::once(rest)).boxed();
    let key = key(name);
    let mut write = async move { store.put_once(&key, endless).map(|done| panic!("{done:?}")).await }.boxed();
    poll_fn(|context| {
        assert!(write.poll_unpin(context).is_pending());
        if all_taken.poll_unpin(context).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    write
}

async fn a_dropped_write_leaves_nothing(place: &Place) {
    checking("a write that is dropped");
    let store = place.store.as_ref();
    for size in [0, 10, 20 * MIB] {
        drop(begin_write(store, &format!("dropped/{size}"), size).await);
        store.close().await;
        assert_eq!(keys(store, "dropped").await, [""; 0]);
        if place.tells_leftovers {
            assert_eq!(leftovers(store, "").await, [""; 0]);
        }
        store.put_once(&key(&format!("dropped/{size}")), body("x")).await.unwrap();
        store.delete(&key(&format!("dropped/{size}"))).await.unwrap();
    }
}

async fn a_killed_write_is_found_and_removed(place: &Place) {
    checking("a write that is killed");
    let store = place.store.as_ref();
    let before = Timestamp::now();
    // What is forgotten cleans up as little as what is killed.
    std::mem::forget(begin_write(store, "killed/folder/object", 20 * MIB).await);
    let object = key("killed/folder/object");
    assert!(matches!(store.get(&object).await, Err(StoreError::NotFound { .. })));
    assert_eq!(keys(store, "killed").await, [""; 0]);
    assert_eq!(folders(store, "killed").await, [""; 0]);
    if !place.tells_leftovers {
        return;
    }
    for (folder, found) in [("", true), ("killed", true), ("killed/folder", true), ("kill", false), ("other", false)] {
        assert_eq!(leftovers(store, folder).await.len(), usize::from(found), "{folder:?}");
    }
    let listed: Vec<_> = store.incomplete_uploads(&prefix("killed")).collect().await;
    let [Ok(upload)] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(upload.key, object);
    let age = upload.started.duration_since(before).abs();
    assert!(age < SignedDuration::from_secs(60), "started {}", upload.started);

    store.put_once(&object, body("the next one")).await.unwrap();
    // What the forgotten write has on its way may come after the first abort.
    let begun = Instant::now();
    store.abort_incomplete(upload).await.unwrap();
    while !leftovers(store, "").await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still there");
        store.abort_incomplete(upload).await.unwrap();
    }
    store.abort_incomplete(upload).await.unwrap();
    assert_eq!(read(store, &object).await.unwrap(), "the next one");
}

async fn a_reader_may_stop_early(store: &dyn Store) {
    checking("a reader that stops");
    let content = noise(3, 12 * MIB);
    let key = key("stopping/object");
    store.put_once(&key, pieces(&content, MIB)).await.unwrap();
    let mut object = store.get(&key).await.unwrap();
    let first = object.body.next().await.unwrap().unwrap();
    assert!(!first.is_empty() && content.starts_with(&first));
    drop(object);
    assert!(read(store, &key).await.unwrap() == content);
}

async fn capabilities_are_found(store: &dyn Store) {
    checking("capabilities");
    let found = store.capabilities(&key("probe/0"), Timestamp::now()).await.unwrap();
    assert!(found.conditional_writes, "{found:?}");
    let skew = found.clock_skew.unwrap().abs();
    assert!(skew < SignedDuration::from_secs(30), "{found:?}");
    assert_eq!(keys(store, "probe").await, [""; 0]);
    let ahead = Timestamp::now() - SignedDuration::from_hours(1);
    let skew = store.capabilities(&key("probe/1"), ahead).await.unwrap().clock_skew.unwrap();
    assert!((skew - SignedDuration::from_hours(1)).abs() < SignedDuration::from_secs(30), "{skew:?}");
}

/// In whole seconds, as stores have it.
fn hours_from_now(hours: i64) -> Retention {
    let until = Timestamp::from_second(Timestamp::now().as_second() + hours * 3_600).unwrap();
    Retention { mode: LockMode::Governance, until }
}

/// A store that has locks puts them on, extends and ends them; one that has none says so, whatever its server takes.
async fn locks_hold_or_are_refused(place: &Place) {
    checking("locks");
    let store = place.store.as_ref();
    let retention = hours_from_now(1);
    for size in [10, 9 * MIB] {
        let object = key(&format!("locked/{size}"));
        let content = noise(5, size);
        let put = store.put_retained(&object, pieces(&content, MIB), retention).await;
        if !place.locks {
            assert!(matches!(&put, Err(StoreError::Unsupported { .. })), "{size}: {put:?}");
            continue;
        }
        assert_eq!(put.unwrap().bytes, size as u64);
        assert!(read(store, &object).await.unwrap() == content);
        let told = store.protection(&object).await.unwrap();
        assert_eq!((told.retained_until, told.legal_hold), (Some(retention.until), false));
        let again = store.put_retained(&object, body("again"), retention).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");

        // It is never held for less.
        store
            .retain(&object, Retention { until: retention.until - SignedDuration::from_mins(30), ..retention })
            .await
            .unwrap();
        assert_eq!(store.protection(&object).await.unwrap().retained_until, Some(retention.until));
        let longer = hours_from_now(3);
        store.retain(&object, longer).await.unwrap();
        assert_eq!(store.protection(&object).await.unwrap().retained_until, Some(longer.until));
    }
    let plain = key("locked/plain");
    store.put_once(&plain, body("x")).await.unwrap();
    if !place.locks {
        for refused in [store.retain(&plain, retention).await, store.hold(&plain, true).await] {
            assert!(matches!(&refused, Err(StoreError::Unsupported { .. })), "{refused:?}");
        }
        assert!(!store.protection(&plain).await.unwrap().legal_hold);
        return;
    }
    for held in [true, true, false, false, true] {
        store.hold(&plain, held).await.unwrap();
        assert_eq!(store.protection(&plain).await.unwrap().legal_hold, held);
    }
    store.hold(&plain, false).await.unwrap();
    let missing = store.hold(&key("locked/missing"), true).await;
    assert!(matches!(&missing, Err(StoreError::NotFound { .. })), "{missing:?}");

    // A lock of the one kind or the other by a wrapper, on all that is written.
    let lock = ObjectLock { mode: LockMode::Governance, retain: "2h".parse().unwrap() };
    let begun = Timestamp::now();
    let wrapped = RetainedStore::new(place.store.clone(), lock.clone(), Arc::new(Timestamp::now));
    wrapped.put_once(&key("locked/wrapped"), body("x")).await.unwrap();
    let until = store.protection(&key("locked/wrapped")).await.unwrap().retained_until.unwrap();
    assert!(until >= begun + SignedDuration::from_hours(2) && until < begun + SignedDuration::from_hours(3), "{until}");
    wrapped.unretained().put_once(&key("locked/unwrapped"), body("x")).await.unwrap();
    assert_eq!(store.protection(&key("locked/unwrapped")).await.unwrap().retained_until, None);
    let outer = ObjectLock { retain: "5h".parse().unwrap(), ..lock };
    let twice = RetainedStore::new(wrapped, outer, Arc::new(Timestamp::now));
    twice.put_once(&key("locked/twice"), body("x")).await.unwrap();
    let until = store.protection(&key("locked/twice")).await.unwrap().retained_until.unwrap();
    assert!(until >= begun + SignedDuration::from_hours(5), "{until}");
}
