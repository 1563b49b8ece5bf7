//! From the object to a plan, and from a plan to the status.

use std::path::Path;

use lifeboat_kubernetes::Cluster;
use lifeboat_model::{
    BackupId, MAX_PLANNED, PlanCounts, PlanFinding, ResourceArg, RestoreFailure, RestoreMode, RestorePlan, RestoreSpec,
    RestoreStatus,
};
use lifeboat_recovery::restore_objects::{
    Concurrency, Mode, Options, PatchSource, Plan, Report, Request, Settings, Unfinished, perform, plan, resume,
};
use lifeboat_recovery::{BackupRef, Catalog, Class, Error, Expression, OpenBackup, Selection, Track, chain};

use super::super::driver::{Failure, apart};
use super::super::{Shared, identity};

/// The findings of preflight that a status shows, at most.
const MAX_FINDINGS: usize = 50;

/// A backup, opened, and what would be done with it.
pub(super) struct Prepared {
    pub(super) open: OpenBackup,
    pub(super) plan: Plan,
}

/// Makes the plan, of that backup where one was planned with before. What the object itself is to blame for comes back as
/// words; what may pass is a failure.
pub(super) async fn prepare(
    shared: &Shared,
    spec: &RestoreSpec,
    backup: Option<&BackupId>,
) -> Result<Result<Prepared, String>, Failure> {
    let request = match request(spec) {
        Ok(request) => request,
        Err(problem) => return Ok(Err(problem)),
    };
    let identities = match identity::read(shared.client(), &shared.options.namespace, &spec.identity).await? {
        Ok(identities) => identities,
        Err(problem) => return Ok(Err(problem)),
    };
    let wanted = backup.map_or_else(|| spec.backup.parse(), |id| Ok(BackupRef::Id(id.to_string())));
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(Err(problem)),
    };
    let (context, cluster) = (shared.options.context.clone(), shared.options.cluster.clone());
    let planned = apart(async move || {
        let catalog = Catalog::open(context).await?;
        let open = OpenBackup::open(catalog.get(&wanted).await?, identities).await?;
        let plan = plan(&open, cluster, &request, Concurrency::default(), &Track::default()).await?;
        Ok::<_, Error>(Prepared { open, plan })
    });
    match planned.await? {
        Ok(prepared) => Ok(Ok(prepared)),
        Err(error) if passes(&error) => Err(error.into()),
        Err(error) => Ok(Err(chain(&error))),
    }
}

/// A plan, and what came of it.
pub(super) type Performed = (Plan, Result<Report, Error>);

/// Performs a plan.
pub(super) async fn performed(
    Prepared { open, plan }: Prepared,
    cluster: Cluster,
    options: Options,
) -> Result<Performed, Failure> {
    let performed = apart(async move || {
        let report = perform(&open, cluster, &plan, &options, &Track::default()).await;
        (plan, report)
    });
    performed.await
}

/// A backup, opened, and a plan of which some was done.
pub(super) struct Begun {
    open: OpenBackup,
    unfinished: Unfinished,
}

impl Begun {
    /// How many objects are done.
    pub(super) fn done(&self) -> usize {
        self.unfinished.done()
    }
}

/// Reads what was done of the plan that the status shows. Why it cannot be gone on with comes back as words.
pub(super) async fn begun(
    shared: &Shared,
    spec: &RestoreSpec,
    status: &RestoreStatus,
    journal: &Path,
) -> Result<Result<Begun, String>, Failure> {
    let (context, journal) = (shared.options.context.clone(), journal.to_owned());
    let unfinished = match apart(async move || Unfinished::read(&journal)).await? {
        Ok(unfinished) => unfinished,
        Err(error) => return Ok(Err(chain(&error))),
    };
    if status.plan.as_ref().is_none_or(|plan| plan.hash != unfinished.plan.hash()) {
        return Ok(Err("its journal is of another plan".to_owned()));
    }
    let identities = match identity::read(shared.client(), &shared.options.namespace, &spec.identity).await? {
        Ok(identities) => identities,
        Err(problem) => return Ok(Err(problem)),
    };
    let opened = apart(async move || {
        let wanted = BackupRef::Id(unfinished.plan.header().backup.to_string());
        let catalog = Catalog::open(context).await?;
        let open = OpenBackup::open(catalog.get(&wanted).await?, identities).await?;
        Ok::<_, Error>(Begun { open, unfinished })
    });
    match opened.await? {
        Ok(begun) => Ok(Ok(begun)),
        Err(error) if passes(&error) => Err(error.into()),
        Err(error) => Ok(Err(chain(&error))),
    }
}

