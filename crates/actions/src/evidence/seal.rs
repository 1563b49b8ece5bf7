//! `evidence.seal`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_model::{BackupId, Digest};
use lifeboat_playbook::{
    Action, ActionError, Change, Inverse, Journals, NoInverse, ObjectRef, Permit, Proof, Repeat, RunRecord, Statement,
    StepContext, StepPlan, Undo, Writes, markdown,
};
use lifeboat_recovery::evidence::{Content, Item, Outcome, Request, list, read_bundle, seal, verify};
use lifeboat_recovery::{Catalog, Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EvidenceFolder;
use crate::api::{Connection, refused};
use crate::backups::{Backups, Sources, apart, number, told};

/// The action `evidence.seal`.
#[derive(Debug)]
pub(crate) struct Seal {
    connection: Connection,
    backups: Arc<dyn Backups>,
    folder: EvidenceFolder,
    journals: Arc<dyn Journals>,
}

impl Seal {
    pub(crate) fn new(
        connection: Connection,
        backups: Arc<dyn Backups>,
        folder: EvidenceFolder,
        journals: Arc<dyn Journals>,
    ) -> Self {
        Self { connection, backups, folder, journals }
    }
}

/// Nothing is asked: it is the evidence of the run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {}

/// What was sealed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The bundle's id.
    bundle: String,
    /// How many files are in it. Not told where the run was killed after it was sealed: the list is sealed.
    files: Option<u64>,
    /// SHA-256 of what is stored.
    sha256: String,
    /// What is not in it, or not as it was taken.
    problems: Vec<String>,
}

const ONLY_ADDED: &str = "a bundle is only added";

const DESCRIPTION: &str = "\
Seals what the run has into one bundle in the configured store: its journal so far, its plan, the event that started it, its \
report, and all the files that its steps put into the folder of evidence. Each has its SHA-256 in a list, which is sealed too; \
the bundle is sealed to the configured recipients, and signed with the configured key. Where the store has Object Lock \
configured, it is locked like a backup. It opens with stock tools, by commands in the book.

A file that is not as it was taken, or cannot be read, is named, and the step is then `unverified`; so are files over 64 MiB and \
what goes beyond 1 GiB in all, which stay out. What later steps do is not in it: seal again at the end, in `finally`.

It is proved by reading the bundle again: the signature of a trusted key, and the digest of every stored byte. `lifeboat run \
verify RUN --bundle` does the same with public keys alone, and with the recovery key holds every file to its digest. A bundle \
that was finished before a kill is found again.";

