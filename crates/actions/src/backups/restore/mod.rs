//! `restore.fromBackup`.

mod former;
mod shown;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_archive::Identities;
use lifeboat_kubernetes::Cluster;
use lifeboat_model::{Digest, ResourceArg, ResourceType};
use lifeboat_playbook::{
    Action, ActionError, Inverse, Permission, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use lifeboat_recovery::restore_objects::{
    Concurrency, Mode, Options, Plan, Report, Request, Settings, Unfinished, Verdict, perform, plan, resume,
};
use lifeboat_recovery::{BackupRef, Catalog, Class, Error, OpenBackup, Selection, Track};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::undo::Undone;
use super::{Backups, apart, told};
use crate::api::Connection;
use crate::evidence::EvidenceFolder;

/// The most objects that one step restores: each is in the plan, and what undoes it in the journal.
const MAX_OBJECTS: usize = 2_000;

/// The action `restore.fromBackup`.
#[derive(Debug)]
pub(crate) struct Restore {
    connection: Connection,
    backups: Arc<dyn Backups>,
    folder: EvidenceFolder,
}

impl Restore {
    pub(crate) fn new(connection: Connection, backups: Arc<dyn Backups>, folder: EvidenceFolder) -> Self {
        Self { connection, backups, folder }
    }
}

fn latest() -> String {
    BackupRef::Latest.to_string()
}

/// What of which backup.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// `latest`, `latest-verified`, or a backup's id: the one that it is when the plan is made.
    #[serde(default = "latest")]
    backup: String,
    /// The file of the recovery key.
    identity: String,
    /// Only of these namespaces.
    #[serde(default)]
    namespaces: Vec<String>,
    /// Only of these kinds, as `deployments.apps`, `deploy` or `Deployment`.
    #[serde(default)]
    kinds: Vec<String>,
    /// Only of these names.
    #[serde(default)]
    names: Vec<String>,
    /// Only with these labels, as kubectl has it: `app=web,tier!=db`.
    #[serde(default)]
    selector: Option<String>,
    /// Bring back all that differs between backup and cluster: what is there and is not as in the backup is made equal. Without
    /// it, only what is missing is made, and what is there is left as it is.
    #[serde(default)]
    changed: bool,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The backup's id.
    backup: String,
    /// Objects that were missing and are there.
    created: u64,
    /// Objects that were made equal.
    applied: u64,
    /// Objects that could not be restored, with the reason.
    failed: Vec<String>,
    /// Objects that were restored and are not quite as in the backup, with what differs.
    differing: Vec<String>,
}

/// An object that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Planned {
    resource: ResourceType,
    namespace: Option<String>,
    name: String,
    /// What is there, where it is made equal: its UID, and the digest of its canonical form.
    there: Option<(String, Digest)>,
}

/// What the plan saw.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Memo {
    backup: String,
    manifest: Digest,
    objects: Vec<Planned>,
}

const PERMISSIONS: &[Permission] = &[
    Permission { group: "*", resource: "*", verbs: &["get", "list", "create", "update", "patch", "delete"] },
    Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["get", "create", "update", "delete"] },
];

const DESCRIPTION: &str = "\
Brings objects back from a backup, by the same plan and the same rules as `lifeboat restore objects`. The plan names each \
object with what happens to it, and the backup is pinned in it: if the cluster differs when the step runs, or the backup is \
not the same, nothing is written. At most 2,000 objects are written by one step.

The recovery key is named by its file, and is in no plan and no journal. RBAC below is for whatever a backup may have; which \
permissions are missing for just these objects is in the plan.

It is proved by planning once more: of what was to be restored, nothing may be missing, nor differ if `changed` was asked for. \
Objects that could not be restored are named, and the step is then `unverified`.

A rollback deletes what was created, by its UID and only if it still says that it is from this backup; namespaces, \
definitions, claims and volumes stay, since other things would go with them. What was made equal is put back as it was, \
unless somebody changed it since: the former objects are kept beside the run's evidence, sealed to the recovery key that was \
given, which the rollback needs in the same file. Whoever made the former state, an attacker say, has it back then.";

