//! One schedule.

use super::{
    Action, Arc, DaemonEvent, Error, LATE, LONGEST_WAIT, Missed, Origin, Run, TOLERANCE, later, length, missed,
};

use jiff::Timestamp;
use lifeboat_model::ScheduleSpec;

use crate::timing::{DueTimes, Timing, jitter};

/// A schedule and what is known of it.
#[derive(Debug)]
pub(super) struct Line {
    name: String,
    pub(super) spec: Arc<ScheduleSpec>,
    timing: Timing,
    /// Since when there is a schedule of this name, where that is known, and since when this daemon knows of it.
    created: Option<Timestamp>,
    seen: Timestamp,
    /// Nothing has to be done any more for what was due up to here.
    handled: Timestamp,
    /// The first time after that.
    next: Option<Timestamp>,
    /// A run that has not begun.
    pub(super) pending: Option<Pending>,
}

/// A run that waits to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) due: Timestamp,
    /// When to begin it.
    pub(super) begin: Timestamp,
    /// It is not begun from then on.
    pub(super) until: Option<Timestamp>,
    /// The how many-th try this will be.
    pub(super) attempt: u32,
}

impl Line {
    pub(super) fn new(
        name: &str,
        spec: &ScheduleSpec,
        created: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let timing = Timing::new(&spec.schedule, spec.time_zone.as_deref(), now)?;
        let (name, spec, next) = (name.to_owned(), Arc::new(spec.clone()), timing.after(now));
        Ok(Self { name, spec, timing, created, seen: now, handled: now, next, pending: None })
    }

    /// Knows of backups up to then. A schedule begins with what is due after it came to be, and nothing before that was
    /// missed.
    pub(super) fn recall(&mut self, backup: Option<Timestamp>) {
        self.reset(backup.max(self.created).unwrap_or(self.seen));
    }

    /// The same schedule with settings that may be others. Where its times are, what was due by the old ones is
    /// withdrawn.
    pub(super) fn changed(
        mut self,
        spec: &ScheduleSpec,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Result<Self, Error> {
        let same_times = self.spec.schedule == spec.schedule && self.spec.time_zone == spec.time_zone;
        if !same_times {
            self.withdraw(actions);
            return Self::new(&self.name, spec, self.created, now);
        }
        self.spec = Arc::new(spec.clone());
        if spec.suspend {
            self.withdraw(actions);
        }
        Ok(self)
    }

    /// Forgets what was under way and what was due up to then.
    fn reset(&mut self, handled: Timestamp) {
        self.pending = None;
        self.handled = handled;
        self.next = self.timing.after(handled);
    }

    pub(super) fn run(&self, due: Timestamp) -> Run {
        Run { origin: Origin::Schedule(self.name.clone()), due }
    }

    /// The run that waits will have no backup.
    pub(super) fn withdraw(&mut self, actions: &mut Vec<Action>) {
        if let Some(pending) = self.pending.take() {
            actions.push(missed(&self.name, pending.due, Missed::Withdrawn));
        }
    }

    /// When the run that waits was to begin, if that is by now.
    pub(super) fn ready(&self, now: Timestamp) -> Option<Timestamp> {
        self.pending.as_ref().map(|pending| pending.begin).filter(|begin| *begin <= now)
    }

    /// When something is to be done. A run that can begin is none where a job is under way.
    pub(super) fn wake(&self, free: bool) -> Option<Timestamp> {
        let pending = self.pending.as_ref();
        let begin = pending.map(|pending| pending.begin).filter(|_| free);
        let until = pending.and_then(|pending| pending.until);
        [self.next, begin, until].into_iter().flatten().min()
    }

    pub(super) fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.follow_the_clock(now);
        if self.spec.suspend {
            self.reset(now);
            return;
        }
        if self.next.is_some_and(|next| next <= now)
            && let Some(times) = self.timing.within(self.handled, now)
        {
            self.due(now, times, actions);
        }
        let over = |pending: &Pending| pending.until.is_some_and(|until| until <= now);
        if let Some(pending) = self.pending.take_if(|pending| over(pending)) {
            actions.push(missed(&self.name, pending.due, without_backup(&pending, Missed::Deadline)));
        }
    }

    /// What was handled in a time that is still to come was so by a clock that was wrong: that time is due again.
    fn follow_the_clock(&mut self, now: Timestamp) {
        let horizon = later(now, TOLERANCE);
        if self.handled > horizon {
            self.reset(now);
        }
        if let Some(pending) = &mut self.pending
            && pending.attempt > 1
        {
            pending.begin = pending.begin.min(later(now, LONGEST_WAIT));
        }
    }

    /// Times were due since the last look. The last of them gets a run if that can still begin.
    fn due(&mut self, now: Timestamp, times: DueTimes, actions: &mut Vec<Action>) {
        if let Some(pending) = self.pending.take() {
            actions.push(missed(&self.name, pending.due, without_backup(&pending, Missed::Superseded)));
        }
        let DueTimes { first, last, before_last, count } = times;
        if let Some(before_last) = before_last {
            let (schedule, reason) = (self.name.clone(), Missed::Superseded);
            let event = DaemonEvent::RunMissed { schedule, first, last: before_last, count: count - 1, reason };
            actions.push(Action::Tell(event));
        }
        self.reset(last);
        let most = self.spec.jitter.as_ref();
        let begin = most.map_or(last, |most| later(last, jitter(&self.name, last, most, self.next)));
        let deadline = self.spec.starting_deadline.as_ref().map(|age| later(last, length(age, last)).max(begin));
        if deadline.is_some_and(|deadline| deadline < now) {
            actions.push(missed(&self.name, last, Missed::Deadline));
            return;
        }
        let until = [self.next, deadline.map(|deadline| later(deadline, NEXT_MOMENT))].into_iter().flatten().min();
        self.pending = Some(Pending { due: last, begin, until, attempt: 1 });
        if now.duration_since(begin) >= LATE {
            let by = now.duration_since(last).unsigned_abs();
            actions.push(Action::Tell(DaemonEvent::RunLate { run: self.run(last), by }));
        }
    }
}

/// A deadline is itself still in time.
const NEXT_MOMENT: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// Why a run has no backup that was tried or waited in vain.
fn without_backup(pending: &Pending, untried: Missed) -> Missed {
    if pending.attempt > 1 { Missed::Failed } else { untried }
}
