//! What is due, and what is to be done about it: a state machine without clock and I/O.
//!
//! Backups are taken one at a time. A run has a window, from when it is due to the next time that its schedule is due, or
//! to its starting deadline where that is earlier; in it, it is tried until it succeeds. For each time that is due there
//! is a backup that was begun in its window, or an event that says that there is none.

mod line;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Age, ConcurrencyPolicy, NamedSchedule, ScheduleSpec};

use self::line::{Line, Pending};
use crate::error::Error;
use crate::event::{DaemonEvent, Missed, Origin, Run};
use crate::timing::spread;

/// The first wait between two tries. Each is twice as long as the one before, up to the longest.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(15);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(10);
/// A clock that is set back by less does not make a run due again that was due already.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(2);
/// A run that begins so much later than it was to is told to be late.
const LATE: SignedDuration = SignedDuration::from_mins(1);

/// A schedule, and since when there is one of this name, where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) schedule: NamedSchedule,
    pub(crate) created: Option<Timestamp>,
}

impl From<NamedSchedule> for Standing {
    fn from(schedule: NamedSchedule) -> Self {
        Self { schedule, created: None }
    }
}

/// Something to do.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Begin this job; there is none under way. [`Scheduler::ended`] is told when it has ended.
    Start { job: Job, attempt: u32 },
    /// End the job that is under way. It has ended when that is told.
    Cancel,
    /// Publish this.
    Tell(DaemonEvent),
}

/// A backup to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// For a schedule.
    Run(Run),
    /// For a request of that number.
    Request(u64),
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// With a backup that was begun then.
    Done(Timestamp),
    /// Without one, and why.
    Failed(String),
    /// Without one, since it was to end.
    Cancelled,
}

/// The state.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    lines: BTreeMap<String, Line>,
    /// When the latest backup of each schedule was begun.
    history: BTreeMap<String, Timestamp>,
    /// Whether anything is to be begun here.
    active: bool,
    current: Option<Current>,
    requests: VecDeque<(u64, Timestamp)>,
}

#[derive(Debug)]
struct Current {
    job: Job,
    /// Of a run: its window and its tries.
    pending: Option<Pending>,
    cancelled: bool,
}

impl Scheduler {
    /// The schedules from now on. Those that make no sense are left out, and said why.
    pub(crate) fn set_schedules(
        &mut self,
        now: Timestamp,
        schedules: &[Standing],
        actions: &mut Vec<Action>,
    ) -> Vec<(String, Error)> {
        let mut lines = BTreeMap::new();
        let mut faults = Vec::new();
        for Standing { schedule: NamedSchedule { name, spec }, created } in schedules {
            let line = match self.lines.remove(name) {
                Some(line) => line.changed(spec, now, actions),
                None => Line::new(name, spec, *created, now).map(|mut line| {
                    line.recall(self.history.get(name).copied());
                    line
                }),
            };
            match line {
                Ok(line) => drop(lines.insert(name.clone(), line)),
                Err(error) => faults.push((name.clone(), error)),
            }
        }
        for mut line in std::mem::replace(&mut self.lines, lines).into_values() {
            line.withdraw(actions);
        }
        faults
    }

    /// Begins to act, with when the backups of each schedule were begun. What lies in the future was dated by a wrong
    /// clock, and does not count.
    pub(crate) fn begin(&mut self, now: Timestamp, history: impl IntoIterator<Item = (String, Timestamp)>) {
        let horizon = later(now, TOLERANCE);
        self.history.clear();
        for (name, started) in history.into_iter().filter(|(_, started)| *started <= horizon) {
            let known = self.history.entry(name).or_insert(started);
            *known = started.max(*known);
        }
        for (name, line) in &mut self.lines {
            line.recall(self.history.get(name).copied());
        }
        self.active = true;
    }

    /// Ceases to act: what is under way has to end, and will be begun again where that makes sense after [`Self::resume`].
    pub(crate) fn pause(&mut self) {
        self.active = false;
        self.current.iter_mut().for_each(|current| current.cancelled = true);
    }

    /// Acts again, knowing what was known.
    pub(crate) fn resume(&mut self) {
        self.active = true;
    }

    /// The settings of a schedule.
    pub(crate) fn spec(&self, schedule: &str) -> Option<Arc<ScheduleSpec>> {
        self.lines.get(schedule).map(|line| Arc::clone(&line.spec))
    }

    /// Puts a request into the queue.
    pub(crate) fn request(&mut self, now: Timestamp, number: u64) {
        self.requests.push_back((number, now));
    }

    /// Forgets the requests that were not begun yet.
    pub(crate) fn forget_requests(&mut self) {
        self.requests.clear();
    }

