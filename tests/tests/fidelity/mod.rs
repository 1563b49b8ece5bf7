//! Fidelity: whatever is in a cluster is, after a restore into an empty one, what it was, but for the documented table
//! of differences.
//!
//! A generator makes clusters of objects of every built-in kind in many shapes. Each is backed up, restored into an
//! empty control plane, and backed up again; the two backups are compared by the canonical form. The clusters are the
//! same each time; `LIFEBOAT_TEST_FIDELITY_CASES` asks for more of them, and `LIFEBOAT_TEST_SEED` for others.

mod compare;
mod controllers;
mod load;
mod regressions;
mod shape;
mod shapes;

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat_kubernetes::Cluster as Client;
use lifeboat_recovery::backup::{self, Request as BackupRequest, Source};
use lifeboat_recovery::restore_objects::{self, Concurrency, Options, Plan, Report, Request, Settings};
use lifeboat_recovery::{BackupRef, Catalog, OpenBackup, Progress, Track, rules};
use lifeboat_tests::cluster::Cluster;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::compare::{compare, objects};
use self::load::{connect, load};
use self::shape::Shape;
use crate::support::{Files, Keys, context, memory, request, turn};

/// Clusters that are made when nothing else is asked for.
const CASES: u32 = 1;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: '{value}'")))
}

/// The clusters of a test, each with what it is called in messages.
fn cases(strategy: impl Strategy<Value = Vec<Shape>>) -> Vec<(String, Vec<Shape>)> {
    let first = setting("LIFEBOAT_TEST_SEED", 1);
    let seeds = first..first + setting("LIFEBOAT_TEST_FIDELITY_CASES", CASES);
    let make = |seed: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        (format!("LIFEBOAT_TEST_SEED={seed}"), strategy.new_tree(&mut runner).unwrap().current())
    };
    seeds.map(make).collect()
}

/// A control plane with both families of addresses.
async fn empty() -> Cluster {
    Cluster::start_with(|builder| builder.service_cidr("10.96.0.0/16,fd00:96::/112")).await
}

/// Takes a backup of the objects of a cluster into a store of its own.
async fn back_up(cluster: &Cluster, keys: &Keys) -> OpenBackup {
    let context = context(memory(&Files::new()).await, keys);
    let request = BackupRequest { etcd: Source::Skip("objects only".to_owned()), ..request(cluster, keys) };
    let outcome = backup::create(&context, request, Progress::default()).await.unwrap();
    let catalog = Catalog::open(context).await.unwrap();
    let backup = catalog.get(&BackupRef::Id(outcome.manifest.id.to_string())).await.unwrap();
    OpenBackup::open(backup, Arc::clone(&keys.identities)).await.unwrap()
}

/// Restores everything.
async fn restore(open: &OpenBackup, cluster: &Cluster, settings: Settings) -> (Plan, Report) {
    let client: Client = connect(cluster).await;
    let request = Request { settings, ..Request::default() };
    let concurrency = Concurrency::default();
    let plan = restore_objects::plan(open, client.clone(), &request, concurrency, &Track::default()).await.unwrap();
    let journal = cluster.temp().join("restore.journal");
    let options = Options { journal, concurrency, holder: "fidelity".to_owned() };
    let report = restore_objects::perform(open, client, &plan, &options, &Track::default()).await.unwrap();
    (plan, report)
}

/// What the report of a restore has to complain of, but for owners that are not restored.
fn complaints(plan: &Plan, report: &Report) -> Vec<String> {
    let notes = [("failed", &report.failed), ("blocked", &report.blocked), ("differs", &report.differing)];
    notes
        .iter()
        .flat_map(|(what, notes)| notes.named(plan).map(move |(name, text)| format!("{what}: {name}: {text}")))
        .filter(|text| !text.contains("owner is not on the target"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_is_what_it_was() {
    let keys = Keys::generate();
    for (case, shapes) in cases(shapes::cluster()) {
        let _turn = turn().await;
        let before = {
            let source = empty().await;
            let client = connect(&source).await;
            load(&client, &shapes).await;
            every_kind_is_there(&client, &shapes).await;
            back_up(&source, &keys).await
        };
        let target = empty().await;
        let (plan, report) = restore(&before, &target, Settings::default()).await;
        let after = back_up(&target, &keys).await;
        let (old, new) = (objects(&before).await, objects(&after).await);
        let verdicts = compare(&old, &new, &plan, &shapes, false);
        let problems = [complaints(&plan, &report), verdicts.problems].concat();
        assert!(problems.is_empty(), "{case}: {} problems:\n{}", problems.len(), problems.join("\n"));
        // Priorities are computed anew, of classes that are restored.
        assert!(!verdicts.met.contains(&523), "{case}: {:?}", verdicts.met);
        for number in [501, 502, 510, 511, 520, 521, 522, 530, 540, 541, 542, 550, 551] {
            assert!(
                verdicts.met.contains(&number),
                "{case}: no difference {number}: the test does not make what it is for"
            );
        }
    }
}

/// Every kind that the API server takes has a shape, but those that are never restored.
async fn every_kind_is_there(client: &Client, shapes: &[Shape]) {
    let discovery = client.discover().await.unwrap();
    let made: BTreeSet<(&str, &str)> = shapes
        .iter()
        .map(|shape| (shape.group_version.split_once('/').map_or("", |(group, _)| group), shape.resource))
        .collect();
    let missing: Vec<String> = discovery
        .wanted(&lifeboat_model::ResourcesConfig::default())
        .iter()
        .filter(|known| rules::skip_type(known).is_none())
        .filter(|known| !made.contains(&(known.group.as_str(), known.resource.as_str())))
        .map(|known| known.group_resource().to_string())
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "kinds without a shape");
}
