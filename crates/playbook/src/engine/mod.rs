//! Planning, running, resuming and taking back.

mod execute;
mod frame;
mod guards;
mod hash;
mod planning;
mod rollback;
mod step;

use std::sync::Arc;

use lifeboat_model::Digest;
use tokio_util::sync::CancellationToken;

use crate::journal::{self, Head, Journal, JournalError, Observer};
use crate::load::load_sources;
use crate::{
    ActionError, Approver, Claim, Clock, ConflictPolicy, Entry, Identity, Journals, Line, LoadErrors, Outcome, Plan,
    Playbook, Registry, Request, RunId, RunRecord, StorageError,
};

/// Why nothing was planned, run, resumed or taken back. What happens within a run is in its record, and no error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Inputs that the playbook does not have, or not so.
    #[error("{}", .0.join("; "))]
    Inputs(Vec<String>),
    /// A step cannot be planned: its action failed.
    #[error("step '{step}' cannot be planned")]
    Step {
        /// Its key.
        step: String,
        /// The cause.
        #[source]
        source: ActionError,
    },
    /// The key of the run cannot be known: an expression has no value. (A step with such an expression is refused in the
    /// plan.)
    #[error("{step}: {reason}")]
    Expression {
        /// Where it stands.
        step: String,
        /// Why not.
        reason: String,
    },
    /// What was agreed to is not this plan.
    #[error("the plan has the hash {plan}, and {agreed} was agreed to")]
    NotAgreed {
        /// Its hash.
        plan: Digest,
        /// What was agreed to.
        agreed: Digest,
    },
    /// Another run with the same concurrency key is under way.
    #[error("run '{0}' is at it already")]
    Joined(RunId),
    /// The same, and the playbook has it refused.
    #[error("run '{0}' acts on the same target")]
    Busy(RunId),
    /// There is nothing to go on with.
    #[error("run '{0}' has ended")]
    Ended(RunId),
    /// What was taken back is not gone on with.
    #[error("run '{0}' was rolled back")]
    RolledBack(RunId),
    /// The playbook in the journal uses what this program does not have.
    #[error("the playbook of the run cannot be loaded")]
    Load(#[source] LoadErrors),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Somebody cancelled before anything was begun.
    #[error("cancelled")]
    Cancelled,
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        Self::Journal(error.into())
    }
}

