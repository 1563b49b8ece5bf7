//! The journal of a run: JSON lines, each durable before what follows from it, each with the digest of the one before.

mod chain;
mod directory;
mod entry;
mod storage;

use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use chain::{Head, read};
pub use directory::DirectoryJournals;
pub(crate) use entry::FORMAT;
pub use entry::{Entry, InverseRecord, Line, Sources, WriteOutcome};
pub use storage::{Claim, JournalFile, Journals, StorageError, Stored};

use crate::{Clock, RunRecord};

/// A journal that cannot be believed, or not be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line is not as it was written.
    #[error("line {line} was altered: {reason}")]
    Altered {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whole lines, which make no run.
    #[error("the journal makes no sense: {0}")]
    Senseless(String),
    /// What is to be noted cannot be written down.
    #[error("an entry cannot be written down: {0}")]
    Entry(String),
    /// An earlier line could not be written, so nobody knows what the file ends with.
    #[error("an earlier line could not be written")]
    Broken,
    /// It cannot be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Is told of each line when it is durable: progress is shown from these.
pub trait Observer: Send + Sync {
    /// A line was written.
    fn noted(&self, line: &Line);
}

/// An observer that looks away.
impl Observer for () {
    fn noted(&self, _: &Line) {}
}

/// The journal that a run writes.
#[derive(Clone)]
pub(crate) struct Journal {
    state: Arc<tokio::sync::Mutex<State>>,
    record: Arc<Mutex<RunRecord>>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

struct State {
    file: Box<dyn JournalFile>,
    head: Head,
    broken: bool,
}

impl Journal {
    pub(crate) fn new(
        file: Box<dyn JournalFile>,
        head: Head,
        record: RunRecord,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let state = State { file, head, broken: false };
        Self { state: Arc::new(tokio::sync::Mutex::new(state)), record: Arc::new(Mutex::new(record)), clock, observer }
    }

    /// Notes what happened, and returns when that is durable. What was begun goes on when this is dropped, and what is
    /// noted next waits for it: no line is ever written into another.
    pub(crate) async fn append(&self, entry: Entry) -> Result<(), JournalError> {
        let journal = self.clone();
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let written = tokio::spawn(async move {
            if state.broken {
                return Err(JournalError::Broken);
            }
            let at = journal.clock.now();
            let (text, head) = state.head.line(at, &entry)?;
            let line = Line { seq: state.head.next, at, entry };
            if let Err(error) = state.file.append(text).await {
                state.broken = true;
                return Err(error.into());
            }
            state.head = head;
            journal.record.lock().unwrap_or_else(PoisonError::into_inner).note(&line)?;
            journal.observer.noted(&line);
            Ok(())
        });
        written.await.map_err(|_| JournalError::Broken)?
    }

    /// The run so far.
    pub(crate) fn record(&self) -> Arc<Mutex<RunRecord>> {
        Arc::clone(&self.record)
    }
}

#[cfg(test)]
mod tests;
