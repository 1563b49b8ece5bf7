//! Schedules of the cluster.

use serde_json::json;

use super::stage::{NAMESPACE, Stage, complete, condition, eventually};
use lifeboat_model::Reason;

/// Names of the schedules that the scheduler was handed.
async fn until_in_force(stage: &Stage, wanted: &[&str]) {
    let mut last = Vec::new();
    let found = eventually(|| {
        last = stage.schedules.borrow().iter().map(|standing| standing.schedule.name.clone()).collect();
        (last == wanted).then_some(())
    });
    assert!(found.await.is_some(), "wanted {wanted:?}, found {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_handed_over_as_far_as_they_make_sense() {
    let stage = Stage::start().await;
    let daemon = stage.daemon().await;
    stage.create("Schedule", "nightly", &json!({"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}));
    stage.create("Schedule", "paused", &json!({"schedule": "@hourly", "suspend": true}));
    stage.create("Schedule", "nowhere", &json!({"schedule": "0 3 * * *", "timeZone": "Europe/Atlantis"}));
    stage.create("Schedule", "bad-minute", &json!({"schedule": "61 * * * *"}));
    stage.create("Schedule", "of-the-file", &json!({"schedule": "@daily"}));
    until_in_force(&stage, &["nightly", "paused"]).await;
    let ready = |name: &'static str, status: &'static str, reason: &'static str| {
        let stage = &stage;
        async move {
            let object = stage.until("schedule", name, |object| object["status"]["conditions"].is_array()).await;
            let ready = condition(&object, "Ready");
            assert_eq!((&ready["status"], &ready["reason"]), (&json!(status), &json!(reason)), "{name}: {object:#}");
            object
        }
    };
    let nightly = ready("nightly", "True", "InForce").await;
    assert!(nightly["status"]["nextRun"].as_str().unwrap().ends_with("00:00Z"), "{nightly:#}");
    assert!(ready("paused", "True", "Suspended").await["status"]["nextRun"].is_null());
    ready("nowhere", "False", "Invalid").await;
    let bad = ready("bad-minute", "False", "Invalid").await;
    assert!(condition(&bad, "Ready")["message"].as_str().unwrap().contains("'61' is not from 0 to 59"), "{bad:#}");
    ready("of-the-file", "False", "NameTaken").await;
    stage.until_event("nowhere", "Invalid").await;

    // What becomes of its backups.
    let facts = stage.take(&stage.new_id(), Reason::Schedule("nightly".to_owned())).await;
    complete(&facts);
    stage.tell_finished("nightly", &facts);
    let healthy = |object: &serde_json::Value| object["status"]["lastBackup"] == facts.id.as_str();
    let nightly = stage.until("schedule", "nightly", healthy).await;
    assert_eq!(condition(&nightly, "Healthy")["status"], "True");

    // A change and a deletion arrive; what is wrong and is corrected is in force.
    stage.create("Schedule", "bad-minute", &json!({"schedule": "59 * * * *"}));
    stage.cluster.kubectl(&["delete", "schedule", "paused", "-n", NAMESPACE]);
    until_in_force(&stage, &["bad-minute", "nightly"]).await;
    let corrected = |object: &serde_json::Value| condition(object, "Ready")["status"] == "True";
    stage.until("schedule", "bad-minute", corrected).await;

    // A status that is as it should be is not written again.
    let version = |name: &str| stage.get("schedule", name).unwrap()["metadata"]["resourceVersion"].clone();
    let before = version("of-the-file");
    stage.tell_finished("nightly", &facts);
    stage.create("Schedule", "another", &json!({"schedule": "@monthly"}));
    stage.until("schedule", "another", |object| object["status"]["nextRun"].is_string()).await;
    assert_eq!(version("of-the-file"), before);
    daemon.kill().await;
}
