//! Restores that are broken off: killed, without their target, without their lock; and gone on with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_kubernetes::{Cluster as Client, ConnectOptions, Error as KubernetesError, Retry};
use lifeboat_recovery::restore_objects::{
    Concurrency, Mode, Options, Plan, Request, Unfinished, perform, plan, resume,
};
use lifeboat_recovery::{BackupRef, Catalog, Error, OpenBackup, Progress, Track, backup};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use super::{get, refused, site, uid};
use crate::e2e::faults::{behind_a_gate, kill_api_server, many};
use crate::support::{Keys, apply, boot, context, memory, request, turn, until};

/// A backup of that cluster, opened, in memory.
async fn opened(cluster: &Cluster) -> OpenBackup {
    let keys = Keys::generate();
    let context = context(Arc::new(memory(&[].into()).await), &keys);
    let taken = backup::create(&context, request(cluster, &keys), Progress::default()).await.unwrap();
    let catalog = Catalog::open(context).await.unwrap();
    let found = catalog.get(&BackupRef::Id(taken.manifest.id.to_string())).await.unwrap();
    OpenBackup::open(found, keys.identities).await.unwrap()
}

async fn client(kubeconfig: impl Into<PathBuf>, patience: Duration) -> Client {
    let kubeconfig = Some(kubeconfig.into());
    let retry = Retry { budget: patience, ..Retry::default() };
    Client::connect(ConnectOptions { kubeconfig, retry, ..ConnectOptions::default() }).await.unwrap()
}

fn options(journal: &Path, holder: &str) -> Options {
    let concurrency = Concurrency::new(4).unwrap();
    Options { journal: journal.to_owned(), concurrency, holder: holder.to_owned() }
}

