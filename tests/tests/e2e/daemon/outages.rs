//! The bucket, the API server and a member of etcd go away while backups are taken.

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{BackupId, BackupState, EtcdRecord, ResourcesRecord};
use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;
use serde_json::json;

use super::cut::Cut;
use super::{assert_no_silent_gap, assert_one_chain};
use crate::support::{Daemon, Site, ballast, chain, configure, turn};

const SCHEDULES: [&str; 4] = ["north", "east", "south", "west"];
/// What passes before the bucket is cut off: less than the snapshot of etcd has, which does not compress.
const PASSES: u64 = 2_000_000;

/// An outage of the store is ridden out, backups of etcd go on without the API server, and without a member of etcd all of
/// them do; and no due time is passed over silently.
#[tokio::test(flavor = "multi_thread")]
async fn outages_are_ridden_out() {
    let _turn = turn().await;
    let mut cluster = Cluster::start_with(|builder| builder.etcd_members(3)).await;
    ballast(&cluster, 4);
    let server = S3Server::versitygw().await;
    let bucket = Cut::before(server.port(), PASSES).await;
    let mut site = Site::s3(&cluster, server);
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", format!("http://127.0.0.1:{}", bucket.port()));
    // The jitter spreads them over the minute, so that there is always one soon.
    let schedules = SCHEDULES.map(|name| json!({"name": name, "spec": {"schedule": "* * * * *", "jitter": "59s"}}));
    let election = json!({"namespace": "default", "name": "outages", "leaseSeconds": 6});
    configure(&site, &json!({"schedules": schedules, "daemon": {"leaderElection": election}}));

    let mut daemon = Daemon::start(&site, "only", 0);
    let line = daemon.says("a backup failed, and is tried again", 0).await;
    // What was half uploaded is no backup.
    assert!(bucket.is_broken() && chain(&site).await.is_empty(), "{:?}", daemon.lines());
    bucket.join();
    let line = daemon.says("a backup is complete", line).await;

    cluster.stop_api_server().await;
    let stopped = Timestamp::now();
    let mut line = daemon.says("the API server does not answer: backups go on without it for a while", line).await;
    loop {
        line = daemon.says("a backup is partial", line).await;
        let id = daemon.lines()[line - 1]["fields"]["backup"].as_str().unwrap().parse::<BackupId>().unwrap();
        if id.started().unwrap() >= stopped + SignedDuration::from_mins(1) {
            break;
        }
    }
    cluster.start_api_server().await.unwrap();
    let line = daemon.says("this daemon takes the backups", line).await;
    let line = daemon.says("a backup is complete", line).await;

    cluster.kill_member(0).await.unwrap();
    let line = daemon.says("a backup is complete", line).await;
    daemon.says("a backup is complete", line).await;
    // What becomes of a minute may be told a little after it.
    let end = Timestamp::now() - SignedDuration::from_secs(10);
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());
    let logs = daemon.lines();

    let chain = chain(&site).await;
    assert_one_chain(&chain);
    for name in SCHEDULES {
        assert_no_silent_gap(name, &chain, &logs, end);
    }
    let (mut complete, mut partial) = (Vec::new(), Vec::new());
    for manifest in &chain {
        let etcd = matches!(manifest.etcd, EtcdRecord::Captured { .. });
        match manifest.state {
            BackupState::Complete => {
                assert!(etcd && matches!(manifest.resources, ResourcesRecord::Captured { .. }), "{manifest:?}");
                complete.push(manifest);
            }
            BackupState::Partial => partial.push(manifest),
        }
    }
    // While the API server was away, that was all that was missing.
    let away = partial.iter().filter(|manifest| manifest.started > stopped);
    let without = away.filter(|manifest| {
        let etcd = matches!(manifest.etcd, EtcdRecord::Captured { .. });
        etcd && matches!(manifest.resources, ResourcesRecord::Absent { .. })
    });
    assert!(without.count() > 0, "{partial:?}");
    for manifest in [complete.first(), complete.last(), partial.last()] {
        site.verify(manifest.unwrap().id.as_str());
    }
}
