//! etcd: each member, and all of them together.

use lifeboat_etcd::{AlarmKind, Cluster, EndpointStatus, MemberStatus, choose};
use lifeboat_model::EtcdConfig;

use super::Check;
use crate::error::Result;
use crate::output::bytes;
use crate::sources;

pub(super) async fn check(config: Option<&EtcdConfig>) -> Vec<Check> {
    const NAME: &str = "etcd";
    let Some(config) = config else {
        return vec![Check::ok(NAME, "none configured: backups have the objects of the API only")];
    };
    match members(config).await {
        Err(error) => vec![Check::error(NAME, error)],
        Ok(members) => {
            let mut checks: Vec<Check> = members.iter().map(member).collect();
            checks.extend(alarms(&members));
            checks.push(together(&members));
            checks
        }
    }
}

async fn members(config: &EtcdConfig) -> Result<Vec<EndpointStatus>> {
    let cluster = Cluster::connect(&sources::etcd(config)?)?;
    Ok(cluster.members().await)
}

fn member(endpoint: &EndpointStatus) -> Check {
    let name = format!("etcd {}", endpoint.endpoint);
    let status = match &endpoint.status {
        Ok(status) => status,
        Err(error) => {
            let remedy = "check the endpoint, that the member runs, and caFile, certFile and keyFile of etcd";
            return Check::fail(name, lifeboat_recovery::chain(error), remedy);
        }
    };
    let detail = describe(status);
    if status.leader.is_none() {
        let remedy = "the member knows no leader: look at the other members and the network between them";
        return Check::fail(name, detail, remedy);
    }
    if status.is_learner {
        return Check::warn(name, detail, "no snapshot is taken of a learner: name voting members too");
    }
    Check::ok(name, detail)
}

fn describe(status: &MemberStatus) -> String {
    let role = match (status.is_learner, status.leader) {
        (true, _) => "learner",
        (_, None) => "no leader",
        _ if status.is_leader() => "leader",
        _ => "follower",
    };
    format!(
        "{role}, version {}, {} of which {} in use, revision {}",
        status.version,
        bytes(status.db_size),
        bytes(status.db_size_in_use),
        status.revision
    )
}

/// An alarm is told by every member; it is shown once.
fn alarms(members: &[EndpointStatus]) -> Vec<Check> {
    let mut seen = Vec::new();
    for alarm in members.iter().filter_map(|member| member.status.as_ref().ok()).flat_map(|status| &status.alarms) {
        if !seen.contains(&alarm) {
            seen.push(alarm);
        }
    }
    let check = |alarm: &lifeboat_etcd::Alarm| {
        let name = format!("etcd alarm of member {:x}", alarm.member_id);
        match alarm.kind {
            AlarmKind::NoSpace => Check::warn(
                name,
                "NOSPACE: no writes are accepted, and the alarm comes back after a restore",
                "compact, defragment, raise --quota-backend-bytes, then 'etcdctl alarm disarm'",
            ),
            AlarmKind::Corrupt => Check::fail(
                name,
                "CORRUPT: the member's data differ from the others'",
                "no snapshot is taken of it: remove the member and add it anew",
            ),
        }
    };
    seen.into_iter().map(check).collect()
}

/// Whether a snapshot could be taken now, and of whom.
fn together(members: &[EndpointStatus]) -> Check {
    const NAME: &str = "etcd snapshot";
    match choose(members) {
        Err(error) => Check::fail(NAME, lifeboat_recovery::chain(&error), "see the members above"),
        Ok(fit) => {
            let first = fit.first().map(|member| member.endpoint.as_str()).unwrap_or_default();
            Check::ok(NAME, format!("{} of {} members can give one, {first} first", fit.len(), members.len()))
        }
    }
}
