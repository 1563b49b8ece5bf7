//! Members and streams of running clusters.

use std::error::Error as _;
use std::fs;
use std::time::Duration;

use lifeboat_controlplane::{EtcdAccess, Pki, Process, ProcessSpec, free_ports};
use lifeboat_etcd::{AlarmKind, Cluster, EndpointStatus, EtcdError, EtcdOptions, SnapshotInfo, choose};
use lifeboat_tests::cluster;
use lifeboat_tests::cluster::testbed_bin;
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};

use crate::kv::{Put, Writer};
use crate::reference::Reference;
use crate::{etcdctl_flags, options, run, status};

const DEADLINE: Duration = Duration::from_mins(1);

/// Asks for the members again and again until they are as wished.
async fn members_until(cluster: &Cluster, wished: impl Fn(&[EndpointStatus]) -> bool) -> Vec<EndpointStatus> {
    let end = Instant::now() + DEADLINE;
    let mut tick = interval(Duration::from_millis(50));
    loop {
        let members = cluster.members().await;
        if wished(&members) {
            return members;
        }
        assert!(Instant::now() < end, "{members:#?}");
        tick.tick().await;
    }
}

fn all_caught_up(members: &[EndpointStatus]) -> bool {
    let applied = |member: &EndpointStatus| Some(member.status.as_ref().ok()?.raft_applied_index);
    let first = members.first().and_then(applied);
    first.is_some() && members.iter().all(|member| applied(member) == first)
}

async fn fill(writer: &Writer, megabytes: u32) {
    for number in 0..megabytes {
        let value: Vec<u8> = format!("value {number}, ").bytes().cycle().take(1 << 19).collect();
        let put = |half: &str| Put { key: format!("/{number}/{half}").into_bytes(), value: value.clone(), lease: 0 };
        writer.put(vec![put("a"), put("b")]).await;
    }
}

/// Reads a stream to its end.
async fn whole(cluster: &Cluster, endpoint: &str) -> Result<(Vec<u8>, SnapshotInfo), EtcdError> {
    let mut stream = cluster.snapshot(endpoint).await?;
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok((bytes, stream.finish()?))
}

