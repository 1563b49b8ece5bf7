//! The API server, and what we may see of it.

use std::fmt::Write as _;

use jiff::Timestamp;
use lifeboat_kubernetes::{Cluster, Discovery, Error};
use lifeboat_model::{Config, ResourceType};

use super::{Check, clock};
use crate::sources;

/// Names in a line, at most.
const NAMED: usize = 8;

pub(super) async fn check(config: &Config) -> Vec<Check> {
    const NAME: &str = "API server";
    let cluster = match Cluster::connect(sources::kubernetes(&config.kubernetes)).await {
        Ok(cluster) => cluster,
        Err(error) => return vec![Check::error(NAME, error)],
    };
    let version = match cluster.version().await {
        Ok(version) => version,
        Err(error) => {
            let mut check = Check::error(NAME, error);
            check.remedy.get_or_insert_with(|| "check the kubeconfig, its context, and the network".to_owned());
            return vec![check];
        }
    };
    let mut checks = vec![Check::ok(NAME, format!("{} at {}", version, cluster.url()))];
    let (identity, time, resources) = tokio::join!(identity(&cluster), time(&cluster), resources(&cluster, config));
    checks.extend([identity, time]);
    checks.extend(resources);
    checks
}

async fn identity(cluster: &Cluster) -> Check {
    const NAME: &str = "cluster id";
    match cluster.cluster_id().await {
        Ok(id) => Check::ok(NAME, id),
        Err(error @ Error::Forbidden { .. }) => {
            let remedy = "allow this identity to get the namespace kube-system: its UID is the cluster's id";
            Check::fail(NAME, error.to_string(), remedy)
        }
        Err(error) => Check::error(NAME, error),
    }
}

async fn time(cluster: &Cluster) -> Check {
    const NAME: &str = "clock of the API server";
    match cluster.server_time().await {
        Ok(time) => clock(NAME, time.duration_since(Timestamp::now())),
        Err(error) => Check::error(NAME, error),
    }
}

async fn resources(cluster: &Cluster, config: &Config) -> Vec<Check> {
    let discovery = match cluster.discover().await {
        Ok(discovery) => discovery,
        Err(error) => return vec![Check::error("API discovery", error)],
    };
    let wanted = discovery.wanted(&config.resources);
    vec![failed_groups(&discovery), permissions(cluster, &wanted).await]
}

fn failed_groups(discovery: &Discovery) -> Check {
    const NAME: &str = "API discovery";
    if discovery.failures.is_empty() {
        return Check::ok(NAME, format!("{} resources can be listed", discovery.types.len()));
    }
    let failures = discovery.failures.iter().map(|failure| format!("{}: {}", failure.group_version, failure.message));
    let detail = format!("APIs that do not answer, whose objects will be missing: {}", some(failures.collect()));
    Check::warn(NAME, detail, "repair what serves these APIs ('kubectl get apiservices'), or remove their APIService")
}

async fn permissions(cluster: &Cluster, wanted: &[ResourceType]) -> Check {
    const NAME: &str = "permissions";
    let reviewed = match cluster.access_review(wanted).await {
        Ok(reviewed) => reviewed,
        Err(error) => return Check::error(NAME, error),
    };
    let denied = reviewed.iter().filter(|(_, allowed)| !allowed).map(|(kind, _)| kind.group_resource().to_string());
    let denied: Vec<String> = denied.collect();
    if denied.is_empty() {
        return Check::ok(NAME, format!("all {} resources that are wanted may be listed", reviewed.len()));
    }
    let detail = format!("{} of {} resources may not be listed: {}", denied.len(), reviewed.len(), some(denied));
    let remedy = "grant get and list on them, or name them in resources.exclude: until then backups are Partial";
    Check::fail(NAME, detail, remedy)
}

/// The first few, and how many more there are.
fn some(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut text = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, ", and {more} more");
    }
    text
}
