//! The leader is killed at random moments, again and again.

use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::Reason;
use lifeboat_recovery::Progress;
use lifeboat_recovery::backup::{self, Source};
use lifeboat_store::{Credentials, S3Options, S3Store};
use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;
use serde_json::{Value, json};

use super::{assert_no_silent_gap, assert_one_chain};
use crate::support::{Daemon, Keys, PATIENCE, Place, Site, chain, configure, context, request, small, turn};

const KILLS: usize = 30;
/// Schedules of every minute, whose runs the jitter spreads over the minute, so that there is always something under way.
const SCHEDULES: usize = 20;

/// Promise 1, and that a run is never missed silently: two daemons, of which the leader dies by SIGKILL thirty times.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_is_killed_thirty_times() {
    let _turn = turn().await;
    let cluster = small().await;
    let site = Site::s3(cluster, S3Server::versitygw().await);
    let names: Vec<String> = (0..SCHEDULES).map(|number| format!("often-{number:02}")).collect();
    let schedule = |name: &String| json!({"name": name, "spec": {"schedule": "* * * * *", "jitter": "59s"}});
    let election = json!({"namespace": "default", "name": "kills", "leaseSeconds": 5});
    let schedules: Vec<Value> = names.iter().map(schedule).collect();
    configure(&site, &json!({"schedules": schedules, "daemon": {"leaderElection": election}}));

    known(&site, cluster, &names).await;

    let mut rng = Rng::with_seed(7);
    let mut started = 0;
    let mut start = |name: &str| {
        started += 1;
        Daemon::start(&site, name, started)
    };
    let mut daemons = [start("left"), start("right")];
    let mut logs = Vec::new();
    for kill in 0..KILLS {
        let leader = leader(&mut daemons).await;
        // In the middle of a backup, of its commit, or between two.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..1500))).await;
        daemons[leader].kill();
        logs.extend(daemons[leader].lines());
        let name = ["left", "right"][leader];
        // Sometimes it comes back at once and finds its own lease; mostly the other one has to take over.
        daemons[leader] = if kill % 3 == 0 { start(name) } else { start(&format!("{name}-{kill}")) };
    }
    let last = leader(&mut daemons).await;
    let lines = daemons[last].lines().len();
    let lines = daemons[last].says("a backup is complete", lines).await;
    daemons[last].says("a backup is complete", lines).await;
    // What becomes of a minute may be told a little after it.
    let end = Timestamp::now() - SignedDuration::from_secs(10);
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());
        logs.extend(daemon.lines());
    }

    let chain = chain(&site).await;
    assert!(chain.len() > SCHEDULES + 1, "{chain:?}");
    assert_one_chain(&chain);
    for name in &names {
        assert_no_silent_gap(name, &chain, &logs, end);
    }
    // Each takes a while; the newest is among them.
    for manifest in chain.iter().rev().filter(|manifest| manifest.fence.is_some()).step_by(3) {
        site.verify(manifest.id.as_str());
    }
}

/// Waits until one of them takes a backup.
async fn leader(daemons: &mut [Daemon; 2]) -> usize {
    let begun = std::time::Instant::now();
    loop {
        for (number, daemon) in daemons.iter_mut().enumerate() {
            assert!(daemon.is_running(), "{:?}", daemon.lines());
            if daemon.lines().iter().any(|line| line["fields"]["message"] == "a backup begins") {
                return number;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "nobody leads: {:?} {:?}", daemons[0].lines(), daemons[1].lines());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A backup of each schedule. Without one it would begin anew with each daemon, and have to wait for its next minute.
async fn known(site: &Site, cluster: &Cluster, schedules: &[String]) {
    let Place::S3(server) = &site.place else { unreachable!() };
    let credentials =
        Credentials::Static { access_key: server.access_key.clone(), secret_key: server.secret_key.clone() };
    let bucket = S3Options::new(&server.bucket, Some(server.endpoint.clone()));
    let options = S3Options { credentials, prefix: "tests".to_owned(), ..bucket };
    let context = context(S3Store::connect(options).await.unwrap(), &Keys::of(site));
    for (number, name) in schedules.iter().enumerate() {
        let mut wanted =
            backup::Request { reason: Reason::Schedule(name.clone()), ..request(cluster, &Keys::of(site)) };
        // The first one learns the cluster's id.
        if number > 0 {
            wanted.kubernetes = Source::Skip("not wanted".to_owned());
        }
        backup::create(&context, wanted, Progress::default()).await.unwrap();
    }
}
