//! Tier 1: a data directory is rebuilt as a restore does it, etcd boots from it, and is asked what it holds.

use std::path::PathBuf;
use std::time::Duration;

use lifeboat_controlplane::{ControlPlane, EtcdAccess};
use lifeboat_etcd::{ClientCertificate, Cluster, Content, EtcdOptions, KeySpace, Rebuild, Tls, read_keys, rebuild};
use lifeboat_model::FindingCode;

use super::Request;
use super::account::Account;
use super::open::Snapshot;
use super::programs::Programs;
use super::scratch::Scratch;
use crate::blocking::run_blocking;
use crate::error::{Error, Result};
use crate::restore_etcd::{DEFAULT_BUMP, compare_rebuilt};

/// The least quota, and the most: what etcd's documentation calls the suggested maximum. A drill is not about the
/// quota, and a database that fits the cluster's own must fit here.
const QUOTA: std::ops::RangeInclusive<u64> = 2 << 30..=8 << 30;

/// How long etcd and the API server may each take to be ready: large ones read all of their data first.
const DEADLINE: Duration = Duration::from_mins(3);

/// A rebuilt data directory, and what must be in it.
pub(super) struct Rebuilt {
    pub(super) data: PathBuf,
    pub(super) keys: KeySpace,
}

/// The member whose data directory is built.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) peer_url: String,
}

impl Member {
    /// The only one of an etcd of the drill's own.
    pub(super) fn own() -> Self {
        Self { name: "drill".to_owned(), peer_url: "http://127.0.0.1:2380".to_owned() }
    }
}

/// An etcd that runs on the restored data.
pub(super) struct Booted {
    pub(super) plane: ControlPlane,
    /// The revision at which nobody had written to it yet.
    pub(super) revision: u64,
    /// Keys that the snapshot has deleted, each with the revision of that.
    pub(super) deleted: Vec<(Vec<u8>, i64)>,
}

/// Builds the data directory. The snapshot file is removed: from then on the plain data are there once.
pub(super) async fn rebuild_data(
    account: &mut Account,
    snapshot: &Snapshot,
    member: Member,
    programs: &Programs,
    scratch: &Scratch,
) -> Result<Option<Rebuilt>> {
    let data = scratch.path("etcd");
    let Member { name, peer_url } = member;
    let plan = Rebuild {
        etcdutl: programs.etcdutl.clone(),
        snapshot: snapshot.file.clone(),
        minor: snapshot.facts.minor(),
        data_dir: data.clone(),
        initial_cluster: format!("{name}={peer_url}"),
        name,
        initial_cluster_token: "lifeboat-drill".to_owned(),
        initial_advertise_peer_urls: vec![peer_url],
        bump_revision: DEFAULT_BUMP,
    };
    let (file, since) = (snapshot.file.clone(), snapshot.oldest_list);
    let keys = run_blocking("reading the keys", move || Ok(read_keys(&file, since, DEFAULT_BUMP)?));
    let built = async {
        rebuild(&plan).await?;
        let (rebuilt, captured) = (data.clone(), snapshot.facts.clone());
        run_blocking("checking the data directory", move || compare_rebuilt(&rebuilt, &captured)).await
    };
    let (built, keys) = tokio::join!(built, keys);
    std::fs::remove_file(&snapshot.file).map_err(Error::io("remove", &snapshot.file))?;
    let both = built.and(keys);
    let describe = |keys: &KeySpace| format!("{} keys, revisions raised by {DEFAULT_BUMP}", keys.keys);
    let keys = account.notes.try_check("rebuild", FindingCode::EtcdNotRebuilt, both, describe)?;
    Ok(keys.map(|keys| Rebuilt { data, keys }))
}

