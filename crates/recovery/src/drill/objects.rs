//! Tier 2: kube-apiserver boots on the restored etcd, lists everything, and each object is compared with the index.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Cluster, ConnectOptions, Discovery, ListOptions, Retry};
use lifeboat_model::{CANONICAL_VERSION, FindingCode, GroupResource, ResourceCoverage, ResourceType};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Request;
use super::account::Account;
use super::compare::{self, Limits};
use super::etcd::Booted;
use super::open::Opened;
use crate::blocking::run_blocking;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};
use crate::selector::Selection;

/// Pages are small, since a large backup may take no more memory than a small one.
pub(super) const LISTS: ListOptions = ListOptions {
    page_limit: 500,
    page_bytes: 256 << 10,
    max_page_bytes: 256 << 20,
    requests: 4,
    buffer_bytes: 1 << 20,
    max_restarts: 0,
};
/// The API server is on this machine and nobody else asks it: what it cannot answer soon it cannot answer at all.
pub(super) const RETRY: Retry =
    Retry { min_delay: Duration::from_millis(100), max_delay: Duration::from_secs(1), budget: Duration::from_secs(5) };
/// How long custom resources may take until they are served.
const SERVED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// As much of a log as is looked at, in bytes.
const LOG: u64 = 1 << 20;
/// Characters of a log's line that a finding carries.
const LINE: usize = 500;

/// An API server on a restored etcd.
pub(super) struct Served {
    pub(super) cluster: Cluster,
    /// The revision at which etcd booted.
    pub(super) boot: u64,
    /// Keys that the snapshot has deleted, each with the revision of that.
    pub(super) deleted: Vec<(Vec<u8>, i64)>,
    /// The node of kind that it runs on.
    pub(super) node: Option<String>,
}

/// Boots the API server and compares every object. False where there is none to ask.
pub(super) async fn boot_and_compare(
    account: &mut Account,
    opened: &Opened,
    request: &Request,
    booted: &mut Booted,
) -> Result<bool> {
    let is_booted = can_decrypt(account, opened, request) && boot(account, booted).await?;
    account.end_phase("boot");
    if !is_booted {
        return Ok(false);
    }
    let options =
        ConnectOptions { kubeconfig: Some(booted.plane.kubeconfig()), retry: RETRY, ..ConnectOptions::default() };
    let cluster = Cluster::connect(options).await?;
    let served = Served { cluster, boot: booted.revision, deleted: std::mem::take(&mut booted.deleted), node: None };
    compare(account, opened, served).await
}

/// Whether values that are encrypted at rest can be read: an API server would never be ready, since it reads all Secrets
/// first.
pub(super) fn can_decrypt(account: &mut Account, opened: &Opened, request: &Request) -> bool {
    let manifest = opened.backup.backup().manifest();
    let lacks = manifest.required_for_restore.encryption_configuration && request.encryption_config.is_none();
    if lacks {
        let with = opened.backup.coverage().encryption_at_rest.join(", ");
        let message = format!("values are encrypted at rest ({with}), so no API server was booted");
        account.notes.find(FindingCode::EncryptionConfigMissing, None, message);
    }
    !lacks
}

/// Compares every object. False where the API server does not say what it serves.
pub(super) async fn compare(account: &mut Account, opened: &Opened, restored: Served) -> Result<bool> {
    let Served { cluster, boot, deleted, node } = restored;
    let manifest = opened.backup.backup().manifest();
    let types = served(account, &cluster, &opened.backup).await;
    let describe = |types: &Vec<ResourceCoverage>| format!("{} resources to compare", types.len());
    let Some(types) = account.notes.try_check("discovery", FindingCode::ApiServerNotBooted, types, describe)? else {
        return Ok(false);
    };
    let limits = Limits {
        snapshot: opened.snapshot.as_ref().map_or(0, |snapshot| snapshot.facts.revision.unsigned_abs()),
        boot,
        digests: manifest.canonical_version == CANONICAL_VERSION,
        deleted,
        gaps: opened.backup.coverage().gaps.iter().map(|gap| gap.resource.clone()).collect(),
        node,
    };
    if !limits.digests {
        account.notes.warn("the digests of the index are by other rules: only names are compared".to_owned());
    }
    let listing = cluster.list_all(types.iter().map(|coverage| coverage.resource.clone()).collect(), LISTS);
    let (notes, backup, handle) = (std::mem::take(&mut account.notes), opened.backup.clone(), Handle::current());
    let comparing = move || compare::run(notes, &backup, &types, &limits, &handle, listing);
    account.notes = run_blocking("comparing", comparing).await?;
    account.restored();
    account.end_phase("compare");
    Ok(true)
}