/// The error and all its causes.
fn chain(error: &EtcdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Adds a learner to a cluster and its endpoint to the access.
fn start_learner(etcd: &cluster::Cluster, access: &mut EtcdAccess) -> Process {
    let [client, peer] = free_ports().unwrap().map(|port| format!("https://127.0.0.1:{port}"));
    let mut args = etcdctl_flags(access, &access.endpoints[0]);
    args.extend(["member", "add", "learner", "--learner", "--peer-urls"].map(str::to_owned));
    args.push(peer.clone());
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let added = run("etcdctl", &args);
    let initial = added.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER=")).unwrap().trim_matches('"');

    let ca = etcd.pki().ca();
    let (cert, key) = (ca.with_file_name("etcd-server.crt"), ca.with_file_name("etcd-server.key"));
    let mut spec = ProcessSpec::new("learner", testbed_bin().join("etcd"), etcd.temp().join("learner.log"))
        .arg("--name=learner")
        .flag("data-dir", etcd.temp().join("learner"))
        .flag("initial-cluster", initial)
        .arg("--initial-cluster-state=existing")
        .args(["--client-cert-auth", "--peer-client-cert-auth", "--unsafe-no-fsync"]);
    for (flag, value) in [
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
    ] {
        spec = spec.flag(flag, value);
    }
    for prefix in ["", "peer-"] {
        spec = spec
            .flag(&format!("{prefix}trusted-ca-file"), &ca)
            .flag(&format!("{prefix}cert-file"), &cert)
            .flag(&format!("{prefix}key-file"), &key);
    }
    access.endpoints.push(client);
    Process::spawn(&spec).unwrap()
}

/// A follower is taken; when it dies in the middle, another member is.
#[tokio::test]
async fn a_member_that_dies_gives_way_to_another() {
    // The check wants members to have been connected for 5 s before another is added.
    let unchecked = "--strict-reconfig-check=false";
    let mut etcd =
        cluster::Cluster::start_with(|builder| builder.etcd_only().etcd_members(3).etcd_arg(unchecked)).await;
    let mut access = etcd.etcd();
    fill(&Writer::new(&access, 0), 48).await;
    let _learner = start_learner(&etcd, &mut access);
    let cluster = Cluster::connect(&options(&access)).unwrap();
    let members = members_until(&cluster, all_caught_up).await;

    let ranked = choose(&members).unwrap();
    let status = |member: &EndpointStatus| member.status.as_ref().unwrap().clone();
    let leads: Vec<_> = ranked.iter().map(|member| status(member).is_leader()).collect();
    assert_eq!(leads, [false, false, true], "two followers, the leader, and not the learner");
    assert!(status(&members[3]).is_learner);
    assert!(ranked.iter().all(|member| member.endpoint != access.endpoints[3]));
    let best = status(ranked[0]);
    assert!(best.version.starts_with("3.6.") && best.revision > 48 && best.db_size > 48 << 20, "{best:?}");
    assert!(best.db_size >= best.db_size_in_use && best.db_size_in_use > 0, "{best:?}");
    assert!(best.alarms.is_empty() && best.errors.is_empty(), "{best:?}");

    let chosen = ranked[0].endpoint.clone();
    let mut stream = cluster.snapshot(&chosen).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let total = stream.total();
    let index = access.endpoints.iter().position(|endpoint| *endpoint == chosen).unwrap();
    etcd.kill_member(index).await.unwrap();
    let error = loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, EtcdError::StreamBroken { received, .. } if *received < total), "{error:?}");
    assert!(stream.finish().is_err(), "a broken stream is never a snapshot");

    let has_leader = |member: &EndpointStatus| member.status.as_ref().is_ok_and(|status| status.leader.is_some());
    let members = members_until(&cluster, |members| members.iter().filter(|member| has_leader(member)).count() == 3);
    let members = members.await;
    let dead = members.iter().find(|member| member.endpoint == chosen).unwrap();
    assert!(matches!(dead.status, Err(EtcdError::Call { .. } | EtcdError::Closed { .. })), "{dead:?}");
    let ranked = choose(&members).unwrap();
    assert_eq!(ranked.len(), 2);
    let (bytes, info) = whole(&cluster, &ranked[0].endpoint).await.unwrap();
    assert_eq!(bytes.len() as u64, info.bytes);
}

#[tokio::test]
async fn a_member_without_a_leader_is_refused() {
    let mut etcd = cluster::Cluster::start_etcd(3).await;
    let access = etcd.etcd();
    let cluster = Cluster::connect(&options(&access)).unwrap();
    members_until(&cluster, all_caught_up).await;
    etcd.kill_member(0).await.unwrap();
    etcd.kill_member(1).await.unwrap();
    let is_lost = |members: &[EndpointStatus]| matches!(&members[2].status, Ok(status) if status.leader.is_none());
    let members = members_until(&cluster, is_lost).await;

    let Err(EtcdError::NoUsableMember(unfit)) = choose(&members) else { panic!("{members:?}") };
    let reasons: Vec<_> = unfit.iter().map(|unfit| unfit.reason.as_str()).collect();
    assert!(reasons[0].starts_with("does not answer (") && reasons[1].starts_with("does not answer ("), "{reasons:?}");
    assert_eq!(reasons[2], "has no leader");
    let error = cluster.snapshot(&access.endpoints[2]).await.unwrap_err();
    assert!(matches!(error, EtcdError::NoLeader { .. }), "{error:?}");
}

