//! The main loop: joins leadership, scheduler and runner. One backup at a time, and one drill.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::{DrillTargets, Reason};
use lifeboat_recovery::{BackupRef, Error as RecoveryError, chain, drill};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::{BackupFacts, DaemonEvent, Leadership, Origin, Run};
use crate::health::Pulse;
use crate::leader::Office;
use crate::request::{BackupRequest, DrillRequest, Request};
use crate::run::{Controllers, control};
use crate::runner::{Exercise, Order, Runner, Seen};
use crate::scheduler::{Action, Ended, Job, Scheduler, Standing};
use crate::timing::Timing;

/// The clock is looked at as often, whatever is expected, since it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);
/// The catalog is looked at as often, by those who do not lead too.
const REFRESH: Duration = Duration::from_mins(10);
/// Waits after a look that failed.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What comes from outside of the loop.
pub(crate) struct Inbox {
    pub(crate) office: watch::Receiver<Office>,
    pub(crate) schedules: watch::Receiver<Vec<Standing>>,
    pub(crate) requests: mpsc::Receiver<Request>,
}

/// Work that was begun, and can be ended.
struct Work<T> {
    task: JoinHandle<T>,
    cancel: CancellationToken,
}

impl<T: 'static> Work<T> {
    fn spawn<F: Future<Output = T> + 'static>(work: impl FnOnce(CancellationToken) -> F) -> Self {
        let cancel = CancellationToken::new();
        Self { task: spawn_local(work(cancel.clone())), cancel }
    }
}

/// The end of work, for as long as there is any. A task of ours that broke breaks the daemon too.
async fn end<T>(work: &mut Option<Work<T>>, name: &'static str) -> Result<T, Error> {
    let Some(running) = work else { return std::future::pending().await };
    let result = (&mut running.task).await;
    *work = None;
    result.map_err(|_| Error::Ended(name))
}

/// The main loop's state.
pub(crate) struct MainLoop {
    runner: Arc<Runner>,
    controllers: Option<Controllers>,
    pulse: Pulse,
    scheduler: Scheduler,
    /// As it is acted upon. It is `None` while work of an earlier one ends.
    office: Office,
    /// Whether what was taken was told.
    told: Option<Leadership>,
    /// Whether the catalog was read since this daemon leads.
    informed: bool,
    backup: Option<Work<Ended>>,
    drill: Option<Work<()>>,
    look: Option<Work<Result<Seen, RecoveryError>>>,
    control: Option<Work<()>>,
    /// The look at the catalog that is under way began before this daemon led.
    outdated: bool,
    look_at: Instant,
    look_wait: Duration,
    /// Requests that were accepted, by their number.
    asked: BTreeMap<u64, BackupRequest>,
    numbers: u64,
    drills: VecDeque<DrillRequest>,
    drill_timing: Option<Timing>,
    drill_due: Option<Timestamp>,
}

impl MainLoop {
    pub(crate) fn new(runner: Arc<Runner>, controllers: Option<Controllers>, pulse: Pulse) -> Self {
        let now = runner.context.clock.now();
        let drill = runner.config.daemon.drill.as_ref();
        let timing = drill.and_then(|drill| Timing::new(&drill.schedule, drill.time_zone.as_deref(), now).ok());
        Self {
            runner,
            controllers,
            pulse,
            scheduler: Scheduler::default(),
            office: Office::None,
            told: None,
            informed: false,
            backup: None,
            drill: None,
            look: None,
            control: None,
            outdated: false,
            look_at: Instant::now(),
            look_wait: FIRST_WAIT,
            asked: BTreeMap::new(),
            numbers: 0,
            drills: VecDeque::new(),
            drill_timing: timing,
            drill_due: None,
        }
    }

