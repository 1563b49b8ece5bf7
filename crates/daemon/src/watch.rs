//! What makes the daemon be seen: metrics, health and notifications, fed by its events.

use std::sync::Arc;

use lifeboat_model::NotifyConfig;
use lifeboat_recovery::{Clock, Context};
use tokio::net::TcpListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::event::DaemonEvent;
use crate::health::{self, Health, Pulse};
use crate::metrics::{MeteredStore, Metrics};
use crate::notify::{About, Notifier, Patience};

/// Metrics, health and notifications of one daemon.
pub(crate) struct Watch {
    metrics: Metrics,
    health: Health,
    clock: Arc<dyn Clock>,
    about: About,
}

impl Watch {
    /// Of the daemon with that context. The context's store is measured from now on.
    pub(crate) fn new(context: &mut Context, tool: &str) -> Self {
        let metrics = Metrics::new(tool);
        context.store = Arc::new(MeteredStore::new(Arc::clone(&context.store), metrics.clone()));
        let about = About { cluster: context.cluster.to_string(), tool: tool.to_owned() };
        Self { metrics, health: Health::new(), clock: Arc::clone(&context.clock), about }
    }

    /// For the main loop, which gives a sign of life at each turn.
    pub(crate) fn pulse(&self) -> Pulse {
        self.health.pulse()
    }

    /// Counts, serves and tells until the token is cancelled.
    pub(crate) async fn run(
        self,
        mut events: Receiver<DaemonEvent>,
        notify: NotifyConfig,
        listener: Option<TcpListener>,
        shutdown: CancellationToken,
    ) {
        let Self { metrics, health, clock, about } = self;
        let mut notifier = Notifier::start(&notify, about, Patience::default(), &clock, &metrics, &shutdown);
        let serving = async {
            if let Some(listener) = listener {
                health::serve(listener, metrics.clone(), health.clone(), shutdown.clone()).await;
            }
        };
        let watching = async {
            while let Some(event) = next(&mut events, &metrics, &shutdown).await {
                let now = clock.now();
                metrics.observe(&event, now);
                health.observe(&event);
                notifier.observe(&event, now);
            }
            shutdown.cancelled().await;
            notifier.ended().await;
        };
        tokio::join!(serving, watching);
    }
}

/// The next event; `None` at the end.
async fn next(
    events: &mut Receiver<DaemonEvent>,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Option<DaemonEvent> {
    loop {
        match shutdown.run_until_cancelled(events.recv()).await? {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(lost)) => {
                metrics.lost(lost);
                tracing::warn!(lost, "events came faster than they could be counted");
            }
            Err(RecvError::Closed) => return None,
        }
    }
}
