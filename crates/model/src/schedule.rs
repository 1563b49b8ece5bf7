//! When backups are taken, as the configuration and the custom resources have it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Age, CronExpression, NotifyConfig, ObjectLock, ResourcesConfig, RetentionPolicy, Tier};

/// The longest name of a schedule: that of an object of Kubernetes.
const MAX_NAME: usize = 253;

/// A schedule of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedSchedule {
    /// Its name, as objects of Kubernetes have one. It stands readable in the manifests of the backups that it takes.
    pub name: String,
    /// When and what.
    pub spec: ScheduleSpec,
}

/// When backups are taken, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.etcd || self.objects", "message": "neither etcd nor objects would be captured"}
]))]
pub struct ScheduleSpec {
    /// Cron expression of five fields, as in `CronJob`s: `0 3 * * *`, `@hourly`.
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = [{
        "rule": r"self.matches(r'^\s*(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^\s@=]+(\s+[^\s=]+){4})\s*$')",
        "message": "must have five fields, or be one of @yearly, @monthly, @weekly, @daily and @hourly"
    }]))]
    pub schedule: CronExpression,
    /// Time zone of the expression, by its name in the IANA database: `Europe/Berlin`. UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Each run begins later by some time of at most so much, which follows from the schedule's name and the time that
    /// is due: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Age>,
    /// A run that could not begin when it was due begins later by at most so much, and is missed after that: `1h`. Tries
    /// again end then too. Without it the time of the next run is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Age>,
    /// What becomes of a run that is due while the one before is still under way.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Take none until this is false again.
    #[serde(default)]
    pub suspend: bool,
    /// Capture etcd, where it is configured.
    #[serde(default = "yes")]
    pub etcd: bool,
    /// Capture the objects of the API.
    #[serde(default = "yes")]
    pub objects: bool,
    /// Which objects; as in the configuration where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesConfig>,
    /// Which of the backups of this schedule are kept; those of others are not touched. Where absent, it is as in the
    /// configuration, if that has any rule; with no rule at all, none is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionPolicy>,
    /// The Object Lock that is put on the backups of this schedule, instead of the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
    /// The latest complete backup of this schedule should never be older: `26h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_max_age: Option<Age>,
    /// The dead man's switch that is called after each complete backup: a name out of `daemon.notify.heartbeats`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<String>,
    /// The webhooks that are told of failures and recoveries: names out of `daemon.notify.webhooks`, all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

/// What becomes of a run that is due while the one before of the same schedule is still under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It waits.
    #[default]
    Forbid,
    /// The one before is ended for it.
    Replace,
}

fn yes() -> bool {
    true
}

/// How the daemon runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DaemonConfig {
    /// Who of several daemons takes the backups. Without it this one always does: only where no other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_election: Option<LeaderElection>,
    /// Address and port for metrics and health, as `0.0.0.0:8080`; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Drills at times of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<ScheduledDrill>,
    /// Whom to tell what became of the work.
    #[serde(default)]
    pub notify: NotifyConfig,
    /// Custom resources that count: schedules, backups, restores and drills. None where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_resources: Option<CustomResources>,
}

/// Where custom resources count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomResources {
    /// The one namespace of them. Whoever may write them there may have everything backed up, and restored.
    pub namespace: String,
}

/// One leader of several daemons, by a Lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// The namespace of the Lease, which has to be there.
    pub namespace: String,
    /// Its name.
    #[serde(default = "lease")]
    pub name: String,
    /// How many seconds it lasts without being renewed, from 5 on.
    #[serde(default = "lease_seconds")]
    #[schemars(range(min = 5, max = 3600))]
    pub lease_seconds: u32,
    /// While the API server does not answer, the last leader goes on with backups of etcd for so long: `12h`.
    #[serde(default = "isolated")]
    pub isolated_for: Age,
}

fn lease() -> String {
    "lifeboat".to_owned()
}

fn lease_seconds() -> u32 {
    30
}

fn isolated() -> Age {
    Age::hours(12)
}

/// Drills of the latest backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduledDrill {
    /// Cron expression of five fields: `0 5 * * 0`.
    pub schedule: CronExpression,
    /// Time zone of the expression; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How deep it goes: `0`, which needs no identity, `1` or `2`.
    #[serde(default = "blind")]
    pub tier: Tier,
    /// age identity file that opens the backup. Whoever reads it reads every backup: keep it out of the cluster that is
    /// backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<PathBuf>,
    /// Folders with `etcd`, `etcdutl` and `kube-apiserver`; those of `PATH` where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<PathBuf>,
}

fn blind() -> Tier {
    Tier::Content
}

/// What is wrong with schedules and daemon, a sentence for each fault.
pub(crate) fn faults(schedules: &[NamedSchedule], daemon: &DaemonConfig) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, NamedSchedule { name, spec }) in schedules.iter().enumerate() {
        if !is_name(name) {
            faults.push(format!(
                "schedules[{place}].name: '{name}' is no name: expected up to {MAX_NAME} lower-case letters, digits, \
                 '-' or '.', beginning and ending with a letter or digit"
            ));
        }
        if schedules.iter().take(place).any(|other| other.name == *name) {
            faults.push(format!("schedules[{place}].name: there is another schedule '{name}'"));
        }
        faults.extend(spec.faults().into_iter().map(|fault| format!("schedules[{place}].spec.{fault}")));
        if let Some(name) = spec.heartbeat.as_ref().filter(|name| daemon.notify.heartbeat(name).is_none()) {
            faults.push(format!("schedules[{place}].spec.heartbeat: there is no '{name}' in daemon.notify.heartbeats"));
        }
        for name in spec.notify.iter().filter(|name| daemon.notify.webhook(name).is_none()) {
            faults.push(format!("schedules[{place}].spec.notify: there is no '{name}' in daemon.notify.webhooks"));
        }
    }
    faults.extend(daemon.notify.faults("daemon.notify"));
    if let Some(election) = &daemon.leader_election
        && !(5..=3600).contains(&election.lease_seconds)
    {
        faults.push(format!("daemon.leaderElection.leaseSeconds: {} is not from 5 to 3600", election.lease_seconds));
    }
    if let Some(drill) = &daemon.drill {
        if drill.tier == Tier::Workloads {
            faults
                .push("daemon.drill.tier: tier 3 needs a cluster to restore into: run it with `drill run`".to_owned());
        } else if drill.tier > Tier::Content && drill.identity_file.is_none() {
            faults.push("daemon.drill.identityFile: every tier but 0 opens the backup".to_owned());
        }
    }
    faults
}

impl ScheduleSpec {
    /// What is wrong with it, a sentence for each fault, beginning with the setting's path.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.etcd && !self.objects {
            faults.push("etcd: neither etcd nor objects would be captured".to_owned());
        }
        if let Some(resources) = &self.resources
            && !(1..=10_000).contains(&resources.page_size)
        {
            faults.push(format!("resources.pageSize: {} is not from 1 to 10000", resources.page_size));
        }
        faults.extend(self.retention.iter().flat_map(RetentionPolicy::faults));
        faults
    }
}

/// A DNS subdomain, as the names of most objects are.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_NAME
        && text.bytes().all(|b| plain(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}
