//! The objects that show what the store has.

use futures::TryStreamExt as _;
use lifeboat_model::{BackupId, Reason};
use lifeboat_store::{Key, Prefix};
use serde_json::json;

use super::stage::{NAMESPACE, Stage, condition, eventually};

/// Names and phases of all objects of backups.
fn phases(stage: &Stage) -> Vec<(String, String)> {
    let all = stage.all("backups");
    let phase = |object: &serde_json::Value| object["status"]["phase"].as_str().unwrap_or_default().to_owned();
    all.iter().map(|(name, object)| (name.clone(), phase(object))).collect()
}

async fn until_phases(stage: &Stage, wanted: &[(&str, &str)]) {
    let mut wanted: Vec<(String, String)> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    wanted.sort();
    let mut last = Vec::new();
    let found = eventually(|| {
        last = phases(stage);
        (last == wanted).then_some(())
    });
    assert!(found.await.is_some(), "wanted {wanted:?}, found {last:?}");
}

/// Removes what of a backup has a name that ends so.
async fn remove(stage: &Stage, id: &BackupId, ending: &str) {
    let store = &stage.context.store;
    let folder: Prefix = format!("prod/backups/{id}").parse().unwrap();
    let keys: Vec<Key> = store.list(&folder).map_ok(|listed| listed.key).try_collect().await.unwrap();
    for key in keys.iter().filter(|key| key.to_string().ends_with(ending)) {
        store.delete(key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_shows_all_that_the_store_has() {
    let stage = Stage::start().await;
    let nightly = stage.take(&stage.new_id(), Reason::Schedule("nightly".to_owned())).await;
    let damaged = stage.take(&stage.new_id(), Reason::Manual).await;
    let third = stage.take(&stage.new_id(), Reason::Manual).await;
    remove(&stage, &damaged.id, "manifest.json.minisig").await;
    let name = |id: &BackupId| id.as_str().to_lowercase();
    let (first, second, last) = (name(&nightly.id), name(&damaged.id), name(&third.id));

    // The cluster has never had an object of any of them.
    let mut daemon = stage.daemon().await;
    until_phases(&stage, &[(&first, "Complete"), (&second, "Untrusted"), (&last, "Complete")]).await;
    let shown = stage.get("backup", &first).unwrap();
    assert_eq!(shown["status"]["schedule"], "nightly");
    assert_eq!(shown["status"]["sequence"], 1);
    assert_eq!(shown["status"]["verified"], false);
    assert_eq!(shown["spec"]["id"], nightly.id.as_str());
    let table = stage.cluster.kubectl(&["get", "backups", "-n", NAMESPACE]);
    assert!(table.lines().count() == 4 && table.contains(nightly.id.as_str()), "{table}");

    // An object that is deleted comes back, and one that shows nothing goes.
    stage.cluster.kubectl(&["delete", "backup", &first, "-n", NAMESPACE]);
    stage.create("Backup", "20200101t000000z-aaaaaa", &json!({"id": "20200101T000000Z-aaaaaa"}));
    // One that was asked for stands for its backup itself.
    stage.create("Backup", "asked", &json!({}));
    let (asked, reply) = stage.serve(daemon.backup().await).await;
    reply.send(Ok(asked.clone())).unwrap();
    stage.until_phase("backup", "asked", "Complete").await;
    stage.tell_changed();
    let all = [(first.as_str(), "Complete"), (&second, "Untrusted"), (&last, "Complete"), ("asked", "Complete")];
    until_phases(&stage, &all).await;

    // What somebody wrote over comes right again.
    let lie = r#"{"status":{"phase":"Failed","verified":true}}"#;
    stage.cluster.kubectl(&[
        "patch",
        "backup",
        &last,
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        lie,
    ]);
    stage.tell_changed();
    until_phases(&stage, &all).await;

    // A backup that is gone takes its object along, but for the object of whoever asked for it.
    for id in [&third.id, &asked.id] {
        remove(&stage, id, "").await;
    }
    stage.tell_changed();
    until_phases(&stage, &[(&first, "Complete"), (&second, "Untrusted"), ("asked", "Removed")]).await;
    let untrusted = stage.get("backup", &second).unwrap();
    assert_eq!(condition(&untrusted, "Failed")["reason"], "Untrusted");

    // The object of whoever asked is the only one of its backup; when it goes, the view has one.
    let again = stage.take(&stage.new_id(), Reason::Manual).await;
    stage.tell_changed();
    let again = name(&again.id);
    until_phases(&stage, &[(&first, "Complete"), (&second, "Untrusted"), ("asked", "Removed"), (&again, "Complete")])
        .await;
    daemon.kill().await;
}
