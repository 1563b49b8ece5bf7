//! Taking back what a run wrote, newest first.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError, worst};
use crate::action::StepContext;
use crate::journal::Journal;
use crate::{
    ActionError, Entry, Identity, InverseRecord, Outcome, Permit, RunRecord, StepRecord, WriteOutcome, WriteRecord,
};

/// How long taking back one write may take.
const TIMEOUT: Duration = Duration::from_mins(5);

pub(crate) async fn rollback(
    engine: &Engine,
    journal: Journal,
    record: RunRecord,
    by: Identity,
    cancel: &CancellationToken,
) -> Result<RunRecord, EngineError> {
    journal.append(Entry::RollbackBegan { by }).await?;
    let mut outcomes = Vec::new();
    for (step, number, write) in open(&record) {
        if cancel.is_cancelled() {
            outcomes.push(Outcome::Cancelled);
            break;
        }
        let key = step.step.clone();
        let (outcome, message) = match &write.inverse {
            InverseRecord::None(reason) => (Outcome::Skipped, reason.clone()),
            InverseRecord::By(inverse) => {
                journal.append(Entry::Undoing { step: key.clone(), write: number }).await?;
                let context = context(engine, &journal, &record, &key, cancel);
                let permit = Permit::new(format!("{}/{key}/{}/undo", record.run, write.change));
                match engine.registry.get(&step.uses) {
                    Some(action) => {
                        let undo = action.undo(inverse.clone(), &permit, &context);
                        match tokio::time::timeout(TIMEOUT, undo).await {
                            Ok(Ok(proof)) => (proof.outcome(), proof.text().to_owned()),
                            Ok(Err(ActionError::Cancelled)) => (Outcome::Cancelled, "cancelled".to_owned()),
                            Ok(Err(error)) => (Outcome::Failed, error.chain()),
                            Err(_) => (Outcome::Failed, format!("not taken back within {TIMEOUT:?}")),
                        }
                    }
                    None => (Outcome::Failed, format!("there is no action '{}'", step.uses)),
                }
            }
        };
        outcomes.push(outcome);
        journal.append(Entry::Undone { step: key, write: number, outcome, message }).await?;
    }
    let outcome = worst(outcomes).max(Outcome::Success);
    journal.append(Entry::RollbackEnded { outcome }).await?;
    Ok(journal.snapshot())
}

/// The writes that are not taken back yet, newest first: those also of which nobody knows whether they were done.
fn open(record: &RunRecord) -> Vec<(&StepRecord, u32, &WriteRecord)> {
    let mut writes: Vec<(&StepRecord, u32, &WriteRecord)> = Vec::new();
    for step in &record.steps {
        let numbered = step.writes.iter().zip(0..);
        writes.extend(numbered.map(|(write, number)| (step, number, write)));
    }
    writes.retain(|(_, _, write)| {
        let undone = write.undone.as_ref().map(|undone| undone.outcome);
        write.outcome != Some(WriteOutcome::NotDone) && undone != Some(Outcome::Success)
    });
    writes.sort_by_key(|(_, _, write)| std::cmp::Reverse(write.seq));
    writes
}

fn context(
    engine: &Engine,
    journal: &Journal,
    record: &RunRecord,
    step: &str,
    cancel: &CancellationToken,
) -> StepContext {
    StepContext {
        run: record.run.clone(),
        step: step.to_owned(),
        hash: record.plan.hash,
        requester: record.plan.request.requester.clone(),
        record: Some(journal.record()),
        clock: Arc::clone(&engine.clock),
        approver: Arc::clone(&engine.approver),
        cancel: cancel.clone(),
        deadline: None,
    }
}
