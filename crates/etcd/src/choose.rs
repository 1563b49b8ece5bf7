//! Which member to take a snapshot from.

use std::cmp::Reverse;

use crate::cluster::{AlarmKind, EndpointStatus, MemberStatus};
use crate::error::{EtcdError, Unfit, chain};

/// Entries of the raft log that a member may lie behind the foremost one and still count as caught up. A snapshot is
/// not linearizable; this bounds what it may lack to about a second of a busy cluster.
const MAX_LAG: u64 = 1_000;

/// The endpoints that can give a snapshot, best first.
///
/// Fit is a member that answers, follows or is a leader, is no learner, has no CORRUPT alarm, and has applied all but
/// the last 1,000 entries of the foremost member. Followers come before the leader, which has more to do already, then
/// those that have applied most, then the order of the configuration. Endpoints of different clusters are an error: one
/// of them would be backed up under the other's name. A NOSPACE alarm does not stop a snapshot.
pub fn choose(members: &[EndpointStatus]) -> Result<Vec<&EndpointStatus>, EtcdError> {
    if members.is_empty() {
        return Err(EtcdError::NoEndpoints);
    }
    let answering = || members.iter().filter_map(|member| Some((member, member.status.as_ref().ok()?)));
    let mut clusters: Vec<_> =
        answering().map(|(member, status)| (member.endpoint.clone(), status.cluster_id)).collect();
    clusters.dedup_by_key(|(_, cluster_id)| *cluster_id);
    if clusters.len() > 1 {
        return Err(EtcdError::MixedClusters(clusters));
    }

    let foremost = answering().map(|(_, status)| status.raft_applied_index).max().unwrap_or(0);
    let is_corrupt = |member_id| {
        let alarms = answering().flat_map(|(_, status)| &status.alarms);
        alarms.into_iter().any(|alarm| alarm.kind == AlarmKind::Corrupt && alarm.member_id == member_id)
    };
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    for member in members {
        match reason_against(member, foremost, is_corrupt) {
            Ok(status) => fit.push((member, status)),
            Err(reason) => unfit.push(Unfit { endpoint: member.endpoint.clone(), reason }),
        }
    }
    if fit.is_empty() {
        return Err(EtcdError::NoUsableMember(unfit));
    }
    fit.sort_by_key(|(_, status)| (status.is_leader(), Reverse(status.raft_applied_index)));
    Ok(fit.into_iter().map(|(member, _)| member).collect())
}

fn reason_against(
    member: &EndpointStatus,
    foremost: u64,
    is_corrupt: impl Fn(u64) -> bool,
) -> Result<&MemberStatus, String> {
    let status = member.status.as_ref().map_err(|error| format!("does not answer ({})", chain(error)))?;
    let lag = foremost.saturating_sub(status.raft_applied_index);
    if is_corrupt(status.member_id) {
        Err("has the alarm CORRUPT".to_owned())
    } else if status.leader.is_none() {
        Err("has no leader".to_owned())
    } else if status.is_learner {
        Err("is a learner".to_owned())
    } else if lag > MAX_LAG {
        Err(format!("is {lag} entries behind"))
    } else {
        Ok(status)
    }
}
