//! Telling people and monitors what became of the work, without ever holding it up.
//!
//! A dead man's switch is called after each success: that it hears nothing is the alarm that still comes when cluster,
//! daemon and monitoring are gone together. Webhooks are told of failures, and when they are over, once each.
//!
//! Each target has a queue of its own and one task, which tries again for a while. When the queue is full, the oldest
//! message goes: what is true now matters more.

mod client;
mod judge;
mod message;
mod outbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::{HeartbeatStyle, NamedSchedule, NotifyConfig, WebhookFormat};
use lifeboat_recovery::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event::{DaemonEvent, Origin};
use crate::metrics::Metrics;
use judge::{Judge, News};
pub(crate) use message::About;
use message::Message;
use outbox::{Outbox, Parcel};

/// How patient deliveries are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one request.
    pub(crate) request: Duration,
    /// Before the second try; doubled before each further one.
    pub(crate) first: Duration,
    /// The longest wait between two tries.
    pub(crate) longest: Duration,
    /// For all tries of a message together.
    pub(crate) all: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(5),
            all: Duration::from_hours(1),
        }
    }
}

/// Where a message goes.
#[derive(Debug)]
struct Target {
    /// Its name, for logs and metrics. The URL is a secret.
    name: String,
    url_file: PathBuf,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

struct Heartbeat {
    style: HeartbeatStyle,
    outbox: Outbox,
}

struct Webhook {
    format: WebhookFormat,
    outbox: Outbox,
}

/// Which targets hear of a schedule.
#[derive(Debug, Clone, Default)]
struct Route {
    heartbeat: Option<String>,
    /// Every webhook where empty.
    webhooks: Vec<String>,
}

/// Tells of events.
pub(crate) struct Notifier {
    about: About,
    judge: Judge,
    routes: BTreeMap<String, Route>,
    heartbeats: BTreeMap<String, Heartbeat>,
    webhooks: BTreeMap<String, Webhook>,
    tasks: TaskTracker,
}

impl Notifier {
    /// Starts a task for each target, which ends with the token.
    pub(crate) fn start(
        config: &NotifyConfig,
        about: About,
        patience: Patience,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        shutdown: &CancellationToken,
    ) -> Self {
        let tasks = TaskTracker::new();
        let begin = |target: Target| {
            let name = target.name.clone();
            if let Err(error) = client::check(&target) {
                tracing::warn!(target_name = %name, %error, "messages could not be sent as it stands");
            }
            let (outbox, work) = Outbox::new(target, patience, Arc::clone(clock), metrics.clone());
            tasks.spawn(work.run(shutdown.clone()));
            (name, outbox)
        };
        let heartbeats = config.heartbeats.iter().map(|heartbeat| {
            let (name, outbox) = begin(Target {
                name: heartbeat.name.clone(),
                url_file: heartbeat.url_file.clone(),
                token_file: None,
                ca_file: heartbeat.ca_file.clone(),
            });
            (name, Heartbeat { style: heartbeat.style, outbox })
        });
        let heartbeats = heartbeats.collect();
        let webhooks = config.webhooks.iter().map(|webhook| {
            let (name, outbox) = begin(Target {
                name: webhook.name.clone(),
                url_file: webhook.url_file.clone(),
                token_file: webhook.token_file.clone(),
                ca_file: webhook.ca_file.clone(),
            });
            (name, Webhook { format: webhook.format, outbox })
        });
        let webhooks = webhooks.collect();
        tasks.close();
        Self { about, judge: Judge::default(), routes: BTreeMap::new(), heartbeats, webhooks, tasks }
    }

    /// Waits until the tasks have ended, after the token was cancelled.
    pub(crate) async fn ended(&self) {
        self.tasks.wait().await;
    }

    /// Takes an event into account. Never waits.
    pub(crate) fn observe(&mut self, event: &DaemonEvent, now: Timestamp) {
        if let DaemonEvent::Schedules(schedules) = event {
            self.route(schedules);
        }
        self.beat(event);
        if let Some(news) = self.judge.judge(event, now) {
            self.tell(&news, now);
        }
    }

    fn route(&mut self, schedules: &[NamedSchedule]) {
        let mut routes = BTreeMap::new();
        for NamedSchedule { name, spec } in schedules {
            let known = |target: &&String| {
                let known = self.webhooks.contains_key(*target);
                if !known {
                    tracing::warn!(schedule = %name, webhook = %target, "there is no webhook of that name");
                }
                known
            };
            let webhooks = spec.notify.iter().filter(known).cloned().collect();
            if let Some(heartbeat) = spec.heartbeat.as_ref().filter(|name| !self.heartbeats.contains_key(*name)) {
                tracing::warn!(schedule = %name, %heartbeat, "there is no heartbeat of that name");
            }
            routes.insert(name.clone(), Route { heartbeat: spec.heartbeat.clone(), webhooks });
        }
        self.judge.retain(|schedule| routes.contains_key(schedule));
        self.routes = routes;
    }

    /// Calls the dead man's switch of a run's schedule.
    fn beat(&self, event: &DaemonEvent) {
        let Some((origin, sign)) = judge::sign_of_life(event) else { return };
        let Origin::Schedule(schedule) = origin else { return };
        let heartbeat = self.routes.get(schedule).and_then(|route| route.heartbeat.as_ref());
        let Some(heartbeat) = heartbeat.and_then(|name| self.heartbeats.get(name)) else { return };
        if let Some(parcel) = Parcel::heartbeat(heartbeat.style, sign) {
            heartbeat.outbox.put(parcel);
        }
    }

    fn tell(&self, news: &News, now: Timestamp) {
        let route = news.schedule.as_ref().and_then(|schedule| self.routes.get(schedule));
        let chosen = route.map(|route| route.webhooks.as_slice()).unwrap_or_default();
        let message = Message::new(&self.about, news, now);
        for (name, webhook) in &self.webhooks {
            if chosen.is_empty() || chosen.contains(name) {
                webhook.outbox.put(Parcel::post(message.body(webhook.format)));
            }
        }
    }
}
