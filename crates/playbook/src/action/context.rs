//! What an action is told of the run that it is part of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::Digest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::approval::{self, Question};
use crate::{ActionError, Approver, Clock, Identity, RunId, RunRecord};

/// What an action is told of the run that it is part of.
#[derive(Clone)]
pub struct StepContext {
    pub(crate) run: RunId,
    pub(crate) step: String,
    pub(crate) hash: Digest,
    pub(crate) requester: Identity,
    /// Absent while a run is only planned.
    pub(crate) record: Option<Arc<Mutex<RunRecord>>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) approver: Arc<dyn Approver>,
    pub(crate) cancel: CancellationToken,
    /// When the step's time is over.
    pub(crate) deadline: Option<Instant>,
}

impl StepContext {
    /// The run. Of a plan that never runs, an id that no journal has.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The step's key, unique within the run: `isolate`, `contain[3]/isolate`.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// Who asked for the run.
    pub fn requester(&self) -> &Identity {
        &self.requester
    }

    /// The run so far; absent while it is only planned.
    pub fn record(&self) -> Option<RunRecord> {
        let record = self.record.as_ref()?;
        Some(record.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits; an action never sleeps otherwise. The engine ends the wait when the step's time is over or the run is
    /// cancelled.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Cancelled when the step should end: its time is over, or somebody cancelled the run. An action need not watch
    /// it, since the engine drops it between writes; it is for handing on to what takes one.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Asks people other than the requester, and waits until enough agreed.
    ///
    /// # Errors
    /// `Denied` when one said no, nobody can be asked, or the step's time is over.
    pub async fn approval(&self, text: &str, quorum: u32) -> Result<Vec<Identity>, ActionError> {
        let hash = Digest::of(format!("{}\n{}\n{text}", self.hash, self.step).as_bytes());
        let question = Question { run: &self.run, hash, text, quorum, requester: &self.requester };
        let answers = approval::collect(self.approver.as_ref(), &question);
        match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, answers)
                .await
                .unwrap_or_else(|_| Err(ActionError::denied("not enough people answered in time"))),
            None => answers.await,
        }
    }
}

impl std::fmt::Debug for StepContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepContext").field("run", &self.run).field("step", &self.step).finish_non_exhaustive()
    }
}
