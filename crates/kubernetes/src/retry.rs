//! Trying again after a passing fault, with jitter and a bound on the total.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use crate::Error;

/// When to try again after 429, a 5xx answer or a lost connection, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first wait. Each further one is twice as long, and up to as much again is added at random.
    pub min_delay: Duration,
    /// The longest wait, before the random part. A `Retry-After` of the server that is longer is obeyed.
    pub max_delay: Duration,
    /// How much time one list, or one read or write of an object, may spend in all on failed requests and on the waits
    /// between them. The time in which it gets on, or waits for its consumer, does not count. Zero stands for a single
    /// attempt.
    pub budget: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            budget: Duration::from_mins(1),
        }
    }
}

/// The attempts of one list, read or write.
pub(crate) struct Attempts {
    retry: Retry,
    delays: ExponentialBackoff,
    left: Duration,
}

impl Attempts {
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, delays: delays(retry), left: retry.budget }
    }

    /// Waits before the next attempt, after one that began at `began` and failed; gives the error back when it is
    /// one that will stay, or when the budget is spent.
    pub(crate) async fn pause(&mut self, error: Error, began: Instant) -> Result<(), Error> {
        if !error.is_transient() {
            return Err(error);
        }
        let asked = if let Error::Throttled { retry_after, .. } = &error { *retry_after } else { None };
        tracing::debug!(error = %error, "trying again");
        self.wait(began, asked.unwrap_or_default()).await.map_err(|()| error)
    }

    /// Waits before the next attempt, at least as long as asked for; an error when the budget is spent.
    pub(crate) async fn wait(&mut self, began: Instant, asked: Duration) -> Result<(), ()> {
        let delay = self.delays.next().unwrap_or(self.retry.max_delay).max(asked);
        let spent = began.elapsed().saturating_add(delay);
        if spent >= self.left {
            return Err(());
        }
        self.left = self.left.saturating_sub(spent);
        sleep(delay).await;
        Ok(())
    }

    /// Makes the next wait a short one again; what is spent stays spent.
    pub(crate) fn succeeded(&mut self) {
        self.delays = delays(self.retry);
    }
}

fn delays(retry: Retry) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(retry.min_delay)
        .with_max_delay(retry.max_delay)
        .without_max_times()
        .build()
}
