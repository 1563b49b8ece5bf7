//! The bucket, the API server and a member of etcd go away while backups are taken.

use lifeboat_model::{BackupState, EtcdRecord, Reason, ResourcesRecord};
use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;
use serde_json::json;

use super::{Cut, Daemon, chain, configure};
use crate::support::{Site, ballast, turn};

/// Store outages are ridden out, backups of etcd go on without the API server, and a partial backup is kept and told
/// (promise 4). Retention goes on all the while, and the last good one stays (promise 7).
#[tokio::test(flavor = "multi_thread")]
async fn outages_are_ridden_out() {
    let _turn = turn().await;
    let mut cluster = Cluster::start_with(|builder| builder.etcd_members(3)).await;
    ballast(&cluster, 20);
    let server = S3Server::versitygw().await;
    let bucket = Cut::before(server.port()).await;
    let mut site = Site::s3(&cluster, server);
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", format!("http://127.0.0.1:{}", bucket.port()));
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let url = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap().trim_matches('"');
    let api = Cut::before(url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()).await;
    let through = kubeconfig.replace(url, &format!("https://127.0.0.1:{}", api.port()));
    std::fs::write(site.path("kubeconfig"), through).unwrap();
    site.set("KUBECONFIG", site.path("kubeconfig").to_str().unwrap().to_owned());
    // The jitter spreads them over the minute, so that there is always one soon.
    let spec = json!({"schedule": "* * * * *", "jitter": "59s", "retention": {"keepLast": 2}});
    let schedules = ["north", "east", "south", "west"].map(|name| json!({"name": name, "spec": spec}));
    let election = json!({"namespace": "default", "name": "outages", "leaseSeconds": 6});
    configure(
        &site,
        &json!({
            "schedules": schedules,
            "daemon": {"leaderElection": election},
        }),
    );

    let mut daemon = Daemon::start(&site, "only", 0);
    let line = daemon.says("this daemon takes the backups", 0).await;
    // A schedule without any backup takes its first one at once: the bucket goes away in the middle of it.
    let line = daemon.says("taking the etcd snapshot", line).await;
    bucket.cut();
    let line = daemon.says("a backup failed, and is tried again", line).await;
    bucket.join();
    let line = daemon.says("a backup is complete", line).await;

    api.cut();
    let line = daemon.says("the API server does not answer: backups go on without it for a while", line).await;
    let line = daemon.says("a backup is partial", line).await;
    api.join();
    let line = daemon.says("this daemon takes the backups", line).await;
    let line = daemon.says("a backup is complete", line).await;

    cluster.kill_member(0).await.unwrap();
    let line = daemon.says("a backup is complete", line).await;
    let line = daemon.says("a backup is complete", line).await;
    daemon.says("old backups removed", line).await;
    let begun = daemon.lines().len();
    daemon.says("a backup begins", begun).await;
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());

    let chain = chain(&site).await;
    assert!(chain.windows(2).all(|pair| pair[0].fence <= pair[1].fence && pair[0].sequence < pair[1].sequence));
    for name in ["north", "east", "south", "west"] {
        let ours = |state: BackupState| {
            chain.iter().filter(|manifest| manifest.reason == Reason::Schedule(name.to_owned()) && manifest.state == state)
        };
        assert!((1..=2).contains(&ours(BackupState::Complete).count()), "{name}: {chain:#?}");
        assert!(ours(BackupState::Partial).count() <= 2, "{name}: {chain:#?}");
    }
    let partial = chain.iter().find(|manifest| manifest.state == BackupState::Partial).unwrap();
    assert!(matches!(partial.etcd, EtcdRecord::Captured { .. }), "{partial:?}");
    assert!(matches!(partial.resources, ResourcesRecord::Absent { .. }), "{partial:?}");
    for manifest in &chain {
        site.verify(manifest.id.as_str());
    }
    // Whoever comes next need not wait for the lease to expire.
    let lease = cluster.kubectl(&["get", "lease", "-n", "default", "outages", "-o", "json"]);
    let lease: serde_json::Value = serde_json::from_str(&lease).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "{lease}");
}