/// What plans and runs playbooks.
#[derive(Clone)]
pub struct Engine {
    /// The actions.
    pub registry: Arc<Registry>,
    /// Where journals are kept.
    pub journals: Arc<dyn Journals>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Who is asked.
    pub approver: Arc<dyn Approver>,
    /// The namespace that Lifeboat itself runs in, which is protected always.
    pub own_namespace: Option<String>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("registry", &self.registry)
            .field("journals", &self.journals)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Finds out what a run would do, by reads and dry runs alone.
    ///
    /// # Errors
    /// When the inputs do not fit, or a step cannot be planned.
    pub async fn plan(
        &self,
        playbook: &Playbook,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Plan, EngineError> {
        let run = RunId::new(self.clock.now(), self.clock.random());
        self.plan_as(run, playbook, request, cancel).await
    }

    /// The same, for a run whose id is known: who begins it again after a kill finds the first one.
    ///
    /// # Errors
    /// When the inputs do not fit, or a step cannot be planned.
    pub async fn plan_as(
        &self,
        run: RunId,
        playbook: &Playbook,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Plan, EngineError> {
        let planned = planning::plan(self, run, playbook, request, cancel);
        cancel.run_until_cancelled(planned).await.unwrap_or(Err(EngineError::Cancelled))
    }

    /// Does what was shown and agreed to. Cancelling ends it after the write that is under way; `finally` runs all the
    /// same.
    ///
    /// # Errors
    /// When nothing was begun, or the journal cannot be written any more. How the steps ended is in the record.
    pub async fn run(
        &self,
        playbook: &Playbook,
        plan: Plan,
        agreed: &Digest,
        observer: Arc<dyn Observer>,
        cancel: &CancellationToken,
    ) -> Result<RunRecord, EngineError> {
        if hash::of_plan(&plan) != *agreed {
            return Err(EngineError::NotAgreed { plan: hash::of_plan(&plan), agreed: *agreed });
        }
        let claim = self.claim(playbook, &plan).await?;
        let file = self.journals.create(&plan.run).await?;
        let sources = playbook.sources.clone();
        let began = Entry::Began { format: journal::FORMAT, sources, plan: Box::new(plan) };
        let first = Line { seq: 0, at: self.clock.now(), entry: began };
        let record = RunRecord::begin(&first)?;
        let journal = Journal::new(file, Head::START, record, Arc::clone(&self.clock), observer);
        journal.append(first.entry).await?;
        let done = execute::execute(self, playbook, journal, cancel).await;
        drop(claim);
        done
    }

    /// Goes on with a run that was killed.
    ///
    /// # Errors
    /// When somebody else is at it, it has ended, its journal was altered, or cannot be written any more.
    pub async fn resume(
        &self,
        run: &RunId,
        by: Identity,
        observer: Arc<dyn Observer>,
        cancel: &CancellationToken,
    ) -> Result<RunRecord, EngineError> {
        let (journal, record) = self.reopen(run, observer).await?;
        if record.rollback.is_some() {
            return Err(EngineError::RolledBack(run.clone()));
        }
        if record.ended.is_some() {
            return Err(EngineError::Ended(run.clone()));
        }
        let playbook = load_sources(&record.sources, &self.registry).map_err(EngineError::Load)?;
        let claim = self.claim(&playbook, &record.plan).await?;
        journal.append(Entry::Resumed { by }).await?;
        let done = execute::execute(self, &playbook, journal, cancel).await;
        drop(claim);
        done
    }

    /// Takes back what a run wrote, newest first. What cannot be taken back is told and does not stop the rest.
    ///
    /// # Errors
    /// When somebody is at the run, its journal was altered, or cannot be written any more.
    pub async fn rollback(
        &self,
        run: &RunId,
        by: Identity,
        observer: Arc<dyn Observer>,
        cancel: &CancellationToken,
    ) -> Result<RunRecord, EngineError> {
        let (journal, record) = self.reopen(run, observer).await?;
        rollback::rollback(self, journal, record, by, cancel).await
    }

    /// A run's journal, held for writing and without a torn last line.
    async fn reopen(&self, run: &RunId, observer: Arc<dyn Observer>) -> Result<(Journal, RunRecord), EngineError> {
        let (mut file, bytes) = self.journals.open(run).await?;
        let chain = journal::read(&bytes)?;
        if chain.torn > 0 {
            file.cut(chain.length).await?;
        }
        let record = RunRecord::of(&chain.lines)?;
        let journal = Journal::new(file, chain.head, record.clone(), Arc::clone(&self.clock), observer);
        Ok((journal, record))
    }

    /// Takes the key under which one run is under way at a time.
    async fn claim(&self, playbook: &Playbook, plan: &Plan) -> Result<Option<Claim>, EngineError> {
        let Some(key) = &plan.concurrency else { return Ok(None) };
        let key = format!("{}\n{key}", plan.playbook);
        match self.journals.claim(&key, &plan.run).await? {
            taken @ Claim::Taken(_) => Ok(Some(taken)),
            Claim::Held(run) => match playbook.spec().guards.on_conflict {
                ConflictPolicy::Join => Err(EngineError::Joined(run)),
                ConflictPolicy::Refuse => Err(EngineError::Busy(run)),
            },
        }
    }
}

/// The worst of these; of none, `skipped`.
pub(crate) fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().max().unwrap_or(Outcome::Skipped)
}

#[cfg(test)]
mod tests;