/// Lines of a journal that are whole.
fn noted(journal: &Path) -> usize {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"step\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_goes_on_and_does_nothing_twice() {
    let _turn = turn().await;
    let source = boot(|cluster| many(cluster, "many", 300)).await;
    let target = Cluster::start().await;
    let mut site = site(&source);
    let id = site.create();
    let (gate, kubeconfig) = behind_a_gate(&target, 1_200_000).await;
    site.set("KUBECONFIG", &kubeconfig);
    let journal = site.path("journal");
    let journal_name = journal.to_str().unwrap();
    let command =
        ["restore", "objects", &id, "--yes", "-n", "default", "--concurrency", "4", "--journal", journal_name];
    let mut child = site.command(&command).spawn().unwrap();
    gate.reached().await;
    let some = until("notes", async || Some(noted(&journal)).filter(|count| *count > 20)).await;
    // Another one at the same time is refused.
    site.set("KUBECONFIG", target.kubeconfig().to_str().unwrap());
    let other = refused(&site, 5, &[&id, "-n", "default"]);
    assert!(other.contains("kube-system") && other.contains("held by"), "{other}");
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();

    // What people do meanwhile to objects that are done stays done.
    target.kubectl(&["delete", "configmap", "many-0000"]);
    target.kubectl(&["patch", "configmap", "many-0001", "--type=merge", "-p", r#"{"data":{"text":"mine"}}"#]);
    let there = get(&target, &["configmaps"])["items"].as_array().unwrap().len();
    assert!(there > 20 && there < 299, "{there} of 300, {some} notes");
    let done = site.json(0, &["restore", "objects", &id, "--resume", "--journal", journal_name]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    let names = |cluster: &Cluster| -> Vec<String> {
        let list = get(cluster, &["configmaps"]);
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].to_string()).collect()
    };
    let mut wanted = names(&source);
    assert_eq!(done["created"].as_u64().unwrap(), wanted.len() as u64, "{done}");
    wanted.retain(|name| name != "\"many-0000\"");
    assert_eq!(names(&target), wanted);
    assert_eq!(get(&target, &["configmap", "many-0001"])["data"]["text"], "mine");
    assert!(!journal.exists(), "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_away_half_way_can_be_gone_on_with() {
    let _turn = turn().await;
    let source = boot(|cluster| many(cluster, "many", 300)).await;
    let mut target = Cluster::start().await;
    let open = opened(&source).await;
    let journal = source.temp().join("journal");
    let (gate, kubeconfig) = behind_a_gate(&target, 1_200_000).await;
    let through = client(&kubeconfig, Duration::from_millis(500)).await;
    let mut wanted = Request::default();
    wanted.selection.namespaces = vec!["default".to_owned()];
    let track = Track::default();
    let planned = plan(&open, through.clone(), &wanted, Concurrency::default(), &track).await.unwrap();
    let first = options(&journal, "first");
    let performing = perform(&open, through.clone(), &planned, &first, &track);
    let (performed, ()) = tokio::join!(performing, async {
        gate.reached().await;
        kill_api_server(&target).await;
        gate.open();
    });
    let Err(Error::Stopped { done, of, source: why, .. }) = performed else { panic!("{performed:?}") };
    assert!(done > 20 && done < of, "{done} of {of}");
    assert!(matches!(*why, Error::Kubernetes(_)), "{why:?}");

    target.stop_api_server().await;
    target.start_api_server().await.unwrap();
    let direct = client(target.kubeconfig(), Duration::from_secs(10)).await;
    let unfinished = Unfinished::read(&journal).unwrap();
    assert!(unfinished.done() as u64 >= done);
    let report = resume(&open, direct, &unfinished, &options(&journal, "second"), &track).await.unwrap();
    assert!(report.ok(), "{:?}", report.failed.named(&planned).collect::<Vec<_>>());
    assert_eq!(report.created, of);
    assert_eq!(get(&target, &["configmaps"])["items"].as_array().unwrap().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_loses_its_lock_stops_and_can_be_gone_on_with() {
    let _turn = turn().await;
    let source = boot(|cluster| many(cluster, "many", 300)).await;
    let target = Cluster::start().await;
    let open = opened(&source).await;
    let journal = source.temp().join("journal");
    // Nothing comes through any more: nor do answers to the renewals of the lock.
    let (gate, kubeconfig) = behind_a_gate(&target, 1_200_000).await;
    let through = client(&kubeconfig, Duration::from_mins(2)).await;
    let mut wanted = Request::default();
    wanted.selection.namespaces = vec!["default".to_owned()];
    let track = Track::default();
    let planned = plan(&open, through.clone(), &wanted, Concurrency::default(), &track).await.unwrap();
    let first = options(&journal, "first");
    let performed = perform(&open, through, &planned, &first, &track).await;
    let Err(Error::Stopped { done, of, journal: told, source: why }) = performed else { panic!("{performed:?}") };
    assert!(matches!(*why, Error::Kubernetes(KubernetesError::LeaseLost { .. })), "{why:?}");
    assert!(done > 0 && done < of && told == journal, "{done} of {of}");
    assert_eq!(noted(&journal) as u64, done, "nothing is done without the lock");

    gate.open();
    let direct = client(target.kubeconfig(), Duration::from_secs(10)).await;
    let unfinished = Unfinished::read(&journal).unwrap();
    let report = resume(&open, direct, &unfinished, &options(&journal, "second"), &track).await.unwrap();
    assert!(report.ok(), "{:?}", report.failed.named(&planned).collect::<Vec<_>>());
    assert_eq!(get(&target, &["configmaps"])["items"].as_array().unwrap().len(), 300);
}

/// Of eight `ConfigMaps` the first is owned by the last, and the second and the third by each other.
fn owned(cluster: &Cluster) {
    apply(cluster, "items", &items(0..8, "text"));
    let named = |number: u32| get(cluster, &["configmap", &format!("item-{number}")]);
    for (object, owner) in [(0, 7), (1, 2), (2, 1)] {
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("item-{owner}"),
            "uid": uid(&named(owner))});
        let patch = json!({"metadata": {"ownerReferences": [reference]}}).to_string();
        cluster.kubectl(&["patch", "configmap", &format!("item-{object}"), "--type=merge", "-p", &patch]);
    }
}

fn items(numbers: impl Iterator<Item = u32>, text: &str) -> Value {
    let item = |number| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
            "metadata": {"name": format!("item-{number}"), "namespace": "default"}})
    };
    json!({"apiVersion": "v1", "kind": "List", "items": numbers.map(item).collect::<Vec<_>>()})
}

