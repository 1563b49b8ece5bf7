//! `cronjob.suspend` and `job.suspend`.

use async_trait::async_trait;
use lifeboat_playbook::{ActionError, Permission, Proof};
use serde_json::Value;

use crate::api::Api;
use crate::fields::{items, reference, text};
use crate::resources::{CRON_JOB, JOB, Resource};
use crate::switch::{Set, Switch};

/// The action `cronjob.suspend`.
pub(crate) type SuspendCronJob = Set<CronJob>;
/// The action `job.suspend`.
pub(crate) type SuspendJob = Set<Job>;

pub(crate) struct CronJob;
pub(crate) struct Job;

fn running(cron_job: &Value) -> Vec<&str> {
    items(cron_job, "/status/active").map(|job| text(job, "/name")).collect()
}

fn active_pods(job: &Value) -> u64 {
    job.pointer("/status/active").and_then(Value::as_u64).unwrap_or(0)
}

#[async_trait]
impl Switch for CronJob {
    const NAME: &'static str = "cronjob.suspend";
    const SUMMARY: &'static str = "Start no more jobs of a cron job";
    const DESCRIPTION: &'static str = "\
Sets `spec.suspend`. Jobs that run already go on: the plan names them, and while there are any the step is `unverified`; \
suspend those with `job.suspend`. A rollback sets what was there before. Runs that were missed are started then, if \
`startingDeadlineSeconds` allows it.";
    const PERMISSIONS: &'static [Permission] =
        &[Permission { group: "batch", resource: "cronjobs", verbs: &["get", "patch"] }];
    const ATTACK: &'static [&'static str] = &["T1053.007"];
    const DEFEND: &'static [&'static str] = &["D3-PE"];
    const EXAMPLE: &'static str = "- id: stop\n  uses: cronjob.suspend\n  with:\n    target: {apiVersion: batch/v1, kind: \
                                   CronJob, namespace: shop, name: report, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n";

    fn resource() -> &'static Resource {
        &CRON_JOB
    }

    fn fields() -> Vec<(&'static [&'static str], Value)> {
        vec![(&["spec", "suspend"], true.into())]
    }

    fn warnings(object: &Value) -> Vec<String> {
        let running = running(object);
        if running.is_empty() { Vec::new() } else { vec![format!("these jobs go on: {}", running.join(", "))] }
    }

    async fn seen(_: &Api, object: &Value) -> Result<Proof, ActionError> {
        let (name, running) = (reference(object), running(object));
        Ok(if running.is_empty() {
            Proof::Observed(format!("{name} is suspended, and none of its jobs is active"))
        } else {
            Proof::NotObserved(format!("{name} is suspended, and these jobs go on: {}", running.join(", ")))
        })
    }
}

#[async_trait]
impl Switch for Job {
    const NAME: &'static str = "job.suspend";
    const SUMMARY: &'static str = "Stop a job, and keep it";
    const DESCRIPTION: &'static str = "\
Sets `spec.suspend`: the job controller deletes the pods that are active, with all that is in them, and makes none until \
the job is resumed. The step is `unverified` while pods of it are active. A rollback resumes the job, which begins anew \
with what had not been completed.";
    const PERMISSIONS: &'static [Permission] =
        &[Permission { group: "batch", resource: "jobs", verbs: &["get", "list", "watch", "patch"] }];
    const ATTACK: &'static [&'static str] = &["T1053.007"];
    const DEFEND: &'static [&'static str] = &["D3-PE"];
    const EXAMPLE: &'static str = "- id: stop\n  uses: job.suspend\n  with:\n    target: {apiVersion: batch/v1, kind: Job, \
                                   namespace: shop, name: report, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n";

    fn resource() -> &'static Resource {
        &JOB
    }

    fn fields() -> Vec<(&'static [&'static str], Value)> {
        vec![(&["spec", "suspend"], true.into())]
    }

    fn warnings(object: &Value) -> Vec<String> {
        let active = active_pods(object);
        let lost = crate::pod::LOST;
        if active == 0 { Vec::new() } else { vec![format!("{active} active pods are deleted, and with them {lost}")] }
    }

    async fn seen(api: &Api, object: &Value) -> Result<Proof, ActionError> {
        let name = reference(object);
        let place = crate::planning::place_of(&JOB, object);
        // The controller's own words: a condition that says so, and no pod that is active.
        let stopped = |job: &Value| {
            let suspended = items(job, "/status/conditions")
                .any(|found| text(found, "/type") == "Suspended" && text(found, "/status") == "True");
            suspended && active_pods(job) == 0
        };
        Ok(if api.wait_for(place, crate::PATIENCE, stopped).await? {
            Proof::Observed(format!("the job controller says that {name} is suspended, and no pod of it is active"))
        } else {
            Proof::NotObserved(format!("{name} is to be suspended, and its controller does not say that it is"))
        })
    }
}
