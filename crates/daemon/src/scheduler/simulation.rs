//! A thousand days of two daemons, a lease, an API server and a store, each of which fails, by a virtual clock.
//!
//! The store here is a model of what the real one guarantees, which has tests of its own: a place in the chain is given
//! once, and to no leader of an earlier generation than one that has made itself known. Retention is the real function.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::SignedDuration as Span;
use lifeboat_model::{BackupId, BackupState, RetentionPolicy};
use lifeboat_recovery::retention::{Known, plan};

use super::tests::{at, schedule, set};
use super::*;
use crate::timing::Timing;

const DAYS: i64 = 1_000;
/// How long a lease lasts, and how long before its end its holder stops.
const LEASE: Span = Span::from_secs(30);
const MARGIN: Span = Span::from_secs(10);
/// How long who has led goes on without the API server.
const ISOLATED: Span = Span::from_hours(12);
/// How soon a daemon looks again for what it waits for.
const PAUSE: Span = Span::from_secs(10);

/// A backup in the store.
#[derive(Debug, Clone)]
struct Stored {
    known: Known,
    run: Run,
    fence: u64,
}

#[derive(Debug, Default)]
struct Store {
    is_up: bool,
    backups: Vec<Stored>,
    /// The highest generation that has made itself known, and the last place that was given.
    seen: u64,
    sequence: u64,
}

impl Store {
    /// What `backup::take_over` does.
    fn take_over(&mut self, fence: u64) -> bool {
        let may = self.is_up && fence >= self.seen;
        self.seen = if may { fence } else { self.seen };
        may
    }

    fn history(&self) -> impl Iterator<Item = (String, Timestamp)> {
        self.backups.iter().map(|stored| (name(&stored.run).to_owned(), stored.known.started))
    }
}