/// Boots etcd and holds it to the snapshot.
pub(super) async fn boot(
    account: &mut Account,
    snapshot: &Snapshot,
    rebuilt: Rebuilt,
    request: &Request,
    programs: &Programs,
    scratch: &Scratch,
) -> Result<Option<Booted>> {
    account.versions.etcd = programs.etcd.map(|version| version.to_string());
    let mut builder = ControlPlane::builder(programs.binaries(), scratch.path("controlplane"))
        .etcd_data_dir(rebuilt.data)
        .etcd_quota((snapshot.facts.bytes * 2).clamp(*QUOTA.start(), *QUOTA.end()))
        .deadline(DEADLINE)
        .etcd_only()
        .isolated();
    for argument in &request.api_server_args {
        builder = builder.api_server_arg(argument);
    }
    if let Some(config) = &request.encryption_config {
        builder = builder.encryption_config(config);
    }
    let started = builder.start().await.map_err(Error::from);
    let plane = account.notes.try_check("etcd", FindingCode::EtcdNotBooted, started, |_| "it boots".to_owned())?;
    let Some(plane) = plane else {
        account.end_phase("boot");
        return Ok(None);
    };
    let asked = ask(account, &plane.etcd()).await;
    let describe = |content: &Content| format!("{} keys, revision {}", content.keys, content.revision);
    let Some(content) = account.notes.try_check("content", FindingCode::EtcdNotBooted, asked, describe)? else {
        account.end_phase("boot");
        return Ok(None);
    };
    compare(account, &rebuilt.keys, content);
    let revision = u64::try_from(content.revision).unwrap_or_default();
    Ok(Some(Booted { plane, revision, deleted: rebuilt.keys.deleted }))
}

/// Asks the running etcd about itself.
async fn ask(account: &mut Account, access: &EtcdAccess) -> Result<Content> {
    let cluster = Cluster::connect(&options(access)?)?;
    let endpoint = access.endpoints.first().cloned().unwrap_or_default();
    let mut members = cluster.members().await;
    let status = members.pop().ok_or(Error::Lost("asking etcd"))?.status?;
    let alarms: Vec<String> = status.alarms.iter().map(|alarm| alarm.kind.to_string()).collect();
    let alarms = if alarms.is_empty() { Ok("none".to_owned()) } else { Err(format!("raised: {}", alarms.join(", "))) };
    account.notes.check("alarms", FindingCode::EtcdAlarm, alarms);
    let listed = cluster.listed_members(&endpoint).await?;
    let outcome = match listed.as_slice() {
        [only] if only.id == status.member_id && !only.is_learner => Ok("one, which leads".to_owned()),
        others => Err(format!("{} members, where the restored one should be alone", others.len())),
    };
    account.notes.check("members", FindingCode::EtcdMembers, outcome);
    Ok(cluster.content(&endpoint).await?)
}

/// Whether the running etcd has what the snapshot has.
fn compare(account: &mut Account, expected: &KeySpace, found: Content) {
    let revision = format!("revision {}, compacted at {}", found.revision, found.compact_revision);
    let raised = found.revision >= expected.revision && found.compact_revision >= expected.revision;
    let outcome = if raised { Ok(revision) } else { Err(format!("{revision}, not at {}", expected.revision)) };
    if !account.notes.check("revision", FindingCode::RevisionNotRaised, outcome) {
        // Keys and hash are those of another revision then.
        return;
    }
    let keys = format!("{} keys", found.keys);
    let same = found.keys == expected.keys && found.revision == expected.revision;
    let outcome = if same { Ok(keys) } else { Err(format!("{keys}, the snapshot has {}", expected.keys)) };
    account.notes.check("keys", FindingCode::EtcdContent, outcome);
    let hash = format!("HashKV {:08x}", found.hash);
    let same = found.hash == expected.hash;
    let outcome = if same { Ok(hash) } else { Err(format!("{hash}, the snapshot has {:08x}", expected.hash)) };
    account.notes.check("hash", FindingCode::EtcdContent, outcome);
}

fn options(access: &EtcdAccess) -> Result<EtcdOptions> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io("read", path));
    let client = ClientCertificate { cert: read(&access.cert_file)?, key: read(&access.key_file)? };
    let tls = Tls { ca: read(&access.ca_file)?, client: Some(client), server_name: None };
    Ok(EtcdOptions::new(access.endpoints.clone(), Some(tls)))
}
