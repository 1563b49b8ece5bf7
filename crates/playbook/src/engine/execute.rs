//! Running a plan: the graph of steps, `finally`, and what stops them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use lifeboat_model::Digest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use super::planning::{call_inputs, items, with_item};
use super::{Engine, EngineError, hash, worst};
use crate::approval::{self, Question};
use crate::expression::{Expression, Scope};
use crate::journal::{Journal, JournalError};
use crate::playbook::Step;
use crate::{
    ActionError, Entry, FailurePolicy, ObjectRef, Outcome, Plan, PlannedStep, Playbook, Proof, RunRecord, TimeoutPolicy,
};

/// How many steps are under way at a time.
const AT_ONCE: usize = 16;
/// How long an approval is waited for, where the playbook does not say.
const APPROVAL: crate::Period = crate::Period::seconds(30 * 60);

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) playbook: &'a Playbook,
    pub(crate) journal: Journal,
    pub(crate) plan: &'a Plan,
    planned: HashMap<&'a str, &'a PlannedStep>,
    /// As the journal had it when this process began.
    before: &'a RunRecord,
    pub(crate) cancel: &'a CancellationToken,
    /// The step that aborted the run.
    aborted: Mutex<Option<String>>,
    /// What was acted on that no plan had shown.
    pub(crate) late: Mutex<BTreeSet<ObjectRef>>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) message: Option<String>,
    pub(crate) proof: Option<Proof>,
    pub(crate) outputs: Option<Value>,
}

impl Ended {
    pub(crate) fn with(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: Some(message.into()), proof: None, outputs: None }
    }
}

pub(crate) async fn execute(
    engine: &Engine,
    playbook: &Playbook,
    journal: Journal,
    cancel: &CancellationToken,
) -> Result<RunRecord, EngineError> {
    let before = journal.snapshot();
    let plan = before.plan.clone();
    let run = Run {
        engine,
        playbook,
        journal: journal.clone(),
        plan: &plan,
        planned: plan.steps.iter().map(|step| (step.step.as_str(), step)).collect(),
        before: &before,
        cancel,
        aborted: Mutex::default(),
        late: Mutex::default(),
    };
    if before.cancelled.is_some() {
        cancel.cancel();
    }
    if let Some(refused) = run.refused().await? {
        journal.append(Entry::Refused { reason: refused.clone() }).await?;
        journal.append(Entry::Ended { outcome: Outcome::Denied }).await?;
        return Ok(journal.snapshot());
    }
    let about = json!({
        "id": plan.run, "playbook": plan.playbook, "requester": plan.request.requester, "began": before.began,
        "hash": plan.hash,
    });
    let frame = Frame::new(playbook, String::new(), plan.inputs.clone(), about, &plan.request);
    let outcome = run.frame(&frame).await?;
    journal.append(Entry::Ended { outcome }).await?;
    Ok(journal.snapshot())
}