fn name(run: &Run) -> &str {
    let (Origin::Schedule(name) | Origin::Request(name)) = &run.origin;
    name
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Office {
    None,
    /// The lease is held, and the store does not know of it yet.
    Elected(u64),
    Held(u64),
    Isolated(u64, Timestamp),
}

struct Running {
    run: Run,
    attempt: u32,
    started: Timestamp,
    ends: Timestamp,
    fence: u64,
}

/// One daemon.
struct Daemon {
    scheduler: Scheduler,
    office: Office,
    running: Option<Running>,
    /// How far its clock is ahead of the time.
    skew: Span,
    reaches_api: bool,
    /// It is dead until then.
    dead: Option<Timestamp>,
    /// When it last renewed its lease.
    renewed: Timestamp,
    look: Timestamp,
}

struct World {
    rng: Rng,
    now: Timestamp,
    store: Store,
    daemons: [Daemon; 2],
    holder: Option<usize>,
    expires: Timestamp,
    generation: u64,
    schedules: Vec<NamedSchedule>,
    /// Every backup that was ever committed.
    committed: Vec<Stored>,
    /// Ranges of due times that were told to have no backup.
    told: Vec<(String, Timestamp, Timestamp)>,
    /// Runs whose commit was not known to have happened.
    refused: u64,
    calm: bool,
    clocks_jump: bool,
    removed: u64,
}

fn schedules() -> Vec<NamedSchedule> {
    vec![
        schedule("often", "20 * * * *", |spec| spec.jitter = Some("3m".parse().unwrap())),
        schedule("hourly", "@hourly", |spec| spec.starting_deadline = Some("25m".parse().unwrap())),
        schedule("nightly", "30 2 * * *", |spec| {
            spec.time_zone = Some("Europe/Berlin".to_owned());
            spec.jitter = Some("20m".parse().unwrap());
            spec.concurrency_policy = ConcurrencyPolicy::Replace;
        }),
        schedule("weekly", "0 4 * * SUN", |spec| spec.starting_deadline = Some("2d".parse().unwrap())),
    ]
}

fn daemon() -> Daemon {
    Daemon {
        scheduler: fresh(at("2025-01-01T00:00:00Z")),
        office: Office::None,
        running: None,
        skew: Span::ZERO,
        reaches_api: true,
        dead: None,
        renewed: Timestamp::UNIX_EPOCH,
        look: Timestamp::UNIX_EPOCH,
    }
}

fn fresh(now: Timestamp) -> Scheduler {
    let mut scheduler = Scheduler::default();
    set(&mut scheduler, now, &schedules(), &mut Vec::new());
    scheduler
}

impl World {
    fn new(seed: u64, clocks_jump: bool) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now: at("2025-01-01T00:00:00Z"),
            store: Store { is_up: true, ..Store::default() },
            daemons: [daemon(), daemon()],
            holder: None,
            expires: Timestamp::UNIX_EPOCH,
            generation: 0,
            schedules: schedules(),
            committed: Vec::new(),
            told: Vec::new(),
            refused: 0,
            calm: false,
            clocks_jump,
            removed: 0,
        }
    }

    /// Something goes wrong, or is well again.
    fn fault(&mut self) {
        let number = self.rng.usize(..2);
        let minutes = |rng: &mut Rng, most: i64| Span::from_mins(rng.i64(1..most));
        match self.rng.u32(..if self.clocks_jump { 9 } else { 7 }) {
            0 => {
                // Killed, at any moment.
                let long = if self.rng.u32(..10) == 0 { 3 * 24 * 60 } else { 30 };
                let back = self.now + minutes(&mut self.rng, long);
                let daemon = &mut self.daemons[number];
                daemon.dead = Some(back);
                daemon.running = None;
                daemon.office = Office::None;
            }
            1 => self.store.is_up = false,
            2 | 3 => self.store.is_up = true,
            4 => self.daemons[number].reaches_api = false,
            5 => self.daemons.iter_mut().for_each(|daemon| daemon.reaches_api = false),
            6 => self.daemons.iter_mut().for_each(|daemon| daemon.reaches_api = true),
            _ => self.daemons[number].skew = Span::from_secs(self.rng.i64(-7200..7200)),
        }
    }

    fn recover(&mut self) {
        self.calm = true;
        self.store.is_up = true;
        for daemon in &mut self.daemons {
            (daemon.reaches_api, daemon.skew) = (true, Span::ZERO);
        }
    }

    /// One daemon looks at the world.
    fn turn(&mut self, number: usize) {
        let now = self.now;
        let wall = now + self.daemons[number].skew;
        if let Some(back) = self.daemons[number].dead {
            if now < back {
                return;
            }
            let skew = self.daemons[number].skew;
            self.daemons[number] = Daemon { skew, scheduler: fresh(wall), ..daemon() };
        }
        self.follow_the_lease(number);
        self.learn(number, wall);
        if self.daemons[number].running.as_ref().is_some_and(|running| running.ends <= now) {
            self.finish(number, wall);
        }
        let actions = self.daemons[number].scheduler.tick(wall);
        self.perform(number, wall, actions);
    }

    fn follow_the_lease(&mut self, number: usize) {
        let now = self.now;
        let daemon = &mut self.daemons[number];
        let ours = self.holder == Some(number);
        if daemon.reaches_api {
            match daemon.office {
                Office::Elected(_) | Office::Held(_) if ours && now < self.expires => {
                    daemon.renewed = now;
                    self.expires = now + LEASE;
                }
                _ if ours || self.holder.is_none() || self.expires <= now => {
                    self.leave(number);
                    self.generation += 1;
                    self.holder = Some(number);
                    self.expires = now + LEASE;
                    let daemon = &mut self.daemons[number];
                    daemon.renewed = now;
                    daemon.office = Office::Elected(self.generation);
                }
                Office::None => {}
                _ => self.leave(number),
            }
            return;
        }
        match daemon.office {
            Office::Held(fence) if now >= daemon.renewed + LEASE - MARGIN => {
                let since = daemon.renewed;
                self.leave(number);
                self.daemons[number].office = Office::Isolated(fence, since + ISOLATED);
                self.daemons[number].scheduler.resume();
            }
            Office::Elected(_) if now >= daemon.renewed + LEASE - MARGIN => self.leave(number),
            Office::Isolated(_, until) if now >= until => self.leave(number),
            _ => {}
        }
    }

    /// All work ends, before anybody else may begin.
    fn leave(&mut self, number: usize) {
        let wall = self.now + self.daemons[number].skew;
        self.daemons[number].scheduler.pause();
        if self.daemons[number].running.take().is_some() {
            let actions = self.daemons[number].scheduler.ended(wall, Ended::Cancelled);
            self.perform(number, wall, actions);
        }
        self.daemons[number].office = Office::None;
    }

    /// A new leader makes itself known, and reads what was done.
    fn learn(&mut self, number: usize, wall: Timestamp) {
        let daemon = &mut self.daemons[number];
        let Office::Elected(fence) = daemon.office else { return };
        if self.now < daemon.look {
            return;
        }
        daemon.look = self.now + PAUSE;
        if self.store.is_up {
            assert!(self.store.take_over(fence), "the lease has the highest generation");
            daemon.office = Office::Held(fence);
            daemon.scheduler.begin(wall, self.store.history());
        }
    }

    fn perform(&mut self, number: usize, wall: Timestamp, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Tell(DaemonEvent::RunMissed { schedule, first, last, .. }) => {
                    self.told.push((schedule, first, last));
                }
                Action::Tell(_) => {}
                Action::Start { job: Job::Request(_), .. } => unreachable!(),
                Action::Start { job: Job::Run(run), attempt } => {
                    let fence = match self.daemons[number].office {
                        Office::Held(fence) | Office::Isolated(fence, _) => fence,
                        office => panic!("{office:?} begins a backup"),
                    };
                    let takes = if self.rng.u32(..50) == 0 { 90 * 60 } else { 600 };
                    let ends = self.now + Span::from_secs(self.rng.i64(2..takes));
                    assert!(self.daemons[number].running.is_none(), "one at a time");
                    self.daemons[number].running = Some(Running { run, attempt, started: wall, ends, fence });
                }
                Action::Cancel => {
                    self.daemons[number].running = None;
                    let mut more = self.daemons[number].scheduler.ended(wall, Ended::Cancelled);
                    more.extend(self.daemons[number].scheduler.tick(wall));
                    self.perform(number, wall, more);
                }
            }
        }
    }

    fn finish(&mut self, number: usize, wall: Timestamp) {
        let Some(Running { run, attempt, started, fence, .. }) = self.daemons[number].running.take() else { return };
        let fails = !self.calm && self.rng.u32(..30) == 0;
        let done_before = attempt > 1 && self.store.is_up && self.done_before(&run);
        let ended = if done_before {
            Ended::Done(started)
        } else if !self.store.is_up || fails {
            Ended::Failed("fault".to_owned())
        } else if fence < self.store.seen {
            self.refused += 1;
            Ended::Failed("fenced off".to_owned())
        } else {
            self.commit(&run, started, fence);
            // Sometimes the answer is lost, and sometimes the daemon is killed before it hears it.
            match self.rng.u32(..40) {
                0 => Ended::Failed("uncertain".to_owned()),
                1 if !self.calm => {
                    self.daemons[number].dead = Some(self.now + Span::from_secs(5));
                    self.daemons[number].office = Office::None;
                    return;
                }
                _ => Ended::Done(started),
            }
        };
        let actions = self.daemons[number].scheduler.ended(wall, ended);
        self.perform(number, wall, actions);
    }

    /// What the runner asks the catalog before it tries again.
    fn done_before(&self, run: &Run) -> bool {
        self.store.backups.iter().any(|stored| stored.run.origin == run.origin && stored.known.started >= run.due)
    }

    fn commit(&mut self, run: &Run, started: Timestamp, fence: u64) {
        self.store.seen = self.store.seen.max(fence);
        self.store.sequence += 1;
        let state = if self.rng.u32(..20) == 0 { BackupState::Partial } else { BackupState::Complete };
        let known = Known {
            id: BackupId::new(started, self.rng.u64(..)),
            stored: self.now,
            started,
            finished: started,
            sequence: self.store.sequence,
            state,
            verified: state == BackupState::Complete && self.rng.u32(..10) == 0,
            damaged: false,
            lock: None,
            bytes: 1,
        };
        let stored = Stored { known, run: run.clone(), fence };
        self.store.backups.push(stored.clone());
        self.committed.push(stored);
        if let [.., before, last] = self.committed.as_slice() {
            assert!(last.known.sequence > before.known.sequence && last.fence >= before.fence, "an earlier leader's");
        }
        if self.rng.u32(..8) == 0 {
            self.prune(run);
        }
    }

    /// Now and then, by the real plan; and what it must never remove is still there.
    fn prune(&mut self, run: &Run) {
        let policy = RetentionPolicy { keep_last: 4, keep_daily: 3, ..RetentionPolicy::default() };
        let ours = |stored: &&Stored| stored.run.origin == run.origin;
        let known: Vec<Known> = self.store.backups.iter().filter(ours).map(|stored| stored.known.clone()).collect();
        let newest = |wanted: fn(&Known) -> bool| known.iter().filter(|k| wanted(k)).max_by_key(|k| k.stored).cloned();
        let never = [newest(|_| true), newest(|k| k.state == BackupState::Complete), newest(|k| k.verified)];
        let verdicts = plan(&known, &policy, self.now);
        let gone: BTreeSet<BackupId> =
            verdicts.into_iter().filter(|verdict| !verdict.keeps()).map(|verdict| verdict.backup.id).collect();
        for newest in never.into_iter().flatten() {
            assert!(!gone.contains(&newest.id), "the newest of its kind");
        }
        self.removed += gone.len() as u64;
        self.store.backups.retain(|stored| !gone.contains(&stored.known.id));
    }

    /// Whether somebody keeps the lease.
    fn is_renewed(&self) -> bool {
        self.holder.is_some_and(|holder| {
            let holder = &self.daemons[holder];
            let in_office = matches!(holder.office, Office::Elected(_) | Office::Held(_));
            holder.dead.is_none() && holder.reaches_api && in_office
        })
    }

    /// When anything may happen next.
    fn next(&self, fault: Timestamp) -> Timestamp {
        let mut next = fault;
        for daemon in &self.daemons {
            if let Some(back) = daemon.dead {
                next = next.min(back);
                continue;
            }
            let running = daemon.running.as_ref().map(|running| running.ends);
            let lease = match daemon.office {
                Office::None if daemon.reaches_api && !self.is_renewed() => Some(self.expires.max(self.now + PAUSE)),
                Office::None => None,
                Office::Elected(_) => Some(daemon.look).filter(|_| self.store.is_up),
                Office::Held(_) if daemon.reaches_api => None,
                Office::Held(_) => Some(daemon.renewed + LEASE - MARGIN),
                Office::Isolated(_, until) => Some(until),
            };
            let wake = daemon.scheduler.wake().map(|wake| wake - daemon.skew);
            next = [running, lease, wake].into_iter().flatten().fold(next, Timestamp::min);
        }
        next.max(self.now + Span::from_secs(1))
    }

    fn run(&mut self) {
        let start = self.now;
        let (end, calm) = (start + Span::from_hours(24 * DAYS), start + Span::from_hours(24 * (DAYS - 9)));
        let mut fault = start;
        while self.now < end {
            let next = self.next(fault);
            // Who reaches the API server renews all the time.
            if self.is_renewed()
                && let Some(holder) = self.holder
            {
                (self.daemons[holder].renewed, self.expires) = (next, next + LEASE);
            }
            self.now = next;
            if next >= fault {
                if next >= calm {
                    self.recover();
                    fault = end;
                } else {
                    self.fault();
                    fault = next + Span::from_secs(self.rng.i64(60..8 * 3600));
                }
            }
            let first = self.rng.usize(..2);
            self.turn(first);
            self.turn(1 - first);
        }
        self.check(start, end - Span::from_hours(24 * 8));
    }

    fn check(&self, start: Timestamp, end: Timestamp) {
        let sequences: BTreeSet<u64> = self.committed.iter().map(|stored| stored.known.sequence).collect();
        assert_eq!(sequences.len(), self.committed.len(), "a place was given twice");
        for NamedSchedule { name: schedule, spec } in &self.schedules {
            let of = |stored: &&Stored| name(&stored.run) == schedule;
            let starts: BTreeSet<Timestamp> =
                self.committed.iter().filter(of).map(|stored| stored.known.started).collect();
            let first = *starts.first().unwrap();
            let timing = Timing::new(&spec.schedule, spec.time_zone.as_deref(), start).unwrap();
            let (mut due, mut gaps) = (timing.after(first.max(start)).unwrap(), Vec::new());
            while due < end {
                let next = timing.after(due).unwrap();
                let has_backup = starts.range(due..next).next().is_some();
                let is_told =
                    || self.told.iter().any(|(of, first, last)| of == schedule && (*first..=*last).contains(&due));
                if !has_backup && !is_told() {
                    gaps.push(due);
                }
                due = next;
            }
            assert!(gaps.is_empty(), "silent gaps of '{schedule}': {gaps:?}");
        }
        if !self.clocks_jump {
            let mut runs: Vec<&Run> = self.committed.iter().map(|stored| &stored.run).collect();
            let all = runs.len();
            runs.sort_unstable_by_key(|run| (run.due, name(run).to_owned()));
            runs.dedup();
            assert_eq!(runs.len(), all, "a run has two backups");
        }
    }
}

fn thousand_days(seed: u64, clocks_jump: bool) {
    let mut world = World::new(seed, clocks_jump);
    world.run();
    // The simulation is worth something only if all of this happened.
    let (told, leaders) = (world.told.len(), world.generation);
    assert!(world.committed.len() > 20_000, "{}", world.committed.len());
    assert!(told > 500 && leaders > 500 && world.removed > 10_000, "{told} {leaders} {}", world.removed);
    assert!(world.refused > 0, "no leader was ever fenced off");
}

#[test]
fn a_thousand_days_of_crashes_and_outages_leave_no_silent_gap() {
    thousand_days(1, false);
}

#[test]
fn a_thousand_days_of_clocks_that_jump_besides_leave_no_silent_gap() {
    thousand_days(3, true);
}
