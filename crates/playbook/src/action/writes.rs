//! The only way to write.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::{ActionError, Change};
use crate::journal::{Entry, InverseRecord, Journal, WriteOutcome};

/// What undoes one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inverse<I> {
    /// It is undone by this.
    By(I),
    /// It cannot be undone, as the plan said of this change.
    None,
}

/// Leave to write, given only by a journal that holds the inverse of exactly this write. Functions that change
/// anything outside take a reference to one.
#[derive(Debug)]
pub struct Permit {
    id: String,
}

impl Permit {
    pub(crate) fn new(id: String) -> Self {
        Self { id }
    }

    /// The write's id, the same whenever this write is repeated: for annotations and idempotency keys.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The writes of one step, as the engine sees them.
pub(crate) struct WriteLog {
    /// The step's key.
    pub(crate) step: String,
    pub(crate) run: String,
    /// The changes of its plan.
    pub(crate) changes: Vec<Change>,
    /// Changes whose inverse is in the journal already, with their numbers: the first one stays in force.
    pub(crate) begun: BTreeMap<String, u32>,
    /// Changes that were made by this call.
    pub(crate) made: BTreeSet<String>,
    pub(crate) journal: Journal,
    pub(crate) cancel: tokio_util::sync::CancellationToken,
    /// Whether a write is under way, during which the step is not dropped.
    pub(crate) writing: watch::Sender<bool>,
}

/// The writes of a step: the only way to make one.
pub struct Writes<'a, I> {
    log: &'a mut WriteLog,
    inverse: PhantomData<fn() -> I>,
}

impl<I> std::fmt::Debug for Writes<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writes").field("step", &self.log.step).finish_non_exhaustive()
    }
}

/// Tells the engine that no write is under way any more, also when the future is dropped.
struct UnderWay<'a>(&'a watch::Sender<bool>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl<'a, I: Serialize + DeserializeOwned + Send + Sync> Writes<'a, I> {
    pub(crate) fn new(log: &'a mut WriteLog) -> Self {
        Self { log, inverse: PhantomData }
    }

    /// Makes the inverse durable, and only then calls `write`; what that answers is journalled too.
    ///
    /// `change` is the id of one of the plan's changes. `write` answers `Uncertain` when nobody knows whether it was
    /// done; any other error says that it was not.
    ///
    /// After a kill, a step that may be repeated makes its writes again: the inverse that was journalled first stays in
    /// force, since it was taken before anything was changed.
    ///
    /// # Errors
    /// Those of `write`; `Denied` when the plan has no such change, has had it already, or promised that it could be
    /// undone; `Cancelled` when the run was cancelled before; `Failed` when the journal cannot be written. In all of
    /// these cases `write` is not called.
    pub async fn write<T, F, W>(&mut self, change: &str, inverse: Inverse<I>, write: F) -> Result<T, ActionError>
    where
        F: FnOnce(Permit) -> W + Send,
        W: Future<Output = Result<T, ActionError>> + Send,
    {
        let planned = self.planned(change)?;
        let inverse = match (inverse, &planned.irreversible) {
            (Inverse::By(inverse), _) => InverseRecord::By(serde_json::to_value(inverse).map_err(|error| {
                ActionError::failed(format!("the inverse of '{change}' cannot be written down")).because(error)
            })?),
            (Inverse::None, Some(reason)) => InverseRecord::None(reason.clone()),
            (Inverse::None, None) => {
                return Err(ActionError::denied(format!("the plan promised that '{change}' could be undone")));
            }
        };
        if self.log.cancel.is_cancelled() {
            return Err(ActionError::Cancelled);
        }
        let number = self.begin(&planned, inverse).await?;
        self.log.made.insert(change.to_owned());
        self.log.writing.send_replace(true);
        let _under_way = UnderWay(&self.log.writing);
        let answer = write(Permit::new(format!("{}/{}/{change}", self.log.run, self.log.step))).await;
        let (outcome, message) = match &answer {
            Ok(_) => (WriteOutcome::Done, None),
            Err(error @ ActionError::Uncertain { .. }) => (WriteOutcome::Uncertain, Some(error.chain())),
            Err(error) => (WriteOutcome::NotDone, Some(error.chain())),
        };
        let entry = Entry::Wrote { step: self.log.step.clone(), write: number, outcome, message };
        self.log.journal.append(entry).await.map_err(journal_failed)?;
        answer
    }

    fn planned(&self, change: &str) -> Result<Change, ActionError> {
        let planned = self.log.changes.iter().find(|planned| planned.id == change);
        let planned = planned.ok_or_else(|| ActionError::denied(format!("the plan has no change '{change}'")))?.clone();
        if self.log.made.contains(change) {
            return Err(ActionError::denied(format!("the change '{change}' was made already")));
        }
        Ok(planned)
    }

    /// Journals the inverse, unless an earlier one is in force.
    async fn begin(&mut self, change: &Change, inverse: InverseRecord) -> Result<u32, ActionError> {
        if let Some(number) = self.log.begun.get(&change.id) {
            return Ok(*number);
        }
        let number = u32::try_from(self.log.begun.len()).unwrap_or(u32::MAX);
        let entry = Entry::Writing {
            step: self.log.step.clone(),
            write: number,
            change: change.id.clone(),
            object: change.object.clone(),
            inverse,
        };
        self.log.journal.append(entry).await.map_err(journal_failed)?;
        self.log.begun.insert(change.id.clone(), number);
        Ok(number)
    }
}

fn journal_failed(error: crate::JournalError) -> ActionError {
    ActionError::failed("the journal cannot be written").because(error)
}

/// The value of an inverse, as the action that wrote it reads it.
pub(crate) fn read_inverse<I: DeserializeOwned>(value: Value) -> Result<I, ActionError> {
    serde_json::from_value(value)
        .map_err(|error| ActionError::failed("the inverse in the journal is not of this action").because(error))
}