/// A follower that lags behind waits until it does not.
#[tokio::test]
async fn a_snapshot_has_everything_that_was_written_before_it() {
    let etcd = cluster::Cluster::start_etcd(3).await;
    let access = etcd.etcd();
    let cluster = Cluster::connect(&options(&access)).unwrap();
    let members = members_until(&cluster, all_caught_up).await;
    let leads = |member: &EndpointStatus| member.status.as_ref().unwrap().is_leader();
    let leader = members.iter().position(leads).unwrap();
    let follower = (leader + 1) % 3;
    let pid = etcd.etcd_pids()[follower].unwrap().to_string();
    let writer = Writer::new(&access, leader);
    for round in 0..5_u8 {
        run("/bin/kill", &["-STOP", &pid]);
        let mut written = 0;
        for number in 0..40_u8 {
            written = writer.put(vec![Put { key: vec![b'/', round, number], value: vec![0; 1000], lease: 0 }]).await;
        }
        let (streamed, _) =
            tokio::join!(whole(&cluster, &access.endpoints[follower]), async { run("/bin/kill", &["-CONT", &pid]) });
        // One that slept so long that it lost its leader says so, and is no less late for that.
        match streamed {
            Ok((bytes, _)) => assert!(Reference::read(&bytes).revision() >= written),
            Err(error) => assert!(matches!(error, EtcdError::NoLeader { .. }), "{error:?}"),
        }
        members_until(&cluster, all_caught_up).await;
    }
}

#[tokio::test]
async fn alarms_are_seen() {
    let etcd = cluster::Cluster::start_etcd(3).await;
    let access = etcd.etcd();
    let cluster = Cluster::connect(&options(&access)).unwrap();
    let members = members_until(&cluster, all_caught_up).await;
    let ids: Vec<_> = members.iter().map(|member| member.status.as_ref().unwrap().member_id).collect();
    let writer = Writer::new(&access, 0);
    writer.raise_alarm(ids[1], 1).await;
    writer.raise_alarm(ids[2], 2).await;

    let both_seen = |member: &EndpointStatus| member.status.as_ref().is_ok_and(|status| status.alarms.len() == 2);
    let members = members_until(&cluster, |members| members.iter().all(both_seen)).await;
    let alarms = &members[0].status.as_ref().unwrap().alarms;
    for (id, kind) in [(ids[1], AlarmKind::NoSpace), (ids[2], AlarmKind::Corrupt)] {
        assert!(alarms.iter().any(|alarm| alarm.member_id == id && alarm.kind == kind), "{alarms:?}");
    }
    let ranked: Vec<_> = choose(&members).unwrap().into_iter().map(|member| member.endpoint.as_str()).collect();
    assert_eq!(ranked.len(), 2);
    assert!(!ranked.contains(&access.endpoints[2].as_str()), "the corrupt one");
}

