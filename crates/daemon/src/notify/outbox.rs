//! A queue of messages to one target, and the task that delivers them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::HeartbeatStyle;
use lifeboat_recovery::{Clock, chain};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::client::{self, ClientError};
use super::judge::Sign;
use super::{Patience, Target};
use crate::metrics::Metrics;

/// Messages that wait for one target.
const LENGTH: usize = 64;

/// One request to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    /// Put behind the path of the target's URL.
    pub(super) suffix: &'static str,
    /// A `POST` of that JSON; a `GET` without.
    pub(super) json: Option<Bytes>,
}

impl Parcel {
    pub(super) fn post(json: Bytes) -> Self {
        Self { suffix: "", json: Some(json) }
    }

    /// The call of a dead man's switch, if it has one for that.
    pub(super) fn heartbeat(style: HeartbeatStyle, sign: Sign) -> Option<Self> {
        let suffix = match (style, sign) {
            (_, Sign::Success) => "",
            (HeartbeatStyle::Healthchecks, Sign::Start) => "/start",
            (HeartbeatStyle::Healthchecks, Sign::Fail) => "/fail",
            (HeartbeatStyle::Plain, Sign::Start | Sign::Fail) => return None,
        };
        Some(Self { suffix, json: None })
    }
}

/// Where messages are put.
#[derive(Debug, Clone)]
pub(super) struct Outbox(Arc<Shared>);

/// What delivers them.
pub(super) struct Work {
    shared: Arc<Shared>,
    patience: Patience,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    queue: Mutex<VecDeque<Parcel>>,
    filled: Notify,
    metrics: Metrics,
}

impl Outbox {
    pub(super) fn new(target: Target, patience: Patience, clock: Arc<dyn Clock>, metrics: Metrics) -> (Self, Work) {
        metrics.notifies(&target.name);
        let shared = Shared { target, queue: Mutex::default(), filled: Notify::new(), metrics };
        let shared = Arc::new(shared);
        (Self(Arc::clone(&shared)), Work { shared, patience, clock })
    }

    /// Puts a message into the queue. The oldest goes where it is full.
    pub(super) fn put(&self, parcel: Parcel) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= LENGTH {
            queue.pop_front();
            self.0.metrics.notified(&self.0.target.name, false);
            tracing::warn!(target_name = %self.0.target.name, "too many messages wait: the oldest is dropped");
        }
        queue.push_back(parcel);
        drop(queue);
        self.0.filled.notify_one();
    }
}

impl Work {
    /// Delivers until the token is cancelled.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.deliver_all()).await;
    }

    async fn deliver_all(&self) {
        loop {
            let next = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(parcel) = next else {
                self.shared.filled.notified().await;
                continue;
            };
            let name = &self.shared.target.name;
            match self.deliver(&parcel).await {
                Ok(()) => self.shared.metrics.notified(name, true),
                Err(error) => {
                    self.shared.metrics.notified(name, false);
                    tracing::error!(target_name = %name, error = %chain(&error), "a message was not delivered");
                }
            }
        }
    }

    /// Delivers one message, however often it has to be tried.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), ClientError> {
        let Patience { request, first, longest, all } = self.patience;
        let end = Instant::now() + all;
        let mut wait = first;
        loop {
            let error = match client::send(&self.shared.target, parcel, request).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Half of the wait at least: others may have been cut off at the same moment.
            let jittered = wait / 2 + wait.mul_f64(fraction(self.clock.random()) / 2.0);
            let pause = error.retry_after().unwrap_or(Duration::ZERO).clamp(jittered, longest.max(jittered));
            if !error.is_transient() || Instant::now() + pause >= end {
                return Err(error);
            }
            tracing::info!(target_name = %self.shared.target.name, error = %chain(&error), "a message is tried again");
            sleep(pause).await;
            wait = (wait * 2).min(longest);
        }
    }
}

/// From 0 to 1.
fn fraction(random: u64) -> f64 {
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