    /// Runs until the token is cancelled and all work has ended.
    pub(crate) async fn run(mut self, mut inbox: Inbox, shutdown: CancellationToken) -> Result<(), Error> {
        self.set_schedules(&inbox.schedules.borrow_and_update().clone());
        let result = loop {
            self.pulse.beat();
            let wanted = *inbox.office.borrow_and_update();
            self.follow(wanted);
            self.act();
            let (pause, look_at, may_look) = (self.pause(), self.look_at, self.look.is_none());
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                _ = inbox.office.changed() => {}
                Ok(()) = inbox.schedules.changed() => {
                    let schedules = inbox.schedules.borrow_and_update().clone();
                    self.set_schedules(&schedules);
                }
                Some(request) = inbox.requests.recv() => {
                    // It may be for a schedule that came just before it.
                    if inbox.schedules.has_changed().unwrap_or(false) {
                        let schedules = inbox.schedules.borrow_and_update().clone();
                        self.set_schedules(&schedules);
                    }
                    self.accept(request);
                }
                ended = end(&mut self.backup, "backup") => match ended {
                    Ok(ended) => self.backup_ended(ended),
                    Err(error) => break Err(error),
                },
                ended = end(&mut self.drill, "drill") => match ended {
                    Ok(()) => self.look_at = Instant::now(),
                    Err(error) => break Err(error),
                },
                seen = end(&mut self.look, "look at the catalog") => match seen {
                    Ok(seen) => self.looked(seen),
                    Err(error) => break Err(error),
                },
                ended = end(&mut self.control, "controllers") => {
                    // They end when they are told to, and then the daemon does not lead.
                    if self.office != Office::None || ended.is_err() {
                        break Err(Error::Ended("controllers"));
                    }
                }
                () = sleep(pause) => {}
                () = sleep_until(look_at), if may_look => self.look(),
            }
        };
        self.stop().await;
        result
    }

    fn now(&self) -> Timestamp {
        self.runner.context.clock.now()
    }

    /// How long to sleep, if nothing happens.
    fn pause(&self) -> Duration {
        let drill = self.drill_due.filter(|_| self.may_drill());
        let wake = [self.scheduler.wake(), drill].into_iter().flatten().min();
        let left = wake.map_or(LONGEST_SLEEP, |wake| wake.duration_since(self.now()).try_into().unwrap_or_default());
        left.clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    /// Comes into an office, once all work of an earlier one has ended.
    fn follow(&mut self, wanted: Office) {
        if self.office != wanted && self.office != Office::None {
            self.office = Office::None;
            self.leave();
        }
        if self.office == wanted && self.told.is_some() || !self.is_idle() {
            return;
        }
        self.office = wanted;
        let leadership = match wanted {
            Office::None => {
                self.asked.clear();
                self.drills.clear();
                self.scheduler.forget_requests();
                Leadership::Follower
            }
            Office::Held(_) => {
                // The catalog says what was done by whomever, if it is read now that nobody else adds to it.
                self.informed = false;
                self.look_at = Instant::now();
                self.outdated = self.look.as_ref().is_some_and(|look| {
                    look.cancel.cancel();
                    true
                });
                self.control = self.controllers.as_ref().map(|options| {
                    let options = options();
                    Work::spawn(|cancel| control(options, cancel))
                });
                Leadership::Leader
            }
            Office::Isolated(_) => {
                if self.informed {
                    self.scheduler.resume();
                }
                Leadership::Isolated
            }
        };
        if self.told.replace(leadership) != Some(leadership) {
            self.publish(DaemonEvent::Leading(leadership));
        }
    }

    /// Tells all work to end.
    fn leave(&mut self) {
        // The backup that is under way is ended below.
        self.scheduler.pause();
        for cancel in [
            self.backup.as_ref().map(|work| &work.cancel),
            self.drill.as_ref().map(|work| &work.cancel),
            self.control.as_ref().map(|work| &work.cancel),
        ] {
            cancel.into_iter().for_each(CancellationToken::cancel);
        }
    }

    fn is_idle(&self) -> bool {
        self.backup.is_none() && self.drill.is_none() && self.control.is_none()
    }

    async fn stop(&mut self) {
        self.office = Office::None;
        self.leave();
        self.look.iter().for_each(|look| look.cancel.cancel());
        if self.backup.is_some() {
            // It says itself how it ended.
            let _ = end(&mut self.backup, "backup").await;
        }
        if self.drill.is_some() {
            let _ = end(&mut self.drill, "drill").await;
        }
        if self.control.is_some() {
            let _ = end(&mut self.control, "controllers").await;
        }
        if self.look.is_some() {
            let _ = end(&mut self.look, "look at the catalog").await;
        }
    }

    fn publish(&self, event: DaemonEvent) {
        self.runner.events.publish(event);
    }

    fn set_schedules(&mut self, others: &[Standing]) {
        let ours = self.runner.config.schedules.iter().cloned().map(Standing::from);
        let schedules: Vec<Standing> = ours.chain(others.iter().cloned()).collect();
        let mut actions = Vec::new();
        for (schedule, error) in self.scheduler.set_schedules(self.now(), &schedules, &mut actions) {
            tracing::error!(schedule, error = chain(&error), "a schedule makes no sense");
        }
        let schedules = schedules.into_iter().map(|standing| standing.schedule).collect();
        self.publish(DaemonEvent::Schedules(schedules));
        self.perform(actions);
    }

    fn accept(&mut self, request: Request) {
        // Dropping it says that it is refused.
        if self.office == Office::None {
            return;
        }
        match request {
            Request::Backup(request) => {
                if let Some(name) = &request.schedule
                    && self.scheduler.spec(name).is_none()
                {
                    let problem = format!("there is no schedule '{name}'");
                    answer(request.reply, Err(problem));
                    return;
                }
                self.numbers += 1;
                self.scheduler.request(self.now(), self.numbers);
                self.asked.insert(self.numbers, request);
            }
            Request::Drill(request) => self.drills.push_back(request),
        }
    }

    /// Begins what is due.
    fn act(&mut self) {
        if self.office == Office::None || !self.informed {
            return;
        }
        let actions = self.scheduler.tick(self.now());
        self.perform(actions);
        if self.may_drill() {
            self.drill();
        }
    }

    /// Without the API server there is more urgent work.
    fn may_drill(&self) -> bool {
        matches!(self.office, Office::Held(_)) && self.informed && self.drill.is_none()
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Tell(event) => self.publish(event),
                Action::Cancel => self.backup.iter().for_each(|work| work.cancel.cancel()),
                Action::Start { job: Job::Run(run), attempt } => self.start_run(run, attempt),
                Action::Start { job: Job::Request(number), .. } => self.start_request(number),
            }
        }
    }

    fn start_run(&mut self, run: Run, attempt: u32) {
        let Origin::Schedule(name) = run.origin.clone() else { return self.backup_ended(Ended::Cancelled) };
        let Some(spec) = self.scheduler.spec(&name) else { return self.backup_ended(Ended::Cancelled) };
        let order = Order {
            reason: Reason::Schedule(name.clone()),
            etcd: spec.etcd,
            objects: spec.objects,
            resources: spec.resources.clone(),
            object_lock: spec.object_lock.clone(),
            begun: None,
        };
        let (runner, fence) = (Arc::clone(&self.runner), self.office.fence());
        let isolated = matches!(self.office, Office::Isolated(_));
        self.backup = Some(Work::spawn(|cancel| async move {
            let result = attempted(&runner, order, &run, attempt, fence, &cancel).await;
            match result {
                Ok(backup) => {
                    // Whoever may not be the only leader removes nothing.
                    if let Some(policy) = runner.retention(&spec).filter(|_| !isolated) {
                        runner.prune(&name, policy, &cancel).await;
                    }
                    Ended::Done(backup.started)
                }
                Err(_) if cancel.is_cancelled() => Ended::Cancelled,
                Err(error) => Ended::Failed(chain(&error)),
            }
        }));
    }

    fn start_request(&mut self, number: u64) {
        let Some(request) = self.asked.remove(&number) else { return self.backup_ended(Ended::Cancelled) };
        let run = Run { origin: Origin::Request(request.name), due: self.now() };
        let followed = request.schedule.as_ref().and_then(|name| self.scheduler.spec(name));
        let order = Order {
            etcd: followed.as_ref().map_or(request.etcd, |spec| spec.etcd),
            objects: followed.as_ref().map_or(request.objects, |spec| spec.objects),
            resources: followed.as_ref().map_or(request.resources, |spec| spec.resources.clone()),
            object_lock: followed.as_ref().and_then(|spec| spec.object_lock.clone()),
            reason: request.schedule.map_or(Reason::Manual, Reason::Schedule),
            begun: request.begun,
        };
        let (runner, fence, reply) = (Arc::clone(&self.runner), self.office.fence(), request.reply);
        self.backup = Some(Work::spawn(|cancel| async move {
            match attempted(&runner, order, &run, 1, fence, &cancel).await {
                Ok(backup) => {
                    let started = backup.started;
                    answer(reply, Ok(backup));
                    Ended::Done(started)
                }
                Err(_) if cancel.is_cancelled() => Ended::Cancelled,
                Err(error) => {
                    let error = chain(&error);
                    let event = DaemonEvent::BackupFailed { run, attempt: 1, error: error.clone(), retry: None };
                    runner.events.publish(event);
                    answer(reply, Err(error.clone()));
                    Ended::Failed(error)
                }
            }
        }));
    }

    fn backup_ended(&mut self, ended: Ended) {
        let actions = self.scheduler.ended(self.now(), ended);
        self.perform(actions);
        if self.office != Office::None {
            self.look_at = Instant::now();
        }
    }

    /// Holds the drill that is asked for, or due.
    fn drill(&mut self) {
        let (exercise, reply) = match self.drills.pop_front() {
            Some(DrillRequest { backup, tier, identities, targets, reply }) => {
                (Exercise { backup, tier, identities, targets }, Some(reply))
            }
            None => match self.due_drill() {
                Some(exercise) => (exercise, None),
                None => return,
            },
        };
        let runner = Arc::clone(&self.runner);
        self.publish(DaemonEvent::DrillStarted);
        self.drill = Some(Work::spawn(|cancel| async move {
            let result = runner.hold_drill(exercise, &cancel).await;
            // What was ended for another leader is neither passed nor failed.
            if result.is_err() && cancel.is_cancelled() {
                return;
            }
            let result = result.map_err(|error| chain(&error));
            runner.events.publish(match &result {
                Ok(outcome) => DaemonEvent::DrillFinished(Arc::new(outcome.clone())),
                Err(error) => DaemonEvent::DrillFailed { error: error.clone() },
            });
            if let Some(reply) = reply {
                answer::<drill::Outcome>(reply, result);
            }
        }));
    }

    /// The drill of the configuration, if it is due.
    fn due_drill(&mut self) -> Option<Exercise> {
        let (now, due) = (self.now(), self.drill_due?);
        if due > now {
            return None;
        }
        self.drill_due = self.drill_timing.as_ref()?.after(now);
        let drill = self.runner.config.daemon.drill.as_ref()?;
        let targets = DrillTargets::default();
        Some(Exercise { backup: BackupRef::Latest, tier: drill.tier, identities: None, targets })
    }

    fn look(&mut self) {
        let runner = Arc::clone(&self.runner);
        self.look_at = Instant::now() + REFRESH;
        self.look = Some(Work::spawn(|cancel| async move {
            let work = Box::pin(runner.look(&cancel));
            cancel.run_until_cancelled(work).await.unwrap_or(Err(RecoveryError::Cancelled))
        }));
    }

    fn looked(&mut self, seen: Result<Seen, RecoveryError>) {
        if std::mem::take(&mut self.outdated) {
            self.look_at = Instant::now();
            return;
        }
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.look_at = Instant::now() + self.look_wait;
                self.look_wait = (self.look_wait * 2).min(LONGEST_WAIT);
                self.publish(DaemonEvent::StoreFailed { error: chain(&error) });
                return;
            }
        };
        self.look_wait = FIRST_WAIT;
        let now = self.now();
        if let (Some(timing), None) = (&self.drill_timing, self.drill_due) {
            self.drill_due = timing.after(seen.drilled.unwrap_or(now).min(now));
        }
        if self.office != Office::None && !self.informed {
            self.scheduler.begin(now, seen.history);
            self.informed = true;
        }
        self.publish(DaemonEvent::Catalog(Arc::new(seen.facts)));
    }
}

/// Takes one backup, and tells of it. A failure is told by whoever knows whether it is tried again.
async fn attempted(
    runner: &Runner,
    order: Order,
    run: &Run,
    attempt: u32,
    fence: Option<u64>,
    cancel: &CancellationToken,
) -> Result<BackupFacts, RecoveryError> {
    let begun = Instant::now();
    let earlier = if attempt > 1 { runner.taken_for(run, cancel).await? } else { None };
    let backup = if let Some(backup) = earlier {
        backup
    } else {
        runner.events.publish(DaemonEvent::BackupStarted { run: run.clone(), attempt });
        runner.back_up(order, fence, cancel).await?
    };
    let took = begun.elapsed();
    runner.events.publish(DaemonEvent::BackupFinished { run: run.clone(), backup: backup.clone(), took });
    Ok(backup)
}

fn answer<T>(reply: oneshot::Sender<Result<T, String>>, result: Result<T, String>) {
    // Whoever asked may have gone; what was done is done.
    let _ = reply.send(result);
}
