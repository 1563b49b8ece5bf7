//! Which member to take a snapshot from.

use std::cmp::Reverse;

use crate::cluster::{AlarmKind, EndpointStatus, MemberStatus};
use crate::error::{EtcdError, Unfit, chain};

/// Entries of the raft log that a member may lie behind the foremost one and still count as caught up: the snapshot
/// waits for them, which takes about a second of a busy cluster.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::Alarm;

    fn member_status() -> impl Strategy<Value = MemberStatus> {
        let cluster_id = prop_oneof![30 => Just(1_u64), 1 => Just(2)];
        let applied = prop_oneof![0_u64..3_000, 9_000_u64..12_000];
        let alarm = (1_u64..5, prop_oneof![Just(AlarmKind::NoSpace), Just(AlarmKind::Corrupt)]);
        let alarm = alarm.prop_map(|(member_id, kind)| Alarm { member_id, kind });
        let leader = prop_oneof![4 => (1_u64..5).prop_map(Some), 1 => Just(None)];
        let alarms = proptest::collection::vec(alarm, 0..2);
        (1_u64..5, cluster_id, applied, leader, any::<bool>(), alarms).prop_map(
            |(member_id, cluster_id, raft_applied_index, leader, is_learner, alarms)| MemberStatus {
                member_id,
                cluster_id,
                version: "3.6.16".to_owned(),
                db_size: 0,
                db_size_in_use: 0,
                revision: 1,
                raft_term: 2,
                raft_index: raft_applied_index,
                raft_applied_index,
                is_learner,
                leader,
                alarms,
                errors: Vec::new(),
            },
        )
    }

    fn members() -> impl Strategy<Value = Vec<EndpointStatus>> {
        let status = prop_oneof![5 => member_status().prop_map(Some), 1 => Just(None)];
        proptest::collection::vec(status, 1..6).prop_map(|members| {
            let members = members.into_iter().enumerate().map(|(number, status)| {
                let endpoint = format!("https://{number}");
                let status = status.ok_or(EtcdError::NoLeader { endpoint: endpoint.clone() });
                EndpointStatus { endpoint, status }
            });
            members.collect()
        })
    }

    fn answers(members: &[EndpointStatus]) -> Vec<&MemberStatus> {
        members.iter().filter_map(|member| member.status.as_ref().ok()).collect()
    }

    /// Whether a member may be chosen, worded the other way round from the code.
    fn may_be_chosen(status: &MemberStatus, all: &[&MemberStatus]) -> bool {
        let corrupt = Alarm { member_id: status.member_id, kind: AlarmKind::Corrupt };
        status.leader.is_some()
            && !status.is_learner
            && all.iter().all(|other| other.raft_applied_index <= status.raft_applied_index + 1_000)
            && !all.iter().any(|other| other.alarms.contains(&corrupt))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn chooses_all_that_are_fit_and_followers_first(members in members()) {
            let all = answers(&members);
            let is_mixed = all.windows(2).any(|pair| pair[0].cluster_id != pair[1].cluster_id);
            let fit = all.iter().filter(|status| may_be_chosen(status, &all)).count();
            match choose(&members) {
                Err(EtcdError::MixedClusters(_)) => prop_assert!(is_mixed),
                Err(EtcdError::NoUsableMember(unfit)) => {
                    prop_assert!(!is_mixed);
                    prop_assert_eq!(fit, 0);
                    prop_assert_eq!(unfit.len(), members.len());
                }
                Err(other) => prop_assert!(false, "{other:?}"),
                Ok(chosen) => {
                    prop_assert!(!is_mixed);
                    let chosen: Vec<_> = chosen.iter().map(|member| member.status.as_ref().unwrap()).collect();
                    prop_assert_eq!(chosen.len(), fit);
                    prop_assert!(chosen.iter().all(|status| may_be_chosen(status, &all)));
                    for pair in chosen.windows(2) {
                        let (better, worse) = (pair[0], pair[1]);
                        prop_assert!(better.is_leader() <= worse.is_leader());
                        prop_assert!(
                            better.is_leader() != worse.is_leader()
                                || better.raft_applied_index >= worse.raft_applied_index
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn no_endpoint_is_an_error_of_its_own() {
        assert!(matches!(choose(&[]), Err(EtcdError::NoEndpoints)));
    }
}