#[async_trait]
impl Action for Restore {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = Undone;

    fn statement(&self) -> Statement {
        Statement {
            name: "restore.fromBackup",
            summary: "Bring objects back from a backup",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &["T1485", "T1486", "T1565.001"],
            defend: &["D3-RO"],
            undo: Undo::Partly("namespaces, definitions, claims and volumes that were created stay"),
            repeat: Repeat::Safe,
            example: "- id: restore\n  uses: restore.fromBackup\n  timeout: 30m\n  with: {backup: latest-verified, identity: \
                      /media/usb/recovery.key, namespaces: [shop], changed: true}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let wanted: BackupRef = inputs.backup.parse().map_err(ActionError::denied)?;
        let source = self.source(inputs, wanted, context).await?;
        let made = source.plan(inputs.request()?).await.map_err(told)?;
        shown::plan(&made, &source)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        plan: &StepPlan<Outputs>,
        writes: &mut Writes<'_, Undone>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let memo: Memo = plan.recall()?;
        if memo.objects.is_empty() {
            return Ok(Outputs {
                backup: memo.backup,
                created: 0,
                applied: 0,
                failed: Vec::new(),
                differing: Vec::new(),
            });
        }
        let source = self.source(inputs, BackupRef::Id(memo.backup.clone()), context).await?;
        if source.open.backup().sha256() != memo.manifest {
            return Err(ActionError::denied(format!("backup {} has another manifest than in the plan", memo.backup)));
        }
        let former = if memo.objects.iter().any(|object| object.there.is_some()) {
            let keep = async |permit: Permit| former::keep(self, &permit, &source, &memo.objects, context).await;
            Some(writes.write("keep", Inverse::None, keep).await?)
        } else {
            None
        };
        let inverse = Undone {
            backup: memo.backup.clone(),
            identity: inputs.identity.clone(),
            inputs: inputs.clone(),
            former,
            objects: memo.objects.clone(),
        };
        let journal = self.folder.file(context, "restore.journal")?;
        let restore = async |_: Permit| source.perform(inputs, &memo, journal, context).await;
        writes.write("restore", Inverse::By(inverse), restore).await
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let source = self.source(inputs, BackupRef::Id(outputs.backup.clone()), context).await?;
        let made = source.plan(inputs.request()?).await.map_err(told)?;
        let left: Vec<String> =
            made.entries().iter().filter(|entry| entry.verdict.acts()).map(|entry| made.name(entry)).collect();
        let counts = made.counts();
        let backup = &outputs.backup;
        let mut words = format!("{} objects are as in backup {backup}", counts.unchanged);
        if counts.leave > 0 {
            words = format!("{words}, and {} are there and differ, as before", counts.leave);
        }
        if left.is_empty() && outputs.failed.is_empty() && counts.blocked == 0 {
            return Ok(Proof::Observed(words));
        }
        let named = shown::some(left.into_iter().chain(outputs.failed.iter().cloned()));
        Ok(Proof::NotObserved(format!("{words}; not restored, or different again: {named}")))
    }

    async fn undo(&self, inverse: Undone, permit: &Permit, context: &StepContext) -> Result<Proof, ActionError> {
        undo::undo(self, inverse, permit, context).await
    }
}

impl Inputs {
    fn request(&self) -> Result<Request, ActionError> {
        let labels = self.selector.as_deref().map(str::parse).transpose().map_err(ActionError::denied)?;
        let kinds = self.kinds.iter().map(|kind| kind.parse::<ResourceArg>());
        Ok(Request {
            selection: Selection {
                kinds: kinds.collect::<Result<_, _>>().unwrap_or_default(),
                namespaces: self.namespaces.clone(),
                names: self.names.clone(),
                labels,
            },
            expression: None,
            settings: Settings { mode: if self.changed { Mode::Apply } else { Mode::Skip }, ..Settings::default() },
        })
    }
}

/// An opened backup and the cluster. What is under way with them ends with this value.
struct Source {
    open: OpenBackup,
    identities: Arc<Identities>,
    cluster: Cluster,
    _ended: tokio_util::sync::DropGuard,
}

impl Restore {
    async fn source(&self, inputs: &Inputs, wanted: BackupRef, context: &StepContext) -> Result<Source, ActionError> {
        let identities = Arc::new(self.backups.identities(Path::new(&inputs.identity))?);
        let token = context.cancelled().child_token();
        let recovery = self.backups.context(token.clone()).await?;
        let given = Arc::clone(&identities);
        let open = apart(move || async move {
            let catalog = Catalog::open(recovery).await?;
            OpenBackup::open(catalog.get(&wanted).await?, given).await
        });
        let open = open.await.map_err(told)?;
        let cluster = self.connection.api().await?.cluster;
        Ok(Source { open, identities, cluster, _ended: token.drop_guard() })
    }
}

impl Source {
    /// What a restore would do now.
    async fn plan(&self, request: Request) -> Result<Plan, Error> {
        let (open, cluster) = (self.open.clone(), self.cluster.clone());
        apart(move || async move { plan(&open, cluster, &request, Concurrency::default(), &Track::default()).await })
            .await
    }