/// The steps of a journal: which entry, what, and the UID.
fn steps(journal: &Path) -> Vec<(u64, String, String)> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains("\"step\""));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parsed = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.map(|note| (note["entry"].as_u64().unwrap(), text(&note["step"]), text(&note["uid"]))).collect()
}

/// Restores with one request at a time, and stops as soon as so many steps are noted; whether it came that far.
async fn broken_off(open: &OpenBackup, cluster: &Client, plan: &Plan, journal: &Path, after: usize) -> bool {
    let options = Options { concurrency: Concurrency::new(1).unwrap(), ..options(journal, "one") };
    let track = Track::default();
    let reached = async {
        while !journal.exists() || noted(journal) < after {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    tokio::select! {
        report = perform(open, cluster.clone(), plan, &options, &track) => {
            assert!(report.unwrap().ok());
            false
        }
        () = reached => true,
    }
}

/// Wherever a restore is broken off, the same restore goes on: what was noted is not done again, and in the end all is
/// as if it had not been broken off.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_from_every_step() {
    let _turn = turn().await;
    let source = boot(owned).await;
    let target = Cluster::start().await;
    let open = opened(&source).await;
    let journal = source.temp().join("journal");
    let direct = client(target.kubeconfig(), Duration::from_mins(1)).await;
    for mode in [Mode::Exact, Mode::Recreate] {
        let mut wanted = Request::default();
        wanted.selection.namespaces = vec!["default".to_owned()];
        wanted.selection.kinds = vec!["configmaps".parse().unwrap()];
        wanted.settings.mode = mode;
        let mut after = 0;
        loop {
            // Two are changed, and one is nobody's.
            target.kubectl(&["delete", "configmaps", "--all", "-n", "default"]);
            apply(&target, "changed", &items([3, 4, 9].into_iter(), "changed"));
            let planned =
                plan(&open, direct.clone(), &wanted, Concurrency::default(), &Track::default()).await.unwrap();
            let stopped = broken_off(&open, &direct, &planned, &journal, after).await;
            let before = steps(&journal);
            if stopped {
                let unfinished = Unfinished::read(&journal).unwrap();
                let again = options(&journal, "one");
                let report = resume(&open, direct.clone(), &unfinished, &again, &Track::default()).await.unwrap();
                assert!(report.ok(), "{mode:?} {after}: {:?}", report.failed.named(&planned).collect::<Vec<_>>());
            }
            assert!(!journal.exists());
            let there = get(&target, &["configmaps", "-n", "default"])["items"].clone();
            let uids: Vec<&str> = there.as_array().unwrap().iter().map(uid).collect();
            for (entry, step, uid) in &before {
                let kept = uid.is_empty() || uids.contains(&uid.as_str());
                assert!(kept, "{mode:?} {after}: {step} of {entry} was done again");
            }
            let named = |number: usize| get(&target, &["configmap", &format!("item-{number}"), "-n", "default"]);
            for number in 0..8 {
                assert_eq!(named(number)["data"]["text"], "text", "{mode:?} {after}: {number}");
            }
            for (object, owner) in [(0, 7), (1, 2), (2, 1)] {
                let reference = named(object)["metadata"]["ownerReferences"][0]["uid"].clone();
                assert_eq!(reference, *uid(&named(owner)), "{mode:?} {after}: {object}");
            }
            assert_eq!(there.as_array().unwrap().len(), if mode == Mode::Exact { 8 } else { 9 }, "{mode:?} {after}");
            if !stopped {
                break;
            }
            after = before.len().max(after) + 1;
        }
        assert!(after > 8, "{mode:?} was broken off at {after} steps at most");
    }
}
