//! What a restored cluster has to come up to: its workloads, and what people ask for.

use std::process::Stdio;
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Cluster, ServicePort};
use lifeboat_model::{DrillCheckSpec, FindingCode, GroupResource, ObjectsCheck, ServiceCheck};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::Request;
use super::account::Account;
use super::target::{Reached, Target};
use super::workloads::{POLL, each, is_systems};
use crate::error::{Error, Result, chain};
use crate::expression::Expression;

/// Objects that a failed check names.
const NAMED: usize = 5;
/// Characters of a command's complaint that a finding carries.
const COMPLAINT: usize = 1_000;

/// The least time that a single try gets, however short the deadline is.
const TRY: Duration = Duration::from_secs(5);

/// A check, ready to be tried.
enum Check<'a> {
    Objects { wanted: &'a ObjectsCheck, expression: Expression },
    Service(&'a ServiceCheck),
    Command(&'a [String]),
}

/// Refuses checks that make no sense.
pub(super) fn validate(checks: &[DrillCheckSpec]) -> Result<()> {
    checks.iter().try_for_each(|check| prepare(check).map(|_| ()))
}

fn prepare(check: &DrillCheckSpec) -> Result<Check<'_>> {
    let usage = |problem: String| Error::Usage(format!("check '{}': {problem}", check.name));
    match (&check.objects, &check.service, check.command.as_slice()) {
        (Some(wanted), None, []) => {
            let expression = Expression::compile(&wanted.expression).map_err(usage)?;
            Ok(Check::Objects { wanted, expression })
        }
        (None, Some(service), []) => Ok(Check::Service(service)),
        (None, None, command @ [_, ..]) => Ok(Check::Command(command)),
        _ => Err(usage("needs one of 'objects', 'service' and 'command'".to_owned())),
    }
}

/// Waits until the workloads are ready, then until each check is true.
pub(super) async fn run(account: &mut Account, request: &Request, reached: &Reached) -> Result<()> {
    let ready = until(request.ready_within, async || workloads(&reached.cluster).await).await;
    account.notes.check("workloads", FindingCode::CheckFailed, ready);
    for check in &request.checks {
        let prepared = prepare(check)?;
        let deadline = Duration::from_secs(check.deadline_seconds);
        let outcome = until(deadline, async || match &prepared {
            Check::Objects { wanted, expression } => objects(&reached.cluster, wanted, expression).await,
            Check::Service(service) => ask(&reached.cluster, service).await,
            Check::Command(command) => run_command(command, request, reached).await,
        });
        let outcome = outcome.await;
        account.notes.check(&check.name, FindingCode::CheckFailed, outcome);
    }
    account.end_phase("check");
    Ok(())
}

/// Tries until it is true or the time is over; the last reason why not.
async fn until(
    deadline: Duration,
    attempt: impl AsyncFn() -> std::result::Result<String, String>,
) -> std::result::Result<String, String> {
    let begun = Instant::now();
    let mut reason = "there was no answer".to_owned();
    loop {
        let left = deadline.saturating_sub(begun.elapsed()).max(TRY);
        match timeout(left, attempt()).await {
            Ok(Ok(said)) => return Ok(said),
            Ok(Err(why)) => reason = why,
            Err(_) => {}
        }
        if begun.elapsed() >= deadline {
            return Err(format!("not true within {} s: {reason}", deadline.as_secs()));
        }
        tokio::time::sleep(POLL.min(deadline)).await;
    }
}

/// Whether every `Deployment`, `StatefulSet` and `DaemonSet` outside of the cluster's own namespaces is ready.
async fn workloads(cluster: &Cluster) -> std::result::Result<String, String> {
    let mut ready = 0_u64;
    let mut others = Vec::new();
    for resource in ["deployments", "statefulsets", "daemonsets"] {
        let resource = GroupResource { group: "apps".to_owned(), resource: resource.to_owned() };
        let looked = each(cluster, &resource, |object| {
            let (namespace, name) = place(object);
            match is_ready(object) {
                _ if is_systems(namespace) => {}
                true => ready += 1,
                false => others.push(format!("{resource}/{name} -n {namespace}")),
            }
        });
        looked.await.map_err(|error| chain(&error))?;
    }
    named(others).map_or_else(|| Ok(format!("{ready} ready")), |others| Err(format!("not ready: {others}")))
}

/// Whether a workload's controller has seen it, and as many pods are ready as it wants.
fn is_ready(object: &Value) -> bool {
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64);
    let seen =
        number("/status/observedGeneration").unwrap_or_default() >= number("/metadata/generation").unwrap_or_default();
    let wanted = number("/spec/replicas").or_else(|| number("/status/desiredNumberScheduled")).unwrap_or(1);
    let ready = number("/status/readyReplicas").or_else(|| number("/status/numberReady")).unwrap_or_default();
    seen && ready >= wanted
}

