//! The inspector against `etcdutl snapshot status` and the reference, on databases filled at random.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use lifeboat_etcd::{Cluster, Inspector, SnapshotFacts, Trailer};
use lifeboat_tests::cluster;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::kv::{Put, Writer};
use crate::reference::Reference;
use crate::{cases, options, status};

#[derive(Debug, Clone)]
enum Step {
    /// Keys in one transaction: number of the first, how many, bytes of each value.
    Put {
        first: u16,
        count: u16,
        size: usize,
        kind: u8,
    },
    Delete {
        from: u16,
        to: u16,
    },
    Compact,
    Lease,
    Defragment,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = 0_u16..600;
    prop_oneof![
        6 => (keys.clone(), 1_u16..120, 0_usize..400, any::<u8>())
            .prop_map(|(first, count, size, kind)| Step::Put { first, count, size, kind }),
        4 => (keys.clone(), 1_u16..10, 1_000_usize..12_000, any::<u8>())
            .prop_map(|(first, count, size, kind)| Step::Put { first, count, size, kind }),
        1 => (keys.clone(), 1_000_000_usize..1_050_000, any::<u8>())
            .prop_map(|(first, size, kind)| Step::Put { first, count: 1, size, kind }),
        2 => (keys.clone(), keys).prop_map(|(from, to)| Step::Delete { from, to }),
        1 => Just(Step::Compact),
        1 => Just(Step::Lease),
        1 => Just(Step::Defragment),
    ]
}

fn key(number: u16) -> Vec<u8> {
    // Of different lengths, so that keys lie at every offset of a page.
    let padding = "x".repeat(usize::from(number % 200));
    format!("/registry/things/{number:05}{padding}").into_bytes()
}

fn value(number: u16, size: usize, kind: u8) -> Vec<u8> {
    let mut value = match kind {
        0..100 => b"k8s\0".to_vec(),
        100..200 => b"{\"kind\":\"Thing\"}".to_vec(),
        _ => format!("k8s:enc:aescbc:v1:key{}:", kind % 4).into_bytes(),
    };
    value.extend(format!("{number} of ").bytes().cycle().take(size));
    value
}

/// What is known of the database that is being filled.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    revision: i64,
    compacted: i64,
    leases: i64,
}

async fn perform(step: Step, writer: &Writer, state: &mut State) {
    match step {
        Step::Put { first, count, size, kind } => {
            let put = |number| Put { key: key(number), value: value(number, size, kind), lease: 0 };
            state.revision = writer.put((first..first + count).map(put).collect()).await;
        }
        Step::Delete { from, to } => state.revision = writer.delete(&key(from), &key(to)).await,
        Step::Compact if state.revision > state.compacted => {
            state.compacted = state.revision;
            writer.compact(state.revision).await;
        }
        Step::Compact => {}
        Step::Lease => {
            state.leases += 1;
            writer.grant_lease(state.leases).await;
        }
        Step::Defragment => writer.defragment().await,
    }
}

/// Takes a snapshot into `path`; the inspector gets it in pieces of `size`.
async fn take(cluster: &Cluster, endpoint: &str, path: &Path, size: usize) -> SnapshotFacts {
    let mut stream = cluster.snapshot(endpoint).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&part);
        assert_eq!(stream.received(), bytes.len() as u64);
    }
    assert_eq!(stream.total(), bytes.len() as u64);
    let info = stream.finish().unwrap();
    assert_eq!(info.bytes, bytes.len() as u64);
    assert_eq!(info.file, lifeboat_model::Digest::of(&bytes));
    fs::write(path, &bytes).unwrap();

    let mut inspector = Inspector::new(Trailer::Verify);
    bytes.chunks(size).for_each(|part| inspector.update(part));
    let facts = inspector.finish().unwrap();
    assert_eq!(facts.sha256, Some(info.database));
    assert_eq!(facts.storage_version, info.storage_version);
    facts
}

fn compare(facts: &SnapshotFacts, path: &Path) {
    let status = status(path);
    let bytes = fs::read(path).unwrap();
    let reference = Reference::read(&bytes);
    assert_eq!(status["totalKey"], reference.existing_keys(), "the reference itself");
    assert_eq!(status["revision"], facts.revision);
    assert_eq!(status["totalSize"], facts.pages * u64::from(facts.page_size));
    assert_eq!(facts.bytes, bytes.len() as u64);
    let count = |bucket: &str| reference.buckets[bucket].len() as u64;
    assert_eq!(facts.keys, reference.buckets.keys().map(|bucket| count(bucket)).sum::<u64>());
    assert_eq!(facts.key_revisions, count("key"));
    assert_eq!((facts.leases, facts.members, facts.alarms), (count("lease"), count("members"), count("alarm")));
    assert_eq!(facts.live_pages, reference.live_pages);
    assert_eq!(facts.revision, reference.revision());
    assert_eq!(facts.consistent_index, Some(reference.consistent_index()));
    assert_eq!(facts.encryption, reference.encryption());
    assert_eq!(facts.cluster_version.as_deref(), Some("3.6.0"));
}

#[test]
fn finds_what_etcdutl_and_the_reference_find() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let etcd = runtime.block_on(cluster::Cluster::start_etcd(1));
    let access = etcd.etcd();
    let path = etcd.temp().join("snapshot.db");
    let (client, writer) =
        runtime.block_on(async { (Cluster::connect(&options(&access)).unwrap(), Writer::new(&access, 0)) });

    // Before anything is written, all buckets lie within their elements.
    runtime.block_on(writer.put(vec![Put { key: key(0), value: value(0, 10, 0), lease: 0 }]));
    compare(&runtime.block_on(take(&client, &access.endpoints[0], &path, 4096)), &path);

    let state = Cell::new(State::default());
    let config = Config { cases: cases(24), max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let steps = (proptest::collection::vec(step(), 1..25), 1_usize..100_000);
    runner
        .run(&steps, |(steps, size)| {
            let facts = runtime.block_on(async {
                let mut now = state.get();
                for step in steps {
                    perform(step, &writer, &mut now).await;
                }
                state.set(now);
                take(&client, &access.endpoints[0], &path, size).await
            });
            compare(&facts, &path);
            Ok(())
        })
        .unwrap();
}