#[async_trait]
impl Action for Seal {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "evidence.seal",
            summary: "Seal the evidence of the run into the store",
            description: DESCRIPTION,
            permissions: &[],
            attack: &["T1070"],
            defend: &["D3-CI"],
            undo: Undo::No(ONLY_ADDED),
            repeat: Repeat::Safe,
            example: "- id: seal\n  uses: evidence.seal\n",
        }
    }

    async fn plan(&self, _: &Inputs, context: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        self.backups.request(Sources::NONE)?;
        let recovery = self.backups.context(context.cancelled().clone()).await?;
        let name = recovery.cluster.to_string();
        self.cluster_id(&recovery).await?;
        let object = ObjectRef {
            api_version: "lifeboat.dev/v1alpha1".to_owned(),
            kind: "Evidence".to_owned(),
            name: format!("of the run, in the store of {name}"),
            ..ObjectRef::default()
        };
        let change = Change {
            id: "seal".to_owned(),
            verb: "seal".to_owned(),
            object,
            fields: Vec::new(),
            irreversible: Some(ONLY_ADDED.to_owned()),
            loses: None,
        };
        Ok(StepPlan { changes: vec![change], ..StepPlan::default() })
    }

    async fn apply(
        &self,
        _: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let record = context.record().ok_or_else(|| ActionError::failed("no run is under way"))?;
        let again = record.step(context.step()).is_some_and(|step| !step.writes.is_empty());
        writes.write("seal", Inverse::None, async |permit| self.seal(&permit, &record, context, again).await).await
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
        let recovery = self.backups.context(context.cancelled().clone()).await?;
        let (run, id) = (run_id(context)?, parse(&outputs.bundle)?);
        let checked = apart(move || async move { verify(&recovery, &run, &id, None).await }).await.map_err(told)?;
        let bad = checked.report.checks.iter().filter(|check| !check.ok).map(|check| check.detail.clone());
        let bad: Vec<String> =
            bad.chain(checked.report.not_checked.iter().filter(|_| checked.bundle.is_none()).cloned()).collect();
        let Some(bundle) = checked.bundle.filter(|_| bad.is_empty()) else {
            return Ok(Proof::NotObserved(format!("the bundle is not as it was sealed: {}", bad.join("; "))));
        };
        let bytes = bundle.evidence.stored_bytes;
        let words = format!(
            "bundle {} of {bytes} bytes was read again: signed by a trusted key, and every byte as it was signed",
            outputs.bundle
        );
        Ok(if outputs.problems.is_empty() {
            Proof::Observed(words)
        } else {
            Proof::NotObserved(format!("{words}; {}", outputs.problems.join("; ")))
        })
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

fn parse(id: &str) -> Result<BackupId, ActionError> {
    id.parse().map_err(|error| ActionError::failed("no id of the store").because(error))
}

fn run_id(context: &StepContext) -> Result<BackupId, ActionError> {
    parse(context.run().as_str())
}

impl Seal {
    /// The cluster's id, as the store has it, if it does.
    async fn cluster_id(&self, recovery: &Context) -> Result<String, ActionError> {
        let opened = recovery.clone();
        let catalog = apart(move || Catalog::open(opened)).await.map_err(told)?;
        let ours = self.connection.api().await?.cluster.cluster_id().await.map_err(refused)?;
        match catalog.cluster_id() {
            Some(theirs) if theirs != ours => {
                let name = &recovery.cluster;
                Err(ActionError::denied(format!(
                    "the store's '{name}' is cluster {theirs}, and this is cluster {ours}"
                )))
            }
            _ => Ok(ours),
        }
    }

    async fn seal(
        &self,
        permit: &Permit,
        record: &RunRecord,
        context: &StepContext,
        again: bool,
    ) -> Result<Outputs, ActionError> {
        let keys = self.backups.request(Sources::NONE)?;
        let ended = context.cancelled().child_token();
        let recovery = self.backups.context(ended.clone()).await?;
        let _ended = ended.drop_guard();
        let (run, number) = (run_id(context)?, number(permit));
        if again && let Some(outputs) = sealed(&recovery, &run, number).await? {
            return Ok(outputs);
        }
        let stored = self.journals.read(context.run()).await;
        let stored = stored.map_err(|error| ActionError::failed("the journal cannot be read").because(error))?;
        let request = Request {
            id: BackupId::new(context.now(), number),
            run,
            cluster_id: self.cluster_id(&recovery).await?,
            journal: stored.bytes,
            items: self.items(record, context).await?,
            recipients: keys.recipients,
            signer: keys.signer,
            tool: keys.tool,
        };
        let done = apart(move || async move { seal(&recovery, request).await });
        let Outcome { bundle, contents } = done.await.map_err(told)?;
        Ok(Outputs {
            bundle: bundle.id.to_string(),
            files: Some(contents.items.len() as u64),
            sha256: bundle.evidence.stored_sha256.to_string(),
            problems: contents.problems,
        })
    }

    /// What the run has besides its journal.
    async fn items(&self, record: &RunRecord, context: &StepContext) -> Result<Vec<Item>, ActionError> {
        let plan = serde_json::to_vec_pretty(&record.plan)
            .map_err(|error| ActionError::failed("the plan cannot be written down").because(error))?;
        let mut items = vec![
            own("plan.json", "the plan that was agreed to", plan),
            own("report.md", "the report of the run so far", markdown(record).into_bytes()),
        ];
        if let Some(trigger) = &record.plan.request.trigger {
            let event = serde_json::to_vec_pretty(trigger)
                .map_err(|error| ActionError::failed("the event cannot be written down").because(error))?;
            items.push(own("event.json", "the event that started the run, with all that its source said", event));
        }
        let taken = taken(record);
        for (path, file) in self.folder.files(context.run()).await? {
            let known = taken.get(&path);
            let what = known.map_or_else(|| "a file of a step".to_owned(), |(what, _)| what.clone());
            let digest = known.map(|(_, sha256)| *sha256);
            items.push(Item { path: within(&path), what, content: Content::File(file), taken: digest });
        }
        // What was taken and is not there any more is told by name.
        let there: Vec<&str> = items.iter().map(|item| item.path.as_str()).collect();
        let gone: Vec<&String> = taken.keys().filter(|path| !there.contains(&within(path).as_str())).collect();
        let gone: Vec<Item> = gone.into_iter().map(|path| self.missing(path)).collect();
        items.extend(gone);
        Ok(items)
    }

    fn missing(&self, path: &str) -> Item {
        let content = Content::File(self.folder.root().join(path));
        Item { path: within(path), what: "gone".to_owned(), content, taken: None }
    }
}

fn own(path: &str, what: &str, bytes: Vec<u8>) -> Item {
    Item { path: path.to_owned(), what: what.to_owned(), content: Content::Bytes(bytes), taken: None }
}

/// The place in the bundle of a file of the folder of evidence, whose path begins with the run.
fn within(path: &str) -> String {
    let path = path.split_once('/').map_or(path, |(_, path)| path);
    format!("evidence/{path}")
}

/// The files that steps say they have put into the folder, with what they are and their digests.
fn taken(record: &RunRecord) -> BTreeMap<String, (String, Digest)> {
    let mut found = BTreeMap::new();
    for outputs in record.steps.iter().filter_map(|step| step.outputs.as_ref()) {
        let items = outputs.get("evidence").and_then(Value::as_array).into_iter().flatten();
        let items = items.filter_map(|item| super::Item::deserialize(item).ok());
        found.extend(items.filter_map(|item| Some((item.path, (item.what, item.sha256.parse().ok()?)))));
    }
    found
}

/// The bundle that this write made before the run was killed.
async fn sealed(recovery: &Context, run: &BackupId, number: u64) -> Result<Option<Outputs>, ActionError> {
    let (recovery, run) = (recovery.clone(), run.clone());
    let found = apart(move || async move {
        for id in list(&recovery, &run).await? {
            let ours = id.started().is_some_and(|began| BackupId::new(began, number) == id);
            if ours && let Ok(bundle) = read_bundle(&recovery, &run, &id).await {
                return Ok(Some(bundle));
            }
        }
        Ok(None)
    });
    let found = found.await.map_err(told)?;
    Ok(found.map(|bundle| Outputs {
        bundle: bundle.id.to_string(),
        files: None,
        sha256: bundle.evidence.stored_sha256.to_string(),
        problems: Vec::new(),
    }))
}