async fn objects(
    cluster: &Cluster,
    wanted: &ObjectsCheck,
    expression: &Expression,
) -> std::result::Result<String, String> {
    let mut fitting = 0_u64;
    let mut others = Vec::new();
    let looked = each(cluster, &wanted.resource, |object| {
        let (namespace, name) = place(object);
        if wanted.namespace.as_ref().is_some_and(|only| only != namespace) {
            return;
        }
        match expression.matches(object) {
            Ok(true) => fitting += 1,
            Ok(false) => others.push(format!("{name} -n {namespace}")),
            Err(reason) => others.push(format!("{name} -n {namespace} ({reason})")),
        }
    });
    looked.await.map_err(|error| chain(&error))?;
    match named(others) {
        Some(others) => Err(format!("not true of {others}")),
        None if fitting == 0 => Err(format!("there are no {}", wanted.resource)),
        None => Ok(format!("true of {fitting} {}", wanted.resource)),
    }
}

/// Asks one of a Service's endpoints.
async fn ask(cluster: &Cluster, wanted: &ServiceCheck) -> std::result::Result<String, String> {
    let port = wanted.port.to_string();
    let service = ServicePort { namespace: &wanted.namespace, service: &wanted.name, port: &port, https: wanted.https };
    let answer = cluster.get_through_service(service, &wanted.path).await.map_err(|error| chain(&error))?;
    let bytes = answer.len();
    match &wanted.contains {
        Some(text) if !String::from_utf8_lossy(&answer).contains(text) => {
            Err(format!("an answer of {bytes} bytes, without '{text}'"))
        }
        _ => Ok(format!("an answer of {bytes} bytes")),
    }
}

async fn run_command(command: &[String], request: &Request, reached: &Reached) -> std::result::Result<String, String> {
    let [program, arguments @ ..] = command else { return Err("no command".to_owned()) };
    let mut child = Command::new(program);
    child.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    child.envs(request.environment.iter().map(|(name, value)| (name, value)));
    if let Some(kubeconfig) = &reached.kubeconfig {
        child.env("KUBECONFIG", kubeconfig);
    }
    if let Some(context) = &reached.context {
        child.env("LIFEBOAT_DRILL_CONTEXT", context);
    }
    let output = child.output().await;
    let output = output.map_err(|error| format!("'{program}': {error}"))?;
    if output.status.success() {
        return Ok("the command ended with 0".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(COMPLAINT).collect();
    Err(format!("the command ended with {}: {said}", output.status))
}

fn place(object: &Value) -> (&str, &str) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// The first few by name; nothing where there are none.
fn named(mut names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| names.join(", ") + &more)
}

impl Request {
    /// Refuses what cannot be: before anything is begun.
    pub(super) fn validate_checks(&self) -> Result<()> {
        if !self.checks.is_empty() && matches!(self.target, Target::Local) {
            return Err(Error::Usage("checks are of tier 3: pods run there only".to_owned()));
        }
        validate(&self.checks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_are_ready_when_all_pods_are() {
        let object = |generation: u64, wanted: Value, status: Value| json!({"metadata": {"generation": generation}, "spec": {"replicas": wanted}, "status": status});
        let status = |seen: u64, ready: u64| json!({"observedGeneration": seen, "readyReplicas": ready});
        assert!(is_ready(&object(1, json!(2), status(1, 2))));
        assert!(!is_ready(&object(1, json!(2), status(1, 1))));
        assert!(!is_ready(&object(2, json!(2), status(1, 2))), "its controller has not seen the change");
        assert!(!is_ready(&object(1, json!(1), json!({}))));
        assert!(is_ready(&object(1, json!(0), json!({"observedGeneration": 1}))));
        let daemon = |ready: u64| {
            json!({"metadata": {"generation": 1}, "spec": {},
                "status": {"observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": ready}})
        };
        assert!(is_ready(&daemon(3)) && !is_ready(&daemon(2)));
    }
}
