//! How far a run is, from its journal's lines.

use std::sync::{Mutex, PoisonError};

use lifeboat_playbook::{Entry, Line, Observer, RunQuestion, RunRecord};
use tokio::sync::Notify;

/// How far a run is.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    record: Option<RunRecord>,
    question: Option<RunQuestion>,
}

impl Progress {
    /// Of a run that was begun before.
    pub(super) fn of(record: RunRecord) -> Self {
        let state = State { record: Some(record), question: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until it is further.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn record(&self) -> Option<RunRecord> {
        self.with(|state| state.record.clone())
    }

    pub(super) fn question(&self) -> Option<RunQuestion> {
        self.with(|state| state.question.clone())
    }

    /// Shows what people are asked; the same question stays as it is.
    pub(super) fn ask(&self, question: RunQuestion) {
        self.with(|state| {
            if state.question.as_ref().is_none_or(|asked| asked.hash != question.hash) {
                state.question = Some(question);
            }
        });
        self.changed.notify_one();
    }

    /// Shows that somebody agreed.
    pub(super) fn agreed(&self, by: &str) {
        self.with(|state| {
            if let Some(question) = &mut state.question {
                question.approved_by.push(by.to_owned());
            }
        });
        self.changed.notify_one();
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Progress {
    fn noted(&self, line: &Line) {
        self.with(|state| {
            let noted = match &mut state.record {
                Some(record) => record.note(line),
                None => RunRecord::begin(line).map(|record| state.record = Some(record)),
            };
            if let Err(error) = noted {
                tracing::error!(%error, "a line of a journal cannot be shown");
            }
            if matches!(line.entry, Entry::Approved { .. } | Entry::Refused { .. } | Entry::StepEnded { .. }) {
                state.question = None;
            }
        });
        self.changed.notify_one();
    }
}
