//! One step: apply, until, retry, prove; and what a deadline or a cancellation does to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::EngineError;
use super::execute::{Ended, Run};
use crate::action::{AnyAction, StepContext, WriteLog};
use crate::expression::Scope;
use crate::playbook::Step;
use crate::{ActionError, Entry, Outcome, Period, Planned, Proof, Repeat, StepPlan, StepRecord, WriteOutcome};

/// How long a step may take, where it does not say.
const TIMEOUT: Period = Period::seconds(300);
/// How long between two repetitions, where the step does not say.
const EVERY: Period = Period::seconds(5);
/// How long between the first two tries, where the step does not say.
const BACKOFF: Period = Period::seconds(1);
/// How long a write that is under way may go on after the step's time is over.
const GRACE: Duration = Duration::from_mins(1);

/// What a step is made of, while it is under way.
struct UnderWay<'a> {
    step: &'a Step,
    key: &'a str,
    action: &'a Arc<dyn AnyAction>,
    inputs: Value,
    plan: StepPlan,
    context: StepContext,
    deadline: Instant,
    cancel: &'a CancellationToken,
}

/// How a piece of work ended that has a deadline.
enum Done<T> {
    Ended(T),
    /// Its time is over.
    Late,
    Cancelled,
}

impl Run<'_> {
    /// Does a step that uses an action.
    pub(crate) async fn action(
        &self,
        step: &Step,
        key: &str,
        inputs: Value,
        scope: &Scope,
        cancel: &CancellationToken,
    ) -> Result<Ended, EngineError> {
        let Some(action) = self.engine.registry.get(&step.spec.uses) else {
            let reason = format!("there is no action '{}'", step.spec.uses);
            return Ok(self.note(key, step, Ended::with(Outcome::Failed, reason)).await?);
        };
        if let Err(reason) = action.accepts(&inputs) {
            return Ok(self.note(key, step, Ended::with(Outcome::Failed, reason)).await?);
        }
        let earlier = self.earlier(key).cloned();
        let deadline = Instant::now() + step.spec.timeout.unwrap_or(TIMEOUT).duration();
        let context = StepContext {
            run: self.plan.run.clone(),
            step: key.to_owned(),
            hash: self.plan.hash,
            requester: self.plan.request.requester.clone(),
            record: Some(self.journal.record()),
            clock: Arc::clone(&self.engine.clock),
            approver: Arc::clone(&self.engine.approver),
            cancel: cancel.child_token(),
            deadline: Some(deadline),
        };
        let planned = self.planned(key, action, &inputs, &context, earlier.as_ref(), (deadline, cancel)).await?;
        let plan = match planned {
            Ok(plan) => plan,
            Err(ended) => return Ok(self.note(key, step, ended).await?),
        };
        let way = UnderWay { step, key, action, inputs, plan, context, deadline, cancel };
        let ended = self.apply_and_prove(&way, scope, earlier.as_ref()).await?;
        // Whatever the action handed the token to ends with the step.
        way.context.cancel.cancel();
        Ok(self.note(key, step, ended).await?)
    }

    /// The plan that the step is held to: what was shown, or one that is made, journalled and judged now.
    async fn planned(
        &self,
        key: &str,
        action: &Arc<dyn AnyAction>,
        inputs: &Value,
        context: &StepContext,
        earlier: Option<&StepRecord>,
        limits: (Instant, &CancellationToken),
    ) -> Result<Result<StepPlan, Ended>, EngineError> {
        match self.shown(key) {
            Some(shown) if matches!(shown.state, Planned::Known | Planned::Maybe(_)) => {
                return Ok(if shown.inputs.as_ref() == Some(inputs) {
                    Ok(shown.plan.clone())
                } else {
                    Err(Ended::with(Outcome::Denied, "what it would act on is not what the plan has shown"))
                });
            }
            Some(shown) => {
                if let Planned::Refused(reason) = &shown.state {
                    return Ok(Err(Ended::with(Outcome::Denied, reason)));
                }
            }
            None => {}
        }
        let plan = match earlier.and_then(|record| record.planned.clone()) {
            Some(plan) => plan,
            None => match bounded(action.plan(inputs, context), limits).await {
                Done::Ended(Ok(plan)) => {
                    let entry = Entry::Planned { step: key.to_owned(), plan: Box::new(plan.clone()) };
                    self.journal.append(entry).await?;
                    plan
                }
                Done::Ended(Err(error)) => return Ok(Err(of_error(&error, false))),
                Done::Late => return Ok(Err(Ended::with(Outcome::Failed, "its time was over before it was planned"))),
                Done::Cancelled => return Ok(Err(Ended::with(Outcome::Cancelled, "not begun"))),
            },
        };
        Ok(match self.judge_late(key, inputs, &plan).await? {
            Ok(()) => Ok(plan),
            Err(reason) => Err(Ended::with(Outcome::Denied, reason)),
        })
    }

    async fn apply_and_prove(
        &self,
        way: &UnderWay<'_>,
        scope: &Scope,
        earlier: Option<&StepRecord>,
    ) -> Result<Ended, EngineError> {
        let outputs = match earlier.filter(|record| record.applied).and_then(|record| record.outputs.clone()) {
            // It was applied before a kill: what is left is the proof.
            Some(outputs) => outputs,
            None => {
                let writes = earlier.map_or(&[][..], |record| record.writes.as_slice());
                if !writes.is_empty() && way.action.statement().repeat == Repeat::Never {
                    let reason = "the run was killed in the middle of it, and it may not be repeated";
                    return Ok(Ended::with(Outcome::Failed, reason));
                }
                let outputs = match self.apply(way, scope, earlier).await? {
                    Ok(outputs) => outputs,
                    Err(ended) => return Ok(ended),
                };
                let entry = Entry::Applied { step: way.key.to_owned(), outputs: outputs.clone() };
                self.journal.append(entry).await?;
                outputs
            }
        };
        let looked = way.action.prove(&way.inputs, &outputs, &way.context);
        let proof = match bounded(looked, (way.deadline, way.cancel)).await {
            Done::Ended(Ok(proof)) => proof,
            Done::Ended(Err(error)) => Proof::NotObserved(error.chain()),
            Done::Late => Proof::NotObserved("its time was over before the effect was observed".to_owned()),
            Done::Cancelled => Proof::NotObserved("cancelled before the effect was observed".to_owned()),
        };
        let outcome = proof.outcome();
        let message = (outcome != Outcome::Success).then(|| proof.text().to_owned());
        Ok(Ended { outcome, message, proof: Some(proof), outputs: Some(outputs) })
    }

    /// Applies until it is done: again after an error that may pass, and again until `until` is true.
    async fn apply(
        &self,
        way: &UnderWay<'_>,
        scope: &Scope,
        earlier: Option<&StepRecord>,
    ) -> Result<Result<Value, Ended>, EngineError> {
        let mut log = self.log(way, earlier);
        let retry = way.step.spec.retry.as_ref();
        let (mut tries, mut attempt) = (0, earlier.map_or(0, |record| record.attempts));
        loop {
            attempt += 1;
            let entry = Entry::StepBegan {
                step: way.key.to_owned(),
                uses: way.step.spec.uses.clone(),
                attempt,
                inputs: way.inputs.clone(),
            };
            self.journal.append(entry).await?;
            log.made.clear();
            let error = match self.once(way, &mut log).await {
                Done::Ended(Ok(outputs)) => match self.until(way, scope, &outputs).await {
                    Ok(true) => return Ok(Ok(outputs)),
                    Ok(false) => match self.pause(way, way.step.spec.every.unwrap_or(EVERY).duration()).await {
                        Some(ended) => return Ok(Err(ended)),
                        None => continue,
                    },
                    Err(reason) => return Ok(Err(Ended::with(Outcome::Failed, reason))),
                },
                Done::Ended(Err(error)) => error,
                Done::Late => return Ok(Err(Ended::with(Outcome::Failed, late(way)))),
                Done::Cancelled => return Ok(Err(Ended::with(Outcome::Cancelled, "cancelled after the last write"))),
            };
            let wrote = self.wrote(way.key);
            tries += 1;
            let again = matches!(error, ActionError::Transient { .. })
                && retry.is_some_and(|retry| tries < retry.attempts)
                && (!wrote || way.action.statement().repeat == Repeat::Safe);
            if !again {
                let by_deadline = matches!(error, ActionError::Cancelled) && !way.cancel.is_cancelled();
                return Ok(Err(if by_deadline {
                    Ended::with(Outcome::Failed, late(way))
                } else {
                    of_error(&error, wrote)
                }));
            }
            let backoff = retry.and_then(|retry| retry.backoff).unwrap_or(BACKOFF).duration();
            let wait = backoff.saturating_mul(1 << (tries - 1).min(10));
            if let Some(ended) = self.pause(way, wait).await {
                return Ok(Err(ended));
            }
        }
    }

    /// One call of `apply`. It is dropped when its time is over or the run is cancelled, but never during a write.
    async fn once(&self, way: &UnderWay<'_>, log: &mut WriteLog) -> Done<Result<Value, ActionError>> {
        let mut writing = log.writing.subscribe();
        let stop = log.cancel.clone();
        let apply = way.action.apply(&way.inputs, &way.plan, log, &way.context);
        tokio::pin!(apply);
        let why = tokio::select! {
            biased;
            result = &mut apply => return Done::Ended(result),
            () = way.cancel.cancelled() => Done::Cancelled,
            () = tokio::time::sleep_until(way.deadline) => Done::Late,
        };
        // No other write begins from here on, and what the action handed its token to is to end.
        stop.cancel();
        way.context.cancel.cancel();
        let idle = async {
            let _ = tokio::time::timeout(GRACE, writing.wait_for(|writing| !writing)).await;
        };
        tokio::select! {
            biased;
            () = idle => why,
            result = &mut apply => Done::Ended(result),
        }
    }

    async fn until(&self, way: &UnderWay<'_>, scope: &Scope, outputs: &Value) -> Result<bool, String> {
        let Some(until) = &way.step.until else { return Ok(true) };
        let mut scope = scope.clone();
        scope.insert("outputs".to_owned(), outputs.clone());
        until.holds(&scope).await
    }

    /// Waits within the step's time.
    async fn pause(&self, way: &UnderWay<'_>, time: Duration) -> Option<Ended> {
        match bounded(tokio::time::sleep(time), (way.deadline, way.cancel)).await {
            Done::Ended(()) => None,
            Done::Late => Some(Ended::with(Outcome::Failed, late(way))),
            Done::Cancelled => Some(Ended::with(Outcome::Cancelled, "cancelled while it waited")),
        }
    }

    fn log(&self, way: &UnderWay<'_>, earlier: Option<&StepRecord>) -> WriteLog {
        let writes = earlier.map_or(&[][..], |record| record.writes.as_slice());
        let begun = writes.iter().zip(0..).map(|(write, number)| (write.change.clone(), number));
        WriteLog {
            step: way.key.to_owned(),
            run: self.plan.run.to_string(),
            changes: way.plan.changes.clone(),
            begun: begun.collect::<BTreeMap<_, _>>(),
            made: std::collections::BTreeSet::new(),
            journal: self.journal.clone(),
            cancel: way.context.cancel.child_token(),
            writing: watch::Sender::new(false),
        }
    }

    /// Whether anything of a step was written, or may have been.
    fn wrote(&self, key: &str) -> bool {
        self.journal.with_record(|record| {
            let step = record.step(key);
            step.is_some_and(|step| step.writes.iter().any(|write| write.outcome != Some(WriteOutcome::NotDone)))
        })
    }
}

fn late(way: &UnderWay<'_>) -> String {
    format!("not done within {}", way.step.spec.timeout.unwrap_or(TIMEOUT))
}

/// Waits for work until a moment, or until the run is cancelled.
async fn bounded<T>(work: impl Future<Output = T>, (deadline, cancel): (Instant, &CancellationToken)) -> Done<T> {
    tokio::select! {
        biased;
        result = work => Done::Ended(result),
        () = cancel.cancelled() => Done::Cancelled,
        () = tokio::time::sleep_until(deadline) => Done::Late,
    }
}

/// How a step ended whose action failed. What was refused after a write is no refusal of the whole.
fn of_error(error: &ActionError, wrote: bool) -> Ended {
    let outcome = match error {
        ActionError::Denied { .. } if !wrote => Outcome::Denied,
        ActionError::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed,
    };
    Ended::with(outcome, error.chain())
}
