//! The faults that a faulty store injects are the ones that were asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use lifeboat_store::{
    Fault, FaultyStore, MemoryStore, Operation, Prefix, Store, StoreError, body, digest, nth, seeded,
};

use crate::places::{key, keys, noise, pieces, read};

fn memory() -> MemoryStore {
    MemoryStore::new(Arc::new(Timestamp::now))
}

async fn holding(content: &bytes::Bytes) -> MemoryStore {
    let store = memory();
    store.put_once(&key("k"), body(content.clone())).await.unwrap();
    store
}

#[tokio::test]
async fn the_nth_call_fails_and_no_other() {
    let refuse = || Fault::Fail(StoreError::NoSpace { resource: "k".to_owned(), source: None });
    let store = FaultyStore::new(memory(), nth(Operation::PutOnce, 2, refuse));
    store.put_once(&key("a"), body("x")).await.unwrap();
    let second = store.put_once(&key("b"), body("x")).await;
    assert!(matches!(second, Err(StoreError::NoSpace { .. })), "{second:?}");
    store.put_once(&key("c"), body("x")).await.unwrap();
    assert_eq!(keys(&store, "").await, ["a", "c"]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_took_effect() {
    let store = FaultyStore::new(memory(), nth(Operation::PutOnce, 1, || Fault::LoseResponse));
    let content = noise(1, 100);
    let lost = store.put_once(&key("k"), body(content.clone())).await;
    assert!(matches!(lost, Err(StoreError::Uncertain { .. })), "{lost:?}");
    // So the caller looks, and must not write again.
    assert_eq!(digest(&store, &key("k")).await.unwrap().0, 100);
    let again = store.put_once(&key("k"), body(content)).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
}

#[tokio::test]
async fn a_removal_whose_answer_is_lost_took_effect() {
    let store = FaultyStore::new(holding(&noise(1, 9)).await, nth(Operation::Delete, 1, || Fault::LoseResponse));
    let lost = store.delete(&key("k")).await;
    assert!(matches!(lost, Err(StoreError::Timeout { .. })), "{lost:?}");
    assert_eq!(keys(&store, "").await, [""; 0]);
}

#[tokio::test]
async fn a_cut_write_leaves_nothing() {
    for after in [0, 1, 100, 1_000] {
        let store = FaultyStore::new(memory(), nth(Operation::PutOnce, 1, move || Fault::Cut(after)));
        let cut = store.put_once(&key("k"), pieces(&noise(1, 100), 7)).await;
        assert!(matches!(cut, Err(StoreError::Body { .. })), "{after}: {cut:?}");
        assert_eq!(keys(&store, "").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_cut_read_delivers_so_many_bytes_and_an_error() {
    let content = noise(1, 5_000);
    for after in [0, 1, 4_999, 5_000, 6_000] {
        let store = FaultyStore::new(holding(&content).await, nth(Operation::Get, 1, move || Fault::Cut(after)));
        let object = store.get(&key("k")).await.unwrap();
        let chunks: Vec<_> = object.body.collect().await;
        let (last, chunks) = chunks.split_last().unwrap();
        assert!(last.is_err());
        let delivered: usize = chunks.iter().map(|chunk| chunk.as_ref().unwrap().len()).sum();
        assert_eq!(delivered, content.len().min(usize::try_from(after).unwrap()));
        let failed = digest(&store, &key("k")).await;
        assert!(failed.is_ok(), "only the first read is cut: {failed:?}");
    }
}

#[tokio::test]
async fn a_corrupted_read_differs_in_one_bit() {
    let content = noise(1, 5_000);
    let at = || Fault::Corrupt(3_210);
    let store = FaultyStore::new(holding(&content).await, nth(Operation::Get, 1, at));
    let got = read(&store, &key("k")).await.unwrap();
    let differing: Vec<_> = (0..content.len()).filter(|i| got[*i] != content[*i]).collect();
    assert_eq!(differing, [3_210]);
    assert_eq!(got[3_210] ^ content[3_210], 1);
    assert!(read(&store, &key("k")).await.unwrap() == content);

    let store = FaultyStore::new(holding(&content).await, nth(Operation::GetRange, 1, || Fault::Corrupt(10)));
    let got = store.get_range(&key("k"), 100..200).await.unwrap();
    let differing: Vec<_> = (0..100).filter(|i| got[*i] != content[100 + *i]).collect();
    assert_eq!(differing, [10]);
}

#[tokio::test]
async fn a_delayed_call_succeeds_later() {
    let wait = || Fault::Delay(Duration::from_millis(60));
    let store = FaultyStore::new(holding(&noise(1, 10)).await, nth(Operation::List, 1, wait));
    let begun = Instant::now();
    assert_eq!(keys(&store, "").await, ["k"]);
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_failing_listing_fails() {
    let store = FaultyStore::new(memory(), nth(Operation::Folders, 1, || Fault::LoseResponse));
    let first = store.folders(&Prefix::ROOT).next().await.unwrap();
    assert!(matches!(first, Err(StoreError::Timeout { .. })), "{first:?}");
}

#[tokio::test]
async fn a_seed_decides_all_faults() {
    let history = |seed| async move {
        let store = FaultyStore::new(memory(), seeded(seed, 40));
        let mut outcomes = Vec::new();
        for n in 0..60 {
            let put = store.put_once(&key(&format!("k{n}")), body(noise(n, 1_000))).await;
            let got = store.get_range(&key(&format!("k{n}")), 0..1_000).await;
            outcomes.push(format!("{put:?} {got:?}"));
        }
        (outcomes, keys(store.inner(), "").await.len())
    };
    let (first, again, other) = (history(1).await, history(1).await, history(2).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.1 > 20 && first.1 < 60, "{} writes took effect", first.1);
}