    /// Does what the plan said, or goes on with it.
    async fn perform(
        &self,
        inputs: &Inputs,
        memo: &Memo,
        journal: PathBuf,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let unfinished = if journal.exists() { Some(Unfinished::read(&journal).map_err(told)?) } else { None };
        let made = match &unfinished {
            Some(unfinished) => unfinished.plan.clone(),
            None => self.plan(inputs.request()?).await.map_err(told)?,
        };
        let now = planned(&made);
        if now.is_empty() {
            // It was all done before the run was killed.
            return Ok(outputs(memo, &made, &Report::default()));
        }
        if now != memo.objects {
            return Err(ActionError::denied(
                "what would be restored is not what the plan has shown: the cluster changed",
            ));
        }
        let (open, cluster) = (self.open.clone(), self.cluster.clone());
        let holder = format!("run {}, step {}, {}", context.run(), context.step(), context.now());
        let options = Options { journal, concurrency: Concurrency::default(), holder };
        let performed = apart(move || async move {
            let track = Track::default();
            let report = match &unfinished {
                Some(unfinished) => resume(&open, cluster, unfinished, &options, &track).await?,
                None => perform(&open, cluster, &made, &options, &track).await?,
            };
            Ok((made, report))
        });
        match performed.await {
            Ok((made, report)) => Ok(outputs(memo, &made, &report)),
            // What had been done by then stays done, and is taken back with the rest.
            Err(error @ Error::Stopped { .. }) => Err(ActionError::uncertain("the restore stopped").because(error)),
            Err(error) if error.class() == Class::Failed => {
                Err(ActionError::uncertain("the restore could not be done").because(error))
            }
            Err(error) => Err(told(error)),
        }
    }
}

/// What a plan writes.
fn planned(made: &Plan) -> Vec<Planned> {
    let acting = made.entries().iter().filter(|entry| entry.verdict.acts());
    let planned = acting.filter_map(|entry| {
        let there = match entry.verdict {
            Verdict::Create { .. } => None,
            verdict => verdict.live().map(|live| (live.uid.to_string(), live.canonical)),
        };
        let (namespace, name) = (entry.namespace.map(str::to_owned), entry.name.to_owned());
        Some(Planned { resource: made.kind(entry)?.target(), namespace, name, there })
    });
    planned.collect()
}

fn outputs(memo: &Memo, made: &Plan, report: &Report) -> Outputs {
    let words = |(name, reason): (String, &str)| format!("{name}: {reason}");
    let failed = report.failed.named(made).chain(report.blocked.named(made));
    Outputs {
        backup: memo.backup.clone(),
        created: report.created,
        applied: report.applied,
        failed: failed.map(words).collect(),
        differing: report.differing.named(made).map(words).collect(),
    }
}
