//! Tier 3: the objects are restored into another cluster, as `restore objects` does it, and have to come up there.

use std::time::Duration;

use lifeboat_kubernetes::{Cluster, ListEvent};
use lifeboat_model::{DrillId, FindingCode, GroupResource, ResourceType};
use serde_json::Value;

use super::Request;
use super::account::Account;
use super::checks;
use super::objects::LISTS;
use super::open::Opened;
use super::scratch::Scratch;
use super::target::{Reached, is_initial};
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::progress::Track;
use crate::restore_objects::{self, Concurrency, Options, Plan, Report, Verdict};

/// What belongs to a cluster itself is left as the drill's cluster has it: networking, DNS, the control plane.
const NOT_THE_SYSTEMS: &str = "!(has(object.metadata.namespace) && object.metadata.namespace.startsWith('kube-'))";

/// Whether a namespace belongs to the cluster itself.
pub(super) fn is_systems(namespace: &str) -> bool {
    namespace.starts_with("kube-")
}

/// Restores, compares, and waits until what was restored runs.
pub(super) async fn restore(
    account: &mut Account,
    id: &DrillId,
    opened: &Opened,
    request: &Request,
    reached: &Reached,
    scratch: &Scratch,
) -> Result<()> {
    let plan = plan(opened, &reached.cluster).await;
    let planned = |plan: &Plan| format!("{} objects to create", plan.counts().create);
    let Some(plan) = account.notes.try_check("plan", FindingCode::ObjectNotRestored, plan, planned)? else {
        return Ok(());
    };
    let blockers: Vec<String> = plan.blockers().map(|blocker| blocker.message.clone()).collect();
    if !blockers.is_empty() {
        for message in blockers {
            account.notes.find(FindingCode::ObjectNotRestored, None, message);
        }
        account.end_phase("rebuild");
        return Ok(());
    }
    let options = Options {
        journal: scratch.path("journal"),
        concurrency: Concurrency::default(),
        holder: format!("lifeboat drill {id}"),
    };
    let track = Track::default();
    let work = restore_objects::perform(&opened.backup, reached.cluster.clone(), &plan, &options, &track);
    let report = Box::pin(work).await;
    let done = |report: &Report| format!("{} objects created, {} were there", report.created, report.unchanged);
    let report = account.notes.try_check("restore", FindingCode::ObjectNotRestored, report, done)?;
    account.end_phase("rebuild");
    let Some(report) = report else { return Ok(()) };
    for (object, message) in report.failed.named(&plan).chain(report.blocked.named(&plan)) {
        account.notes.find(FindingCode::ObjectNotRestored, Some(object), message);
    }
    for (object, message) in report.differing.named(&plan) {
        account.notes.warn(format!("{object}: {message}"));
    }
    compare(account, opened, &reached.cluster).await?;
    checks::run(account, request, reached).await
}

async fn plan(opened: &Opened, cluster: &Cluster) -> Result<Plan> {
    let expression = Expression::compile(NOT_THE_SYSTEMS).map_err(Error::Usage)?;
    let wanted = restore_objects::Request { expression: Some(expression), ..restore_objects::Request::default() };
    let track = Track::default();
    let work = restore_objects::plan(&opened.backup, cluster.clone(), &wanted, Concurrency::default(), &track);
    Box::pin(work).await
}

/// Whether everything is there, by planning once more: there must be nothing left to create.
async fn compare(account: &mut Account, opened: &Opened, cluster: &Cluster) -> Result<()> {
    let again = plan(opened, cluster).await?;
    let counts = again.counts();
    for entry in again.entries().iter().filter(|entry| matches!(entry.verdict, Verdict::Create { .. })) {
        let name = again.name(entry);
        account.notes.find(FindingCode::ObjectNotRestored, Some(name), "it was restored, and is not there");
    }
    let detail = format!(
        "{} objects as in the backup, {} otherwise, {} not there",
        counts.unchanged, counts.leave, counts.create
    );
    account.notes.result("compare", counts.create == 0, detail);
    account.restored();
    account.end_phase("compare");
    Ok(())
}

/// Namespaces that an empty cluster does not have.
pub(super) async fn foreign_namespaces(cluster: &Cluster) -> Result<Vec<String>> {
    let namespaces = GroupResource { group: String::new(), resource: "namespaces".to_owned() };
    let mut found = Vec::new();
    each(cluster, &namespaces, |object| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if !is_initial(name) {
            found.push(name.to_owned());
        }
    })
    .await?;
    Ok(found)
}

/// Looks at every object of a resource.
pub(super) async fn each(cluster: &Cluster, resource: &GroupResource, mut look: impl FnMut(&Value)) -> Result<()> {
    let types = cluster.discover().await?.types;
    let kind: Option<ResourceType> = types.into_iter().find(|kind| kind.group_resource() == *resource);
    let kind = kind.ok_or_else(|| Error::NoObject(format!("the cluster does not serve {resource}")))?;
    let mut listing = cluster.list_all(vec![kind], LISTS);
    while let Some((_, event)) = listing.next().await {
        match event {
            ListEvent::Page(page) => {
                for json in page.objects() {
                    let object = serde_json::from_slice(json);
                    look(&object.map_err(|error| Error::Inconsistent(format!("{resource}: {error}")))?);
                }
            }
            ListEvent::Failed(error) => return Err(error.into()),
            ListEvent::Finished { .. } | ListEvent::Restarted { .. } => {}
        }
    }
    Ok(())
}

/// How often a check is tried again.
pub(super) const POLL: Duration = Duration::from_millis(500);
