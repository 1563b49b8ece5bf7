//! Backups and drills that somebody asks for.

use lifeboat_model::RetentionPolicy;
use lifeboat_recovery::Catalog;
use lifeboat_recovery::retention::survey;
use lifeboat_recovery::rules::RESTORED_FROM;
use serde_json::json;

use super::stage::{NAMESPACE, Stage, complete, condition};
use crate::request::Request;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_once_whatever_becomes_of_the_daemon() {
    let stage = Stage::start().await;
    let mut daemon = stage.daemon().await;

    // As it should be: the id is noted before anything is written, and then all that is known.
    stage.create("Backup", "before-upgrade", &json!({"etcd": false}));
    let request = daemon.backup().await;
    assert_eq!((request.name.as_str(), request.etcd, request.objects), ("before-upgrade", false, true));
    let (facts, reply) = stage.serve(request).await;
    complete(&facts);
    let running = stage.until_phase("backup", "before-upgrade", "Running").await;
    assert_eq!(running["status"]["id"], facts.id.as_str());
    reply.send(Ok(facts.clone())).unwrap();
    let done = stage.until_phase("backup", "before-upgrade", "Complete").await;
    assert_eq!(condition(&done, "Complete")["status"], "True");
    assert_eq!(condition(&done, "Complete")["observedGeneration"], done["metadata"]["generation"]);
    assert_eq!(done["status"]["storedBytes"], facts.stored_bytes);
    stage.until_event("before-upgrade", "Complete").await;

    // Killed after the commit and before the answer: found in the store.
    stage.create("Backup", "committed", &json!({}));
    let (committed, reply) = stage.serve(daemon.backup().await).await;
    daemon.kill().await;
    drop(reply);
    // Killed with the id noted, and nothing in the store.
    let mut daemon = stage.daemon().await;
    let found = stage.until_phase("backup", "committed", "Complete").await;
    assert_eq!(found["status"]["id"], committed.id.as_str());
    stage.create("Backup", "interrupted", &json!({}));
    let request = daemon.backup().await;
    let id = stage.note(request.begun).await;
    daemon.kill().await;
    // Killed before anything was begun: it is asked for again.
    let daemon = stage.daemon().await;
    let failed = stage.until_phase("backup", "interrupted", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "Interrupted");
    assert_eq!(failed["status"]["id"], id.as_str());
    stage.until_event("interrupted", "Interrupted").await;
    daemon.kill().await;

    refusals(&stage).await;
    let catalog = Catalog::open(stage.context.clone()).await.unwrap();
    let taken = catalog.list().await.unwrap();
    assert_eq!(taken.backups.len(), 2, "{taken:?}");
    // However long it took to note their ids, retention believes their dates.
    let policy = RetentionPolicy { keep_last: 1, ..RetentionPolicy::default() };
    let pruned = survey(&catalog, &policy).await.unwrap();
    assert_eq!(pruned.removals().map(|known| &known.id).collect::<Vec<_>>(), [&facts.id], "{pruned:?}");
}

/// What is no request, and what cannot be done.
async fn refusals(stage: &Stage) {
    let mut daemon = stage.daemon().await;
    // What a restore brought is no request.
    let object = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Backup", "spec": {},
        "metadata": {"name": "came-back", "namespace": NAMESPACE, "annotations": {RESTORED_FROM: "some-backup"}},
    });
    stage.apply(&object);
    let failed = stage.until_phase("backup", "came-back", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "Restored");

    // What the runner refuses before it begins.
    stage.create("Backup", "unknown-schedule", &json!({"schedule": "nightly"}));
    let request = daemon.backup().await;
    assert_eq!(request.schedule.as_deref(), Some("nightly"));
    drop(request.begun);
    request.reply.send(Err("there is no schedule\n\u{1b}[31m 'nightly'".to_owned())).unwrap();
    let failed = stage.until_phase("backup", "unknown-schedule", "Failed").await;
    let message = condition(&failed, "Failed")["message"].as_str().unwrap();
    assert!(message.contains("'nightly'") && !message.contains(char::is_control), "{message:?}");

    // One that is deleted before it was begun is not taken.
    stage.create("Backup", "withdrawn", &json!({}));
    let request = daemon.backup().await;
    stage.cluster.kubectl(&["delete", "backup", "withdrawn", "-n", NAMESPACE]);
    let (noted, wait) = tokio::sync::oneshot::channel();
    request.begun.unwrap().send(crate::request::Begun { id: stage.new_id(), noted }).unwrap();
    assert!(wait.await.is_err(), "a backup whose object is gone is not to be taken");
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_run_and_reported() {
    let stage = Stage::start().await;
    complete(&stage.take(&stage.new_id(), lifeboat_model::Reason::Manual).await);
    stage.cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "recovery",
        "-n",
        NAMESPACE,
        &format!("--from-literal=identity={}", stage.identity),
    ]);
    let mut daemon = stage.daemon().await;
    stage.create("Drill", "first", &json!({"identity": {"secretName": "recovery"}}));
    let Some(Request::Drill(request)) = daemon.requests.recv().await else { panic!("no drill") };
    assert!(request.identities.is_some() && request.tier.number() == 0);
    let catalog = Catalog::open(stage.context.clone()).await.unwrap();
    let drilled = stage.drill(&catalog, request.identities).await;
    request.reply.send(Ok(drilled.clone())).unwrap();
    let done = stage.until_phase("drill", "first", "Passed").await;
    assert_eq!(done["status"]["report"], drilled.id.as_str());
    assert_eq!(done["status"]["backup"], drilled.backup.as_str());
    assert_eq!(condition(&done, "Passed")["status"], "True");
    stage.until_event("first", "Passed").await;

    // A Secret that is not there, or not what it should be, is said and not shown.
    stage.create("Drill", "no-secret", &json!({"tier": 1, "identity": {"secretName": "missing"}}));
    let failed = stage.until_phase("drill", "no-secret", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "NoIdentity");
    stage.cluster.kubectl(&["create", "secret", "generic", "odd", "-n", NAMESPACE, "--from-literal=identity=hunter2"]);
    stage.create("Drill", "odd-secret", &json!({"tier": 1, "identity": {"secretName": "odd"}}));
    let failed = stage.until_phase("drill", "odd-secret", "Failed").await;
    assert!(!failed.to_string().contains("hunter2"), "{failed:#}");

    // One that was under way when its daemon died has come to no verdict.
    stage.create("Drill", "killed", &json!({}));
    let Some(Request::Drill(request)) = daemon.requests.recv().await else { panic!("no drill") };
    daemon.kill().await;
    drop(request);
    let daemon = stage.daemon().await;
    let failed = stage.until_phase("drill", "killed", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "Interrupted");
    daemon.kill().await;
}