/// Boots the API server on the restored etcd.
async fn boot(account: &mut Account, booted: &mut Booted) -> Result<bool> {
    let log = booted.plane.dir().join("logs/kube-apiserver.log");
    let started = tokio::select! {
        started = booted.plane.start_api_server() => started.map_err(Error::from),
        line = undecryptable(&log) => {
            account.notes.find(FindingCode::EncryptionConfigWrong, Some("kube-apiserver".to_owned()), line);
            return Ok(false);
        }
    };
    let code = FindingCode::ApiServerNotBooted;
    Ok(account.notes.try_check("kube-apiserver", code, started, |()| "it boots".to_owned())?.is_some())
}

/// Waits until the API server complains of a value that it cannot decrypt, for which it would try again without end.
async fn undecryptable(log: &Path) -> String {
    loop {
        let mut bytes = Vec::new();
        // The log of a server that has not begun is not there yet.
        if let Ok(file) = File::open(log) {
            let _ = file.take(LOG).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some(line) = text.lines().find(|line| line.contains("unable to transform key")) {
            return line.chars().take(LINE).collect();
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The resources of the backup that the API server serves. Those that it ought to serve and does not are findings.
async fn served(account: &mut Account, cluster: &Cluster, backup: &OpenBackup) -> Result<Vec<ResourceCoverage>> {
    account.versions.kubernetes = Some(cluster.version().await?);
    let aggregated = aggregated(backup).await?;
    let coverage = backup.coverage();
    let is_aggregated = |kind: &ResourceType| aggregated.contains(&kind.api_version());
    let needed =
        coverage.resources.iter().filter(|resource| resource.captured > 0 && !is_aggregated(&resource.resource));
    let needed: Vec<GroupResource> = needed.map(|resource| resource.resource.group_resource()).collect();
    let begun = Instant::now();
    let discovery = loop {
        let discovery = cluster.discover().await?;
        let names = names(&discovery);
        if needed.iter().all(|name| names.contains(name)) || begun.elapsed() > SERVED {
            break discovery;
        }
        tokio::time::sleep(POLL).await;
    };
    let names = names(&discovery);
    for name in needed.iter().filter(|name| !names.contains(name)) {
        let message = format!("{name} were captured, and the restored API server does not serve them");
        account.notes.find(FindingCode::ResourceNotServed, Some(name.to_string()), message);
    }
    let left_out =
        coverage.resources.iter().filter(|resource| is_aggregated(&resource.resource) && resource.captured > 0);
    let left_out: Vec<String> = left_out.map(|resource| resource.resource.group_resource().to_string()).collect();
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        account.notes.warn(format!("not compared, since another server keeps them and not this etcd: {names}"));
    }
    let known: BTreeSet<GroupResource> = coverage
        .resources
        .iter()
        .map(|resource| resource.resource.group_resource())
        .chain(excluded(backup, &discovery))
        .collect();
    let unknown = discovery.types.iter().map(ResourceType::group_resource).filter(|name| !known.contains(name));
    let unknown: Vec<String> = unknown.map(|name| name.to_string()).collect();
    if !unknown.is_empty() {
        account.notes.warn(format!("not compared, since the backup did not list them: {}", unknown.join(", ")));
    }
    let listed = coverage
        .resources
        .iter()
        .filter(|resource| !is_aggregated(&resource.resource) && names.contains(&resource.resource.group_resource()));
    Ok(listed.cloned().collect())
}

fn names(discovery: &Discovery) -> BTreeSet<GroupResource> {
    let twins = discovery.twins.iter().map(|twin| twin.left_out.clone());
    discovery.types.iter().map(ResourceType::group_resource).chain(twins).collect()
}

/// What the backup left out on purpose, by every name.
fn excluded(backup: &OpenBackup, discovery: &Discovery) -> Vec<GroupResource> {
    let excluded = &backup.coverage().excluded;
    let twins =
        discovery.twins.iter().filter(|twin| excluded.contains(&twin.left_out) || excluded.contains(&twin.kept));
    twins.flat_map(|twin| [twin.left_out.clone(), twin.kept.clone()]).chain(excluded.iter().cloned()).collect()
}

/// The APIs that the backed up cluster had from aggregated API servers, as `metrics.k8s.io/v1beta1`.
async fn aggregated(backup: &OpenBackup) -> Result<BTreeSet<String>> {
    let services =
        Selection { kinds: "apiservices.apiregistration.k8s.io".parse().into_iter().collect(), ..Selection::default() };
    let (found, mut apis) = mpsc::unbounded_channel();
    backup
        .read(services, move |_, json| {
            let object: Value = serde_json::from_slice(json).unwrap_or_default();
            let at = |path: &str| object.pointer(path);
            let text = |path: &str| at(path).and_then(Value::as_str);
            if let (Some(Value::Object(_)), Some(group), Some(version)) =
                (at("/spec/service"), text("/spec/group"), text("/spec/version"))
            {
                // The receiver waits below.
                let _ = found.send(format!("{group}/{version}"));
            }
            Ok(())
        })
        .await?;
    let mut all = BTreeSet::new();
    while let Some(api) = apis.recv().await {
        all.insert(api);
    }
    Ok(all)
}
