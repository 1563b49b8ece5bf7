//! Whether the daemon lives, and whether it can do its work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{DaemonEvent, Leadership};

/// The main loop turns many times in that time, whatever it waits for.
const SILENCE: Duration = Duration::from_mins(5);

type Check = (&'static str, Result<(), String>);

/// What is known of the daemon's health. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    turned: Instant,
    leadership: Option<Leadership>,
    store: Result<(), String>,
}

/// The sign of life of the main loop.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Health);

impl Pulse {
    /// The loop has turned once more.
    pub(crate) fn beat(&self) {
        self.0.change(|state| state.turned = Instant::now());
    }
}

impl Health {
    /// Alive, and not ready yet.
    pub(crate) fn new() -> Self {
        let store = Err("not read yet".to_owned());
        Self(Arc::new(Mutex::new(State { turned: Instant::now(), leadership: None, store })))
    }

    /// For the main loop.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(self.clone())
    }

    /// Takes an event into account.
    pub(crate) fn observe(&self, event: &DaemonEvent) {
        match event {
            DaemonEvent::Leading(leadership) => self.change(|state| state.leadership = Some(*leadership)),
            DaemonEvent::Catalog(_) | DaemonEvent::BackupFinished { .. } => self.change(|state| state.store = Ok(())),
            DaemonEvent::StoreFailed { error } => self.change(|state| state.store = Err(one_line(error))),
            _ => {}
        }
    }

    /// Whether the main loop turns: if not, only a new process helps.
    pub(super) fn live(&self) -> Vec<Check> {
        let turned = self.read(|state| state.turned.elapsed());
        let result = if turned < SILENCE {
            Ok(())
        } else {
            Err(format!("the main loop has not turned for {} s", turned.as_secs()))
        };
        vec![("loop", result)]
    }

    /// Whether the daemon can do its work, as far as it knows.
    pub(super) fn ready(&self) -> Vec<Check> {
        self.read(|state| {
            let leadership = match state.leadership {
                None => Err("not known yet who leads".to_owned()),
                Some(Leadership::Isolated) => Err("the API server does not answer".to_owned()),
                Some(Leadership::Leader | Leadership::Follower) => Ok(()),
            };
            vec![("leadership", leadership), ("store", state.store.clone())]
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a server or a store said, so that it cannot pass for a line of ours.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