/// Performs the rest of a plan.
pub(super) async fn resumed(
    Begun { open, unfinished }: Begun,
    cluster: Cluster,
    options: Options,
) -> Result<Performed, Failure> {
    let resumed = apart(async move || {
        let report = resume(&open, cluster, &unfinished, &options, &Track::default()).await;
        (unfinished.plan, report)
    });
    resumed.await
}

/// Whether the same may succeed later without a change of the object.
fn passes(error: &Error) -> bool {
    match error {
        Error::Kubernetes(error) => error.is_transient(),
        Error::Store(_) => error.class() == Class::Failed,
        _ => false,
    }
}

/// What the object asks for, as the restore takes it.
fn request(spec: &RestoreSpec) -> Result<Request, String> {
    let (chosen, changed) = (&spec.selection, &spec.transform);
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let labels = given(&chosen.label_selector).map(|text| text.parse()).transpose()?;
    let expression = given(&chosen.expression).map(|text| Expression::compile(&text)).transpose();
    let expression = expression.map_err(|problem| format!("spec.selection.expression: {problem}"))?;
    let kinds = chosen.kinds.iter().map(|text| {
        let Ok::<ResourceArg, std::convert::Infallible>(kind) = text.parse();
        kind
    });
    Ok(Request {
        selection: Selection {
            kinds: kinds.collect(),
            namespaces: chosen.namespaces.clone(),
            names: chosen.names.clone(),
            labels,
        },
        expression,
        settings: Settings {
            mode: match spec.mode {
                RestoreMode::Skip => Mode::Skip,
                RestoreMode::Apply => Mode::Apply,
                RestoreMode::Recreate => Mode::Recreate,
                RestoreMode::Exact => Mode::Exact,
            },
            include_status: changed.include_status,
            keep_node_ports: changed.keep_node_ports,
            namespaces: changed.namespaces.clone(),
            storage_classes: changed.storage_classes.clone(),
            patches: changed
                .patches
                .iter()
                .map(|patch| PatchSource { name: patch.name.clone(), text: patch.text.clone() })
                .collect(),
        },
    })
}

/// A plan as a status holds it.
pub(super) fn shown(plan: &Plan) -> RestorePlan {
    let counts = plan.counts();
    let acting = || plan.entries().iter().filter(|entry| entry.verdict.acts());
    let steps: Vec<String> = acting()
        .take(MAX_PLANNED)
        .map(|entry| RestoreFailure::new(&format!("{} {}", entry.verdict.word(), plan.name(entry)), "").object)
        .collect();
    let findings = plan.header().findings.iter().take(MAX_FINDINGS);
    RestorePlan {
        hash: plan.hash(),
        backup: plan.header().backup.clone(),
        counts: PlanCounts {
            create: counts.create,
            unchanged: counts.unchanged,
            leave: counts.leave,
            apply: counts.apply,
            recreate: counts.recreate,
            prune: counts.prune,
            skipped: counts.skipped,
            blocked: counts.blocked,
            objections: counts.objections,
        },
        findings: findings.map(|found| PlanFinding::new(found.blocks, &found.code, &found.message)).collect(),
        more_steps: u64::try_from(acting().count().saturating_sub(steps.len())).unwrap_or(u64::MAX),
        steps,
    }
}
