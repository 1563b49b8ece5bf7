//! Starting runs for events, with journals in the state directory.

use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_daemon::{Start, StartError, Starter};
use lifeboat_playbook::{ActionError, EngineError, JournalError, Request, RunId, RunRecord, StorageError, verify};
use lifeboat_recovery::chain;
use tokio_util::sync::CancellationToken;

use crate::commands::playbook::perform::Progress;
use crate::desk::Desk;

/// How many journals that were never begun are passed over: a kill between making the file and writing its first line
/// leaves one.
const PASSED_OVER: u64 = 16;

/// Starts runs as `playbook run` does.
pub(crate) struct DeskStarter(pub(crate) Desk);

#[async_trait]
impl Starter for DeskStarter {
    async fn start(&self, start: Start<'_>, cancel: &CancellationToken) -> Result<String, StartError> {
        let random = start.key.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        for passed in 0..PASSED_OVER {
            let run = RunId::new(start.received, random.wrapping_add(passed));
            match self.0.engine.journals.read(&run).await {
                Err(StorageError::NotFound(_)) => return self.begin(run, start, cancel).await,
                Err(error) => return Err(StartError::Transient(chain(&error))),
                Ok(stored) if !stored.bytes.contains(&b'\n') => {}
                Ok(stored) if stored.held => return Err(StartError::Transient(format!("run {run} is under way"))),
                Ok(stored) => return self.go_on(&run, &stored.bytes, cancel).await,
            }
        }
        Err(StartError::Refused("its journal cannot be begun".to_owned()))
    }
}

impl DeskStarter {
    async fn begin(&self, run: RunId, start: Start<'_>, cancel: &CancellationToken) -> Result<String, StartError> {
        let (engine, requester) = (&self.0.engine, self.0.requester.clone());
        let request = Request { inputs: start.inputs, requester, trigger: Some(start.trigger.to_owned()) };
        let plan = engine.plan_as(run, start.playbook, &request, cancel).await.map_err(failed)?;
        // A storm of alerts on one target would otherwise leave a journal for each.
        if !plan.denied.is_empty() {
            return Err(StartError::Refused(plan.denied.join("; ")));
        }
        let hash = plan.hash;
        match engine.run(start.playbook, plan, &hash, Arc::new(Progress), cancel).await {
            Ok(record) => Ok(told(&record)),
            Err(EngineError::Joined(other)) => Ok(format!("run {other} is at it already")),
            Err(error) => Err(failed(error)),
        }
    }

    /// What was started before: it has ended, or is resumed.
    async fn go_on(&self, run: &RunId, journal: &[u8], cancel: &CancellationToken) -> Result<String, StartError> {
        let record = verify(journal).map_err(|error| StartError::Refused(chain(&error)))?.record;
        if record.ended.is_some() {
            return Ok(told(&record));
        }
        let engine = &self.0.engine;
        let resumed = engine.resume(run, self.0.requester.clone(), Arc::new(Progress), cancel).await;
        resumed.map(|record| told(&record)).map_err(failed)
    }
}

fn told(record: &RunRecord) -> String {
    let outcome = record.outcome.map_or_else(|| "not ended".to_owned(), |outcome| outcome.to_string());
    format!("run {}: {outcome}", record.run)
}

fn failed(error: EngineError) -> StartError {
    let text = chain(&error);
    match error {
        EngineError::Step { source: ActionError::Transient { .. }, .. }
        | EngineError::Journal(JournalError::Storage(_))
        | EngineError::Cancelled => StartError::Transient(text),
        _ => StartError::Refused(text),
    }
}