/// Each snapshot moves a few pages of the database, so files taken one after the other differ; their contents do not.
#[tokio::test]
async fn the_stream_is_what_etcdctl_saves() {
    let etcd = cluster::Cluster::start_etcd(1).await;
    let access = etcd.etcd();
    fill(&Writer::new(&access, 0), 3).await;
    let (ours, theirs) = (etcd.temp().join("ours.db"), etcd.temp().join("theirs.db"));
    let mut args = etcdctl_flags(&access, &access.endpoints[0]);
    args.extend(["snapshot".to_owned(), "save".to_owned(), theirs.display().to_string()]);
    run("etcdctl", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let cluster = Cluster::connect(&options(&access)).unwrap();
    let (bytes, _) = whole(&cluster, &access.endpoints[0]).await.unwrap();
    fs::write(&ours, &bytes).unwrap();

    assert_eq!(status(&ours), status(&theirs), "a hash of all entries, among others");
    let theirs = fs::read(theirs).unwrap();
    assert_eq!((bytes.len(), bytes.len() % 512), (theirs.len(), 32));
    assert!(Reference::read(&bytes).buckets == Reference::read(&theirs).buckets);
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_named() {
    let etcd = cluster::Cluster::start_etcd(1).await;
    let access = etcd.etcd();
    let good = options(&access);
    let other = Pki::open_or_create(etcd.temp().join("other")).unwrap();
    let failure = async |options: &EtcdOptions| {
        let mut members = Cluster::connect(options).unwrap().members().await;
        chain(&members.remove(0).status.unwrap_err())
    };

    let mut wrong_authority = good.clone();
    wrong_authority.tls.as_mut().unwrap().ca = fs::read(other.ca()).unwrap();
    let text = failure(&wrong_authority).await;
    assert!(text.contains("invalid peer certificate"), "{text}");

    let mut no_certificate = good.clone();
    no_certificate.tls.as_mut().unwrap().client = None;
    let text = failure(&no_certificate).await;
    assert!(text.contains("CertificateRequired") || text.contains("client certificate"), "{text}");

    let mut wrong_certificate = good.clone();
    let (cert, key) = other.etcd_client();
    let client = wrong_certificate.tls.as_mut().unwrap().client.as_mut().unwrap();
    (client.cert, client.key) = (fs::read(cert).unwrap(), fs::read(key).unwrap());
    let text = failure(&wrong_certificate).await;
    assert!(text.contains("alert") || text.contains("client certificate"), "{text}");

    let mut wrong_name = good.clone();
    wrong_name.tls.as_mut().unwrap().server_name = Some("etcd.example.com".to_owned());
    let text = failure(&wrong_name).await;
    assert!(text.contains("not valid for name"), "{text}");

    let mut plain = good.clone();
    plain.endpoints = vec![access.endpoints[0].replace("https://", "http://")];
    failure(&plain).await;

    assert!(Cluster::connect(&good).unwrap().members().await.remove(0).status.is_ok());
}

#[tokio::test]
async fn unusable_options_are_refused() {
    let etcd = cluster::Cluster::start_etcd(1).await;
    let good = options(&etcd.etcd());
    for endpoint in ["", "127.0.0.1:2379", "ftp://127.0.0.1", "https://", "https://[::1", "unix:///tmp/etcd"] {
        let options = EtcdOptions { endpoints: vec![endpoint.to_owned()], ..good.clone() };
        let error = Cluster::connect(&options).unwrap_err();
        assert!(matches!(error, EtcdError::Endpoint { .. }), "{endpoint}: {error:?}");
    }
    let no_tls = EtcdOptions { tls: None, ..good.clone() };
    assert!(matches!(Cluster::connect(&no_tls).unwrap_err(), EtcdError::Endpoint { .. }));
    let none = EtcdOptions { endpoints: Vec::new(), ..good.clone() };
    assert!(matches!(Cluster::connect(&none).unwrap_err(), EtcdError::NoEndpoints));
    let mut garbage = good.clone();
    garbage.tls.as_mut().unwrap().client.as_mut().unwrap().key = b"no key".to_vec();
    let error = Cluster::connect(&garbage).unwrap_err();
    assert!(matches!(error, EtcdError::Tls { .. }), "{error:?}");
    assert!(!format!("{garbage:?}{error:?}").contains("no key"), "the key is not shown");
    let mut no_authority = good;
    no_authority.tls.as_mut().unwrap().ca = b"no certificate".to_vec();
    assert!(matches!(Cluster::connect(&no_authority).unwrap_err(), EtcdError::Endpoint { .. }));
}

/// A member that accepts connections and says nothing costs its time-out and no more.
#[tokio::test]
async fn a_silent_member_does_not_hold_up_the_others() {
    let etcd = cluster::Cluster::start_etcd(1).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(&etcd.etcd());
    options.endpoints.push(format!("https://{}", silent.local_addr().unwrap()));
    options.request_timeout = Duration::from_millis(500);
    let begin = Instant::now();
    let members = Cluster::connect(&options).unwrap().members().await;
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(matches!(members[1].status, Err(EtcdError::Timeout { .. })), "{members:?}");
    assert_eq!(choose(&members).unwrap().len(), 1);
}
