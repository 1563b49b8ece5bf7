//! Random operations: a folder and a server do what the store in memory does.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_store::{DirectoryStore, Key, MemoryStore, Prefix, Store, StoreError};
use lifeboat_tests::s3::S3Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::places::{self, noise, pieces, read};

#[derive(Debug, Clone)]
enum Step {
    Put(Key, usize),
    PutFailing(Key, usize),
    Get(Key),
    GetRange(Key, Range<u64>),
    List(Prefix),
    Folders(Prefix),
    Delete(Key),
}

/// Folders have other names than objects: some stores cannot have one under the name of the other.
fn folder() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "a-b", "a.b", "b"]), 0..3).prop_map(|names| names.join("/"))
}

fn key() -> impl Strategy<Value = Key> {
    (folder(), prop::sample::select(vec!["x", "x.json", "x-1", "y"])).prop_map(|(folder, name)| {
        let folder: Prefix = folder.parse().unwrap();
        folder.key(name).unwrap()
    })
}

fn step() -> impl Strategy<Value = Step> {
    let prefix = || folder().prop_map(|folder| folder.parse().unwrap());
    prop_oneof![
        4 => (key(), 0..3_000_usize).prop_map(|(key, size)| Step::Put(key, size)),
        1 => (key(), 0..3_000_usize).prop_map(|(key, size)| Step::PutFailing(key, size)),
        3 => key().prop_map(Step::Get),
        2 => (key(), 0..3_000_u64, 0..2_000_u64).prop_map(|(key, at, length)| Step::GetRange(key, at..at + length)),
        2 => prefix().prop_map(Step::List),
        2 => prefix().prop_map(Step::Folders),
        2 => key().prop_map(Step::Delete),
    ]
}

/// What came of a step, without dates and with errors by their kind.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Content(Bytes),
    Listed(Vec<(String, u64)>),
    Failed(String),
}

async fn perform(store: &dyn Store, step: &Step) -> Outcome {
    let outcome = match step {
        Step::Put(key, size) => {
            let put = store.put_once(key, pieces(&noise(*size as u64, *size), 700)).await;
            put.map(|stored| Outcome::Listed(vec![(key.to_string(), stored.bytes)]))
        }
        Step::PutFailing(key, size) => {
            let failure = stream::once(async { Err(std::io::Error::other("it fails")) });
            let body = pieces(&noise(*size as u64, *size), 700).chain(failure).boxed();
            match store.put_once(key, body).await {
                // Stores differ in whether they look first.
                Err(StoreError::AlreadyExists { key }) => {
                    Err(StoreError::Body { key, source: std::io::Error::other("") })
                }
                other => other.map(|_| Outcome::Done),
            }
        }
        Step::Get(key) => read(store, key).await.map(Outcome::Content),
        Step::GetRange(key, range) => store.get_range(key, range.clone()).await.map(Outcome::Content),
        Step::List(prefix) => {
            let listed = store.list(prefix).map(|item| item.map(|item| (item.key.to_string(), item.bytes)));
            collect(listed.collect().await)
        }
        Step::Folders(prefix) => {
            let listed = store.folders(prefix).map(|item| item.map(|folder| (folder.to_string(), 0)));
            collect(listed.collect().await)
        }
        Step::Delete(key) => store.delete(key).await.map(|()| Outcome::Done),
    };
    outcome.unwrap_or_else(|error| {
        let text = format!("{error:?}");
        Outcome::Failed(text.split([' ', '{']).next().unwrap().to_owned())
    })
}

fn collect(items: Vec<Result<(String, u64), StoreError>>) -> Result<Outcome, StoreError> {
    items.into_iter().collect::<Result<_, _>>().map(Outcome::Listed)
}

/// Does the steps on a fresh model and an empty store, compares each outcome, and empties the store again.
async fn compare(store: &dyn Store, steps: &[Step]) -> Result<(), TestCaseError> {
    let model = MemoryStore::new(Arc::new(Timestamp::now));
    for (n, step) in steps.iter().enumerate() {
        let (want, got) = (perform(&model, step).await, perform(store, step).await);
        prop_assert_eq!(got, want, "step {} of {:?}", n, steps);
    }
    let left: Vec<_> = store.list(&Prefix::ROOT).map(Result::unwrap).collect().await;
    for object in left {
        store.delete(&object.key).await.unwrap();
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn a_directory_behaves_as_the_model() {
    let runtime = Runtime::new().unwrap();
    let folder = TempDir::with_prefix("lifeboat-store-").unwrap();
    let root = folder.path().join("store");
    let store = runtime.block_on(DirectoryStore::open(&root, 1)).unwrap();
    let steps = prop::collection::vec(step(), 1..40);
    runner(200)
        .run(&steps, |steps| {
            runtime.block_on(compare(&store, &steps))?;
            // Neither unfinished files nor empty folders are left.
            prop_assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_bucket_behaves_as_the_model() {
    let runtime = Runtime::new().unwrap();
    let place = runtime.block_on(places::server(S3Kind::Versitygw));
    let steps = prop::collection::vec(step(), 1..40);
    runner(25).run(&steps, |steps| runtime.block_on(compare(place.store.as_ref(), &steps))).unwrap();
}
