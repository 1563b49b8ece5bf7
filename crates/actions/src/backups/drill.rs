//! `drill.run`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lifeboat_archive::Identities;
use lifeboat_model::{DrillTargets, Tier};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, NoInverse, ObjectRef, Permit, Proof, Repeat, Statement, StepContext,
    StepPlan, Undo, Writes,
};
use lifeboat_recovery::drill::{DrillRef, Outcome, Request, Target, run, show};
use lifeboat_recovery::{BackupRef, Catalog, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backups, Sources, apart, catalog, find, told};

/// How long workloads may take; these tiers have none.
const READY_WITHIN: Duration = Duration::from_mins(5);

/// The action `drill.run`.
#[derive(Debug)]
pub(crate) struct Drill {
    backups: Arc<dyn Backups>,
}

impl Drill {
    pub(crate) fn new(backups: Arc<dyn Backups>) -> Self {
        Self { backups }
    }
}

fn latest() -> String {
    BackupRef::Latest.to_string()
}

/// Of which backup, and how deep.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// `latest`, `latest-verified`, or a backup's id. `latest` is the latest when the step runs.
    #[serde(default = "latest")]
    backup: String,
    /// 0: every part is opened and proved. 1: etcd boots from it.
    #[serde(default)]
    #[schemars(range(max = 1))]
    tier: u8,
    /// The file of the recovery key. Without it, tier 0 holds what is stored to the signed digests, and opens nothing.
    #[serde(default)]
    identity: Option<String>,
}

impl Inputs {
    fn backup(&self) -> Result<BackupRef, ActionError> {
        self.backup.parse().map_err(ActionError::denied)
    }

    fn tier(&self) -> Result<Tier, ActionError> {
        let tier = Tier::try_from(self.tier).map_err(ActionError::denied)?;
        if tier > Tier::Etcd {
            return Err(ActionError::denied(format!("tier {} is for 'lifeboat drill run'", self.tier)));
        }
        Ok(tier)
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The drill's id.
    id: String,
    /// The id of the backup that was drilled.
    backup: String,
    /// What was found, each kind once; of a backup that restores, nothing.
    findings: Vec<String>,
}

const ONLY_ADDED: &str = "a report is only added";

const DESCRIPTION: &str = "\
Proves a backup, as `lifeboat drill run` does in its tiers 0 and 1, and keeps the signed report in the store: from then on \
`latest-verified` knows it. Tier 1 needs the recovery key, `etcd` and `etcdutl` on this machine, and room for the data \
directory.

Without a recovery key tier 0 sees that the manifest and every stored part are as they were signed. Whether they open, and \
what is in them, is then not known, and the proof says so.

The step is `failed` where the backup does not restore, with the codes of what was found; `lifeboat drill show` has the \
details. It is proved that the report, read again, has the signature of a trusted key and says the same.";

#[async_trait]
impl Action for Drill {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "drill.run",
            summary: "Prove a backup, down to an etcd that boots from it",
            description: DESCRIPTION,
            permissions: &[],
            attack: &[],
            defend: &["D3-RO"],
            undo: Undo::No(ONLY_ADDED),
            repeat: Repeat::Safe,
            example: "- id: drill\n  uses: drill.run\n  timeout: 30m\n  with: {backup: latest, tier: 1, identity: \
                      /media/usb/recovery.key}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let (wanted, tier) = (inputs.backup()?, inputs.tier()?);
        self.backups.request(Sources::NONE)?;
        let identities = self.identities(inputs)?;
        let catalog = catalog(self.backups.as_ref(), context).await?;
        let object = ObjectRef {
            api_version: "lifeboat.dev/v1alpha1".to_owned(),
            kind: "Drill".to_owned(),
            name: format!("of backup {wanted}, tier {}", tier.number()),
            ..ObjectRef::default()
        };
        let change = Change {
            id: "drill".to_owned(),
            verb: "store the report of".to_owned(),
            object,
            fields: Vec::new(),
            irreversible: Some(ONLY_ADDED.to_owned()),
            loses: None,
        };
        let mut plan = StepPlan { changes: vec![change], ..StepPlan::default() };
        match find(&catalog, wanted.clone()).await {
            Ok(_) => {}
            // An earlier step may be about to take one.
            Err(Error::NoBackup { .. }) if wanted == BackupRef::Latest => {
                plan.warnings.push("there is no backup yet".to_owned());
            }
            Err(error) => return Err(told(error)),
        }
        if identities.is_none() {
            plan.warnings.push("without a recovery key nothing of the backup is opened".to_owned());
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
        let hold = async |_: Permit| self.hold(inputs, context).await;
        let outcome = writes.write("drill", Inverse::None, hold).await?;
        let findings: Vec<String> = outcome.codes.iter().map(ToString::to_string).collect();
        if !outcome.restores {
            let words = format!("backup {} does not restore: {}", outcome.backup, findings.join(", "));
            return Err(ActionError::failed(words));
        }
        Ok(Outputs { id: outcome.id.to_string(), backup: outcome.backup, findings })
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let catalog = catalog(self.backups.as_ref(), context).await?;
        let wanted = DrillRef::Id(outputs.id.clone());
        let report = apart(move || async move { show(&catalog, &wanted, None).await }).await.map_err(told)?;
        let is_same = report.restores && report.backup == outputs.backup && report.tier.number() == inputs.tier;
        if !is_same {
            return Ok(Proof::NotObserved(format!("the stored report of drill {} says something else", report.id)));
        }
        let what = match (inputs.tier, &inputs.identity) {
            (0, None) => "manifest and stored parts are as they were signed, and nothing was opened",
            (0, Some(_)) => "every part was opened and is as it was signed",
            _ => "every part was opened, and etcd booted from it",
        };
        Ok(Proof::Observed(format!("backup {}: {what}; the report of drill {} is signed", report.backup, report.id)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Drill {
    fn identities(&self, inputs: &Inputs) -> Result<Option<Arc<Identities>>, ActionError> {
        let file = inputs.identity.as_deref().map(Path::new);
        if file.is_none() && inputs.tier > 0 {
            return Err(ActionError::denied(
                "tier 1 opens the backup: name the file of the recovery key as 'identity'",
            ));
        }
        file.map(|file| self.backups.identities(file).map(Arc::new)).transpose()
    }

    async fn hold(&self, inputs: &Inputs, context: &StepContext) -> Result<Outcome, ActionError> {
        let keys = self.backups.request(Sources::NONE)?;
        let place = self.backups.workplace();
        let request = Request {
            tier: inputs.tier()?,
            target: Target::Local,
            checks: Vec::new(),
            ready_within: READY_WITHIN,
            environment: Vec::new(),
            identities: self.identities(inputs)?,
            programs: place.programs,
            encryption_config: None,
            api_server_args: Vec::new(),
            scratch: place.scratch,
            targets: DrillTargets::default(),
            signer: Some(keys.signer),
            tool: keys.tool,
            keep: false,
        };
        let wanted = inputs.backup()?;
        let ended = context.cancelled().child_token();
        let recovery = self.backups.context(ended.clone()).await?;
        let _ended = ended.drop_guard();
        let held = apart(move || async move {
            let catalog = Catalog::open(recovery).await?;
            Ok(run(&catalog, &wanted, request).await?.outcome)
        });
        held.await.map_err(told)
    }
}