impl Run<'_> {
    /// Why the run is denied as a whole, if it is: by a guard, by people, or because the plan is not true any more.
    async fn refused(&self) -> Result<Option<String>, EngineError> {
        if !self.plan.denied.is_empty() {
            return Ok(Some(self.plan.denied.join("; ")));
        }
        let agreed = self.before.approvals.iter().any(|approval| approval.hash == self.plan.hash);
        if self.plan.approval.is_empty() || agreed {
            return Ok(None);
        }
        let text = format!(
            "{} wants to run {}: {}",
            self.plan.request.requester,
            self.plan.playbook,
            self.plan.approval.join("; ")
        );
        if let Err(reason) = self.approved(self.plan.hash, &text, self.plan.quorum).await? {
            return Ok(Some(reason));
        }
        // People take their time, and the target may be another one since.
        let again = self.engine.plan_as(self.plan.run.clone(), self.playbook, &self.plan.request, self.cancel).await;
        Ok(match again {
            Ok(again) if again.hash == self.plan.hash => None,
            Ok(again) => Some(format!(
                "what was approved is not what would be done any more: the plan has the hash {} and not {}",
                again.hash, self.plan.hash
            )),
            Err(EngineError::Cancelled) => None,
            Err(error) => Some(format!("what was approved cannot be planned any more: {error}")),
        })
    }

    /// Asks people, and journals that enough agreed.
    pub(crate) async fn approved(
        &self,
        hash: Digest,
        text: &str,
        quorum: u32,
    ) -> Result<Result<(), String>, JournalError> {
        let spec = self.playbook.spec().approval.as_ref();
        let timeout = spec.and_then(|spec| spec.timeout).unwrap_or(APPROVAL);
        let requester = &self.plan.request.requester;
        let question = Question { run: &self.plan.run, hash, text, quorum, requester };
        let answers = approval::collect(self.engine.approver.as_ref(), &question);
        let answers = tokio::time::timeout(timeout.duration(), answers);
        let by = match self.cancel.run_until_cancelled(answers).await {
            None | Some(Ok(Err(ActionError::Cancelled))) => {
                return Ok(Err("cancelled before it was approved".to_owned()));
            }
            Some(Ok(Ok(by))) => by,
            Some(Ok(Err(error))) => return Ok(Err(error.chain())),
            Some(Err(_)) if spec.is_some_and(|spec| spec.on_timeout == TimeoutPolicy::Approve) => Vec::new(),
            Some(Err(_)) => return Ok(Err(format!("not approved within {timeout}"))),
        };
        self.journal.append(Entry::Approved { hash, by }).await?;
        Ok(Ok(()))
    }

    /// The plan of a step, as it was shown.
    pub(crate) fn shown(&self, key: &str) -> Option<&PlannedStep> {
        self.planned.get(key).copied()
    }

    /// What the journal says of a step that an earlier process began.
    pub(crate) fn earlier(&self, key: &str) -> Option<&crate::StepRecord> {
        self.before.step(key)
    }

    fn aborted_by(&self) -> Option<String> {
        self.aborted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a playbook's steps and its `finally`; its outcome is the worst.
    fn frame<'f>(&'f self, frame: &'f Frame<'_>) -> BoxFuture<'f, Result<Outcome, EngineError>> {
        async move {
            let ended = self.graph(frame).await?;
            let outcome = worst(ended.values().map(|ended| ended.outcome));
            frame.over(outcome.name(), &summary(frame, outcome, &ended));
            let mut last = Vec::new();
            // What has to be told at the end is told also of a run that was cancelled or aborted.
            let kept = CancellationToken::new();
            for step in &frame.playbook.finally {
                last.push(self.begin(frame, step, Ok(()), &kept, true).await?.outcome);
            }
            Ok(worst(last.into_iter().chain([outcome])))
        }
        .boxed()
    }

    /// Runs the graph: each step as soon as those that it needs have ended.
    async fn graph(&self, frame: &Frame<'_>) -> Result<BTreeMap<usize, Ended>, EngineError> {
        let steps = &frame.playbook.steps;
        let mut ended: BTreeMap<usize, Ended> = BTreeMap::new();
        let mut begun: BTreeSet<usize> = BTreeSet::new();
        let mut under_way = FuturesUnordered::new();
        let mut waiting: Vec<usize> = (0..steps.len()).collect();
        loop {
            waiting.retain(|place| {
                let Some(step) = steps.get(*place) else { return false };
                let room = under_way.len() < AT_ONCE;
                if !room || !step.needs.iter().all(|need| ended.contains_key(need)) || !begun.insert(*place) {
                    return true;
                }
                // What an earlier process had begun is gone on with, as it would have been there.
                let begun = self.begun_earlier(&frame.key(step));
                let wanted = if begun { Ok(()) } else { self.may_begin(frame, step, &ended) };
                let (place, cancel) = (*place, self.cancel);
                under_way.push(async move { (place, self.begin(frame, step, wanted, cancel, false).await) });
                false
            });
            match under_way.next().await {
                Some((place, result)) => drop(ended.insert(place, result?)),
                None => return Ok(ended),
            }
        }
    }

    /// Whether a step may begin, as far as the others go.
    fn may_begin(&self, frame: &Frame<'_>, step: &Step, ended: &BTreeMap<usize, Ended>) -> Result<(), Ended> {
        if self.cancel.is_cancelled() {
            return Err(Ended::with(Outcome::Cancelled, "not begun"));
        }
        if let Some(by) = self.aborted_by() {
            return Err(Ended::with(Outcome::Blocked, format!("not begun, since '{by}' ended the run")));
        }
        if step.condition.as_ref().is_some_and(Expression::is_always) {
            return Ok(());
        }
        for need in &step.needs {
            let (Some(needed), Some(ended)) = (frame.playbook.steps.get(*need), ended.get(need)) else { continue };
            if !ended.outcome.satisfies() && needed.spec.on_failure == FailurePolicy::Abort {
                let reason = format!("it needs '{}', which is {}", needed.spec.id, ended.outcome);
                return Err(Ended::with(Outcome::Blocked, reason));
            }
        }
        Ok(())
    }

    /// Does a step, or notes why not.
    async fn begin(
        &self,
        frame: &Frame<'_>,
        step: &Step,
        wanted: Result<(), Ended>,
        cancel: &CancellationToken,
        is_last: bool,
    ) -> Result<Ended, EngineError> {
        let key = frame.key(step);
        let ended = match (self.ended_earlier(&key), wanted) {
            (Some(ended), _) => ended,
            (None, Err(ended)) => self.note(&key, step, ended).await?,
            (None, Ok(())) => self.wanted(frame, step, &key, cancel).await?,
        };
        if matches!(ended.outcome, Outcome::Failed | Outcome::Denied)
            && step.spec.on_failure == FailurePolicy::Abort
            && !is_last
        {
            self.aborted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(key);
        }
        frame.ended(step, ended.outputs.as_ref(), Some(ended.outcome.name()), ended.message.as_deref());
        Ok(ended)
    }

    /// Notes once that somebody cancelled the run: a resume does not begin again what was cancelled.
    async fn note_cancelled(&self) -> Result<(), JournalError> {
        if self.journal.with_record(|record| record.cancelled.is_none()) {
            self.journal.append(Entry::Cancelled).await?;
        }
        Ok(())
    }

    /// Whether an earlier process began a step, an item of it, or a step of the playbook that it calls.
    fn begun_earlier(&self, key: &str) -> bool {
        self.before.steps.iter().any(|earlier| {
            let within = earlier.step.strip_prefix(key);
            earlier.attempts > 0 && within.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '/']))
        })
    }

    fn ended_earlier(&self, key: &str) -> Option<Ended> {
        let record = self.earlier(key)?;
        let outcome = record.outcome?;
        let (message, proof) = (record.message.clone(), record.proof.clone());
        Some(Ended { outcome, message, proof, outputs: record.outputs.clone() })
    }

    /// Journals how a step ended.
    pub(crate) async fn note(&self, key: &str, step: &Step, ended: Ended) -> Result<Ended, JournalError> {
        if ended.outcome == Outcome::Cancelled {
            self.note_cancelled().await?;
        }
        let entry = Entry::StepEnded {
            step: key.to_owned(),
            uses: step.spec.uses.clone(),
            outcome: ended.outcome,
            message: ended.message.clone(),
            proof: ended.proof.clone(),
            outputs: ended.outputs.clone(),
        };
        self.journal.append(entry).await?;
        Ok(ended)
    }

    /// A step that may begin: whether it is wanted, and for which items.
    async fn wanted(
        &self,
        frame: &Frame<'_>,
        step: &Step,
        key: &str,
        cancel: &CancellationToken,
    ) -> Result<Ended, EngineError> {
        let paths = step.references();
        let scope = frame.scope(paths.iter().copied());
        match &step.condition {
            None => {}
            Some(condition) => match condition.holds(&scope).await {
                Ok(true) => {}
                Ok(false) => {
                    let skipped = Ended { outcome: Outcome::Skipped, message: None, proof: None, outputs: None };
                    return Ok(self.note(key, step, skipped).await?);
                }
                Err(reason) => return Ok(self.note(key, step, Ended::with(Outcome::Failed, reason)).await?),
            },
        }
        let Some(list) = &step.for_each else {
            return self.one(frame, step, key, &scope, cancel).await;
        };
        let items = match list.evaluate(&scope).await.and_then(items) {
            Ok(items) => items,
            Err(reason) => return Ok(self.note(key, step, Ended::with(Outcome::Failed, reason)).await?),
        };
        let parallel = step.spec.parallel.unwrap_or(1) as usize;
        let all = futures::stream::iter(items.into_iter().enumerate()).map(|(index, item)| {
            let key = format!("{key}[{index}]");
            let scope = with_item(&scope, index, item);
            async move {
                if let Some(ended) = self.ended_earlier(&key) {
                    return Ok(ended);
                }
                if cancel.is_cancelled() {
                    return Ok(self.note(&key, step, Ended::with(Outcome::Cancelled, "not begun")).await?);
                }
                self.one(frame, step, &key, &scope, cancel).await
            }
        });
        let mut all = all.buffered(parallel);
        let mut ended: Vec<Ended> = Vec::new();
        while let Some(one) = all.next().await {
            ended.push(one?);
        }
        drop(all);
        let outcome = worst(ended.iter().map(|one| one.outcome));
        let items: Vec<Value> = ended.iter().map(|one| one.outputs.clone().unwrap_or_default()).collect();
        let bad = ended.iter().filter(|one| !one.outcome.satisfies()).count();
        let message = (bad > 0).then(|| format!("{bad} of {} items are no success", ended.len()));
        let together = Ended { outcome, message, proof: None, outputs: Some(json!({"items": items})) };
        Ok(self.note(key, step, together).await?)
    }

    /// A step, or one item of it: an action, or another playbook.
    async fn one(
        &self,
        frame: &Frame<'_>,
        step: &Step,
        key: &str,
        scope: &Scope,
        cancel: &CancellationToken,
    ) -> Result<Ended, EngineError> {
        let inputs = match step.with.evaluate(scope).await {
            Ok(inputs) => inputs,
            Err(reason) => return Ok(self.note(key, step, Ended::with(Outcome::Failed, reason)).await?),
        };
        let Some(called) = &step.calls else {
            return self.action(step, key, inputs, scope, cancel).await;
        };
        let inputs = match called.inputs(&call_inputs(&inputs)) {
            Ok(inputs) => inputs,
            Err(reasons) => {
                return Ok(self.note(key, step, Ended::with(Outcome::Failed, reasons.join("; "))).await?);
            }
        };
        let inner = Frame::new(called, format!("{key}/"), inputs, frame.run(), &self.plan.request);
        let outcome = self.frame(&inner).await?;
        let ended = Ended { outcome, message: None, proof: None, outputs: Some(inner.outputs()) };
        Ok(self.note(key, step, ended).await?)
    }

    /// Whether what could be planned only now may be done: by the guards, and, if it writes, by people.
    pub(crate) async fn judge_late(
        &self,
        key: &str,
        inputs: &Value,
        plan: &crate::StepPlan,
    ) -> Result<Result<(), String>, JournalError> {
        let denied = {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            late.extend(plan.targets.iter().cloned());
            let shown = self.plan.steps.iter().flat_map(|step| &step.plan.targets);
            let mut denied = super::guards::objects(self.engine, self.playbook, shown.chain(late.iter()));
            let written = plan.changes.iter().map(|change| &change.object);
            denied.extend(super::guards::protected(self.engine, self.playbook, written));
            denied
        };
        if !denied.is_empty() {
            return Ok(Err(denied.join("; ")));
        }
        if plan.changes.is_empty() {
            return Ok(Ok(()));
        }
        let hash = hash::of_late(key, inputs, plan);
        let agreed = self.before.approvals.iter().any(|approval| approval.hash == hash);
        if agreed {
            return Ok(Ok(()));
        }
        let changes: Vec<String> =
            plan.changes.iter().map(|change| format!("{} {}", change.verb, change.object)).collect();
        let text = format!("step '{key}', which could not be planned before: {}", changes.join(", "));
        self.approved(hash, &text, self.plan.quorum).await
    }
}

/// What `run.summary` says.
fn summary(frame: &Frame<'_>, outcome: Outcome, ended: &BTreeMap<usize, Ended>) -> String {
    let bad: Vec<String> = ended
        .iter()
        .filter(|(_, ended)| !ended.outcome.satisfies())
        .filter_map(|(place, ended)| Some(format!("{} {}", frame.playbook.steps.get(*place)?.spec.id, ended.outcome)))
        .take(10)
        .collect();
    let of = format!("{}: {outcome}, {} steps", frame.playbook.name(), ended.len());
    if bad.is_empty() { of } else { format!("{of}; {}", bad.join(", ")) }
}

impl Journal {
    /// The run so far.
    pub(crate) fn snapshot(&self) -> RunRecord {
        self.with_record(Clone::clone)
    }

    pub(crate) fn with_record<T>(&self, look: impl FnOnce(&RunRecord) -> T) -> T {
        let record: Arc<Mutex<RunRecord>> = self.record();
        let record = record.lock().unwrap_or_else(PoisonError::into_inner);
        look(&record)
    }
}
