//! `backup.create`.

use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_model::{BackupId, BackupState};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, NoInverse, ObjectRef, Permission, Permit, Proof, Repeat, Statement,
    StepContext, StepPlan, Undo, Writes,
};
use lifeboat_recovery::backup::{Outcome, Request, Source, create_as};
use lifeboat_recovery::{BackupRef, Catalog, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backups, Sources, apart, catalog, find, number, told};
use crate::api::{Connection, refused};
use crate::planning::review;

/// The action `backup.create`.
#[derive(Debug)]
pub(crate) struct Create {
    connection: Connection,
    backups: Arc<dyn Backups>,
}

impl Create {
    pub(crate) fn new(connection: Connection, backups: Arc<dyn Backups>) -> Self {
        Self { connection, backups }
    }
}

fn yes() -> bool {
    true
}

/// What goes into it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The snapshot of etcd, where etcd is configured.
    #[serde(default = "yes")]
    etcd: bool,
    /// The objects of the API.
    #[serde(default = "yes")]
    objects: bool,
}

/// What was taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The backup's id.
    id: String,
    /// `Complete` or `Partial`.
    state: String,
    /// How many objects it has. Not told where the run was killed after the backup was there: the count is sealed.
    objects: Option<u64>,
    /// What was expected and not captured, and why.
    gaps: Vec<String>,
}

const PERMISSIONS: &[Permission] = &[Permission { group: "*", resource: "*", verbs: &["get", "list"] }];

const ONLY_ADDED: &str = "a backup is only added; 'backup prune' removes it when the rules of retention say so";

const DESCRIPTION: &str = "\
Takes a backup into the configured store, as `lifeboat backup create` does: the objects of the API, and etcd where it is \
configured, sealed to the configured recipients and signed with the configured key. Give the step a `timeout` that is long \
enough for the cluster.

The store, the cluster's name in it and the keys come from the configuration; without one the plan is refused. So it is \
where the store knows another cluster by this name.

It is proved that the backup is in the catalog, and that its manifest, read again, has the signature of a trusted key; every \
part was read back before. What was expected and not captured is named, the backup is `Partial`, and the step is then \
`unverified`. A backup that was finished before a kill is found again and not taken twice.";

#[async_trait]
impl Action for Create {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "backup.create",
            summary: "Take a backup",
            description: DESCRIPTION,
            permissions: PERMISSIONS,
            attack: &[],
            defend: &["D3-RO"],
            undo: Undo::No(ONLY_ADDED),
            repeat: Repeat::Safe,
            example: "- id: backup\n  uses: backup.create\n  timeout: 30m\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let request = self.request(inputs)?;
        let catalog = catalog(self.backups.as_ref(), context).await?;
        let name = catalog.context().cluster.to_string();
        let object = ObjectRef {
            api_version: "lifeboat.dev/v1alpha1".to_owned(),
            kind: "Backup".to_owned(),
            name: format!("of {name}"),
            ..ObjectRef::default()
        };
        let change = Change {
            id: "backup".to_owned(),
            verb: "create".to_owned(),
            object,
            fields: Vec::new(),
            irreversible: Some(ONLY_ADDED.to_owned()),
            loses: None,
        };
        let mut plan = StepPlan { changes: vec![change], ..StepPlan::default() };
        if inputs.objects {
            let api = self.connection.api().await?;
            let ours = api.cluster.cluster_id().await.map_err(refused)?;
            if let Some(theirs) = catalog.cluster_id().filter(|theirs| *theirs != ours) {
                let words = format!("the store's '{name}' is cluster {theirs}, and this is cluster {ours}");
                return Err(ActionError::denied(words));
            }
            review(&api, &mut plan, PERMISSIONS, None).await?;
        }
        if let Source::Skip(reason) = &request.etcd {
            plan.warnings.push(format!("etcd will not be in it: {reason}"));
        }
        if let Source::Skip(reason) = &request.kubernetes {
            plan.warnings.push(format!("no objects will be in it: {reason}"));
        }
        Ok(plan)
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let record = context.record();
        let step = record.as_ref().and_then(|record| record.step(context.step()));
        let again = step.is_some_and(|step| !step.writes.is_empty());
        writes.write("backup", Inverse::None, async |permit| self.take(&permit, inputs, context, again).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let catalog = catalog(self.backups.as_ref(), context).await?;
        let backup = find(&catalog, BackupRef::Id(outputs.id.clone())).await.map_err(told)?;
        let manifest = backup.manifest();
        let (id, parts, bytes) = (&manifest.id, manifest.parts.len(), manifest.stored_bytes());
        let seen = format!(
            "backup {id} is in the catalog with {parts} parts of {bytes} bytes, its manifest signed by a trusted key"
        );
        Ok(match manifest.state {
            BackupState::Complete => Proof::Observed(seen),
            BackupState::Partial => Proof::NotObserved(format!("{seen}; it is Partial: {}", outputs.gaps.join("; "))),
        })
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Create {
    fn request(&self, inputs: &Inputs) -> Result<Request, ActionError> {
        if !(inputs.etcd || inputs.objects) {
            return Err(ActionError::denied("neither etcd nor objects are wanted"));
        }
        self.backups.request(Sources { etcd: inputs.etcd, objects: inputs.objects })
    }

    async fn take(
        &self,
        permit: &Permit,
        inputs: &Inputs,
        context: &StepContext,
        again: bool,
    ) -> Result<Outputs, ActionError> {
        let request = self.request(inputs)?;
        let ended = context.cancelled().child_token();
        let recovery = self.backups.context(ended.clone()).await?;
        let _ended = ended.drop_guard();
        let number = number(permit);
        if again {
            let catalog = catalog(self.backups.as_ref(), context).await?;
            if let Some(outputs) = taken(&catalog, number, context).await? {
                return Ok(outputs);
            }
        }
        let id = BackupId::new(context.now(), number);
        let taken = apart(move || async move { create_as(&recovery, id, request, Progress::default()).await });
        let Outcome { manifest, coverage } = taken.await.map_err(told)?;
        let gap = |gap: &lifeboat_model::Gap| format!("{}: {}", gap.resource, gap.reason);
        Ok(Outputs {
            id: manifest.id.to_string(),
            state: manifest.state.to_string(),
            objects: Some(coverage.objects()),
            gaps: coverage.gaps.iter().map(gap).collect(),
        })
    }
}

/// The backup that this write made before the run was killed.
async fn taken(catalog: &Catalog, number: u64, context: &StepContext) -> Result<Option<Outputs>, ActionError> {
    let since = context.run().started();
    let catalog = catalog.clone();
    let listing = apart(move || async move { catalog.list().await }).await.map_err(told)?;
    let ours = listing.backups.into_iter().map(|entry| entry.manifest).find(|manifest| {
        let began = manifest.id.started();
        began >= since && began.is_some_and(|began| BackupId::new(began, number) == manifest.id)
    });
    Ok(ours.map(|manifest| Outputs {
        id: manifest.id.to_string(),
        state: manifest.state.to_string(),
        objects: None,
        gaps: if manifest.state == BackupState::Partial {
            vec!["its coverage says what is missing".to_owned()]
        } else {
            Vec::new()
        },
    }))
}