    /// What is to be done now.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.active {
            return actions;
        }
        for line in self.lines.values_mut() {
            line.tick(now, &mut actions);
        }
        match &mut self.current {
            None => self.start(now, &mut actions),
            Some(current) if !current.cancelled && replaced(&self.lines, &current.job, now) => {
                current.cancelled = true;
                actions.push(Action::Cancel);
            }
            Some(_) => {}
        }
        actions
    }

    /// Begins what has waited longest.
    fn start(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let ready = self.lines.values_mut().filter_map(|line| Some((line.ready(now)?, line)));
        let run = ready.min_by_key(|(begin, _)| *begin);
        let asked = self.requests.front().map(|(_, asked)| *asked);
        let (job, pending) = match run {
            Some((begin, line)) if asked.is_none_or(|asked| begin <= asked) => {
                let Some(pending) = line.pending.take() else { return };
                (Job::Run(line.run(pending.due)), Some(pending))
            }
            _ => match self.requests.pop_front() {
                Some((number, _)) => (Job::Request(number), None),
                None => return,
            },
        };
        let attempt = pending.as_ref().map_or(1, |pending| pending.attempt);
        actions.push(Action::Start { job: job.clone(), attempt });
        self.current = Some(Current { job, pending, cancelled: false });
    }

    /// A job has ended.
    pub(crate) fn ended(&mut self, now: Timestamp, ended: Ended) -> Vec<Action> {
        let Some(Current { job: Job::Run(run), pending: Some(pending), .. }) = self.current.take() else {
            return Vec::new();
        };
        let Origin::Schedule(name) = &run.origin else { return Vec::new() };
        match ended {
            Ended::Done(started) => {
                let known = self.history.entry(name.clone()).or_insert(started);
                *known = started.max(*known);
                Vec::new()
            }
            Ended::Failed(error) => self.failed(now, &run, pending, error),
            // What ceases to act goes on with it later, if there is nothing newer then.
            Ended::Cancelled if !self.active => match self.lines.get_mut(name).filter(|line| line.pending.is_none()) {
                Some(line) => {
                    line.pending = Some(Pending { begin: now, attempt: pending.attempt + 1, ..pending });
                    Vec::new()
                }
                None => vec![missed(name, run.due, Missed::Superseded)],
            },
            Ended::Cancelled => vec![missed(name, run.due, Missed::Superseded)],
        }
    }

    fn failed(&mut self, now: Timestamp, run: &Run, pending: Pending, error: String) -> Vec<Action> {
        let Origin::Schedule(name) = &run.origin else { return Vec::new() };
        let attempt = pending.attempt;
        let begin = later(now, wait(name, run.due, attempt));
        let line = self.lines.get_mut(name).filter(|line| {
            line.pending.is_none() && !line.spec.suspend && pending.until.is_none_or(|until| begin < until)
        });
        let retry = line.map(|line| {
            line.pending = Some(Pending { begin, attempt: attempt + 1, ..pending });
            begin
        });
        let mut actions = vec![Action::Tell(DaemonEvent::BackupFailed { run: run.clone(), attempt, error, retry })];
        if retry.is_none() {
            actions.push(missed(name, run.due, Missed::Failed));
        }
        actions
    }

    /// When there may be something to do, if nothing happens before.
    pub(crate) fn wake(&self) -> Option<Timestamp> {
        let lines = self.lines.values().filter(|_| self.active);
        lines.filter_map(|line| line.wake(self.current.is_none())).min()
    }
}

/// Whether a newer run of the same schedule wants the place of this job.
fn replaced(lines: &BTreeMap<String, Line>, job: &Job, now: Timestamp) -> bool {
    let Job::Run(Run { origin: Origin::Schedule(name), .. }) = job else { return false };
    lines
        .get(name)
        .is_some_and(|line| line.spec.concurrency_policy == ConcurrencyPolicy::Replace && line.ready(now).is_some())
}

/// How long to wait after a try failed: exponentially, and spread so that not everybody comes back at once.
fn wait(name: &str, due: Timestamp, attempt: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(attempt.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
    let longest = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
    let millis = u64::try_from(longest.as_millis()).unwrap_or_default();
    let less = spread(name, later(due, SignedDuration::from_secs(attempt.into()))) % (millis / 4).max(1);
    longest - SignedDuration::from_millis(i64::try_from(less).unwrap_or_default())
}

fn missed(schedule: &str, due: Timestamp, reason: Missed) -> Action {
    let schedule = schedule.to_owned();
    Action::Tell(DaemonEvent::RunMissed { schedule, first: due, last: due, count: 1, reason })
}

fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How long an age is at that moment.
fn length(age: &Age, moment: Timestamp) -> SignedDuration {
    moment.duration_since(age.before(moment))
}
