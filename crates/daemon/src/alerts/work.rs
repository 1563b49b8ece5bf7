//! Doing what was accepted: each event once.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::Digest;
use lifeboat_playbook::{Event, Received, Triggered, normalise};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::spool::Accepted;
use super::{Receiver, ReceiverMode, Shared, Start, StartError};

/// Requests that are done at a time.
const AT_ONCE: usize = 8;
/// How often a run is tried to be started, with twice as long between two tries each time.
const TRIES: u32 = 8;
/// How long between the first two.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Does what waits until the token is cancelled. What is under way then is broken off, as by a kill, and waits.
pub(super) async fn work(shared: Arc<Shared>, mut names: mpsc::UnboundedReceiver<OsString>, cancel: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let tasks = TaskTracker::new();
    while let Some(Some(name)) = cancel.run_until_cancelled(names.recv()).await {
        let Some(Ok(place)) = cancel.run_until_cancelled(Arc::clone(&places).acquire_owned()).await else { break };
        // In order: of an event that came twice, the one that came first may have been begun before a kill.
        let Some(request) = Request::take(&shared, name).await else { continue };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let _place = place;
            cancel.run_until_cancelled(request.done(&cancel)).await
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// One accepted request, with those of its events that nobody else does or has done.
struct Request {
    shared: Arc<Shared>,
    name: OsString,
    accepted: Accepted,
    events: Vec<(Event, Taken)>,
}

impl Request {
    /// Reads it; what cannot be read is put aside.
    async fn take(shared: &Arc<Shared>, name: OsString) -> Option<Self> {
        let read = {
            let (shared, name) = (Arc::clone(shared), name.clone());
            tokio::task::spawn_blocking(move || parsed(&shared, &name)).await
        };
        let (accepted, events) = match read.ok()? {
            Ok(parsed) => parsed,
            Err(reason) => {
                tracing::error!(file = %name.display(), reason, "what was accepted cannot be read: it is put aside");
                if let Err(error) = shared.spool.put_aside(&name) {
                    tracing::error!(%error, "nor can it be put aside");
                }
                return None;
            }
        };
        let mut taken = Vec::new();
        for event in events {
            let key = key(&event);
            if shared.seen.take(key) {
                taken.push((event, Taken { shared: Arc::clone(shared), key, done: false }));
            } else {
                tracing::debug!(receiver = accepted.receiver, "an event was sent again");
            }
        }
        Some(Self { shared: Arc::clone(shared), name, accepted, events: taken })
    }

    /// Does it, and removes it when all of its events are done. Where this is broken off, nobody remembers the others.
    async fn done(self, cancel: &CancellationToken) {
        let Some(receiver) = self.shared.receiver(&self.accepted.receiver) else { return };
        for (event, taken) in self.events {
            each(&self.shared, receiver, &self.accepted, &event, cancel).await;
            taken.finish();
        }
        if let Err(error) = self.shared.spool.remove(&self.name) {
            tracing::error!(%error, "what is done cannot be removed");
        }
    }
}

fn parsed(shared: &Shared, name: &OsStr) -> Result<(Accepted, Vec<Event>), String> {
    let accepted = shared.spool.read(name).map_err(|error| error.to_string())?;
    let receiver = shared.receiver(&accepted.receiver).ok_or("there is no such receiver any more")?;
    let headers: Vec<(&str, &str)> =
        accepted.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let received = Received { body: accepted.body.as_bytes(), headers: &headers, at: accepted.received };
    let events = normalise(receiver.spec.source, receiver.mapping.as_ref(), received);
    let events = events.map_err(|error| error.to_string())?;
    Ok((accepted, events))
}

/// The same for what happened once.
fn key(event: &Event) -> Digest {
    let source = serde_json::to_string(&event.source).unwrap_or_default();
    Digest::of(format!("{source}\n{}", event.id).as_bytes())
}

/// An event that is under way.
struct Taken {
    shared: Arc<Shared>,
    key: Digest,
    done: bool,
}

impl Taken {
    fn finish(mut self) {
        self.done = true;
        if let Err(error) = self.shared.seen.done(self.key) {
            // Until the next start it is known in memory.
            tracing::warn!(%error, "that an event is done cannot be noted");
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.done {
            self.shared.seen.give_back(self.key);
        }
    }
}

/// Tries every playbook on an event.
async fn each(shared: &Shared, receiver: &Receiver, accepted: &Accepted, event: &Event, cancel: &CancellationToken) {
    for playbook in &shared.playbooks {
        let (name, book) = (receiver.spec.name.as_str(), playbook.name());
        match playbook.triggered(event).await {
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(receiver = name, playbook = book, reason, "a trigger fits, and gives no inputs");
            }
            Ok(Some(Triggered { trigger, .. })) if receiver.spec.mode == ReceiverMode::Observe => {
                tracing::info!(receiver = name, playbook = book, trigger, rule = event.rule, "would have been started");
            }
            Ok(Some(Triggered { trigger, inputs })) => {
                let key = Digest::of(format!("{}\n{book}", key(event)).as_bytes());
                let received = accepted.received;
                let start = Start { playbook, trigger: &trigger, inputs, event, received, key };
                match started(shared, start, cancel).await {
                    Ok(outcome) => tracing::info!(receiver = name, playbook = book, trigger, outcome, "was started"),
                    Err(reason) => {
                        tracing::error!(receiver = name, playbook = book, trigger, reason, "was not started");
                    }
                }
            }
        }
    }
}

async fn started(shared: &Shared, start: Start<'_>, cancel: &CancellationToken) -> Result<String, String> {
    let starter = shared.starter.as_ref().ok_or("nothing is there to start runs with")?;
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        match starter.start(start.clone(), cancel).await {
            Ok(outcome) => return Ok(outcome),
            Err(StartError::Transient(reason)) if tries < TRIES => {
                tracing::warn!(playbook = start.playbook.name(), reason, tries, "it is tried again");
                sleep(pause).await;
                pause = pause.saturating_mul(2);
                tries += 1;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
