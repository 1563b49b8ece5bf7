//! How many requests may be under way, so that a restore is fast and others are answered too.
//!
//! Requests that wait in an API server make nothing faster and everybody slower. So now and then a few are sent one at a
//! time, which shows what an answer takes when nothing of ours is in the way; the rest of the time so many are under way
//! that an answer takes up to twice as long.

use std::time::Duration;

use tokio::time::Instant;

use super::request::Concurrency;

/// Requests that are sent one at a time, to see what one takes.
const ALONE: usize = 8;
/// How long that may last, and how long is waited for what is under way before it.
const PATIENCE: Duration = Duration::from_secs(1);
/// It takes no more than such a part of the time.
const PART: u32 = 40;
/// It is not done more often than that.
const PAUSE: Duration = Duration::from_millis(500);
/// Under way at first.
const FIRST: usize = 2;
/// Under way where an answer takes so long that nothing can be said.
const UNKNOWN: usize = 8;
/// The most that are under way.
const MOST: usize = 64;
/// Answers after which the limit is reconsidered, and at least two rounds of them.
const ROUND: usize = 16;

/// Decides how many requests are under way.
#[derive(Debug)]
pub(super) struct Pace {
    limit: usize,
    /// What an answer takes alone, as far as that is known.
    alone: Option<Duration>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Somebody chose the limit.
    Fixed,
    /// One at a time, since then, when so many others were under way.
    Alone { since: Instant, others: usize, took: Vec<Duration> },
    /// As many as the limit allows, until it is time for the other again.
    Together { until: Instant, took: Vec<Duration>, full: bool, steep: bool },
}

impl Pace {
    pub(super) fn new(concurrency: Concurrency, now: Instant) -> Self {
        match concurrency.get() {
            Some(limit) => Self { limit, alone: None, phase: Phase::Fixed },
            None => Self { limit: FIRST, alone: None, phase: Phase::alone(now, 0) },
        }
    }

    /// How many requests may be under way now.
    pub(super) fn limit(&self) -> usize {
        if matches!(self.phase, Phase::Alone { .. }) { 1 } else { self.limit }
    }

    /// When [`Pace::overdue`] is to be called, unless something is done before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if let Phase::Alone { since, .. } = self.phase { Some(since + PATIENCE) } else { None }
    }

    /// The answers to requests that are alone do not come: others need not wait for them.
    pub(super) fn overdue(&mut self, now: Instant) {
        if let Phase::Alone { since, took, .. } = &mut self.phase {
            if took.is_empty() && self.alone.is_none() {
                self.limit = UNKNOWN;
            }
            self.alone = median(took).or(self.alone);
            self.phase = Phase::together(*since, now, true);
        }
    }

    /// One of so many requests under way has come to its end, which took so long.
    pub(super) fn done(&mut self, now: Instant, took: Duration, under_way: usize) {
        match &mut self.phase {
            Phase::Fixed => {}
            Phase::Alone { others, .. } if *others > 0 => *others -= 1,
            Phase::Alone { since, took: all, .. } => {
                all.push(took);
                if all.len() >= ALONE {
                    let steep = self.alone.is_none();
                    self.alone = median(all);
                    self.phase = Phase::together(*since, now, steep);
                }
            }
            Phase::Together { until, took: all, full, steep } => {
                all.push(took);
                *full |= under_way >= self.limit;
                if all.len() >= ROUND.max(2 * self.limit) {
                    (self.limit, *steep) = reconsidered(self.limit, *full, *steep, median(all), self.alone);
                    all.clear();
                    *full = false;
                }
                if now >= *until {
                    self.phase = Phase::alone(now, under_way.saturating_sub(1));
                }
            }
        }
    }
}

impl Phase {
    fn alone(now: Instant, others: usize) -> Self {
        Self::Alone { since: now, others, took: Vec::new() }
    }

    fn together(since: Instant, now: Instant, steep: bool) -> Self {
        let pause = (now.duration_since(since) * PART).max(PAUSE);
        Self::Together { until: now + pause, took: Vec::new(), full: false, steep }
    }
}

/// The limit for the next round, and whether it still doubles.
fn reconsidered(
    limit: usize,
    full: bool,
    steep: bool,
    took: Option<Duration>,
    alone: Option<Duration>,
) -> (usize, bool) {
    let Some((took, alone)) = took.zip(alone) else { return (limit, steep) };
    if took > alone * 2 {
        ((limit * 3 / 4).max(1), false)
    } else if took * 2 > alone * 3 {
        (limit, false)
    } else if full {
        ((limit + if steep { limit } else { 1 + limit / 8 }).min(MOST), steep)
    } else {
        // What is read from the backup comes slower than it is taken.
        (limit, steep)
    }
}

fn median(all: &mut [Duration]) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// An API server: answers take `work` on one of its processors, of which others leave some, and `way` on the wire.
    struct Server {
        processors: usize,
        work: Duration,
        way: Duration,
    }

    /// Sends `count` requests to a server; gives the limit after each, and how long all of it took.
    fn simulate(pace: &mut Pace, began: Instant, server: &Server, count: usize) -> (Vec<usize>, Duration) {
        let mut busy = vec![began; server.processors];
        let mut answers = BinaryHeap::new();
        let (mut now, mut sent, mut limits) = (began, 0, Vec::new());
        while limits.len() < count {
            while sent < count && answers.len() < pace.limit() {
                let free = busy.iter_mut().min().unwrap();
                *free = (*free).max(now + server.way / 2) + server.work;
                answers.push(Reverse((*free + server.way / 2, now)));
                sent += 1;
            }
            let Reverse((at, start)) = *answers.peek().unwrap();
            if let Some(deadline) = pace.deadline().filter(|deadline| *deadline < at) {
                now = deadline;
                pace.overdue(now);
                continue;
            }
            now = at;
            pace.done(now, now.duration_since(start), answers.len());
            answers.pop();
            limits.push(pace.limit);
        }
        (limits, now.duration_since(began))
    }

    fn run(server: &Server, count: usize) -> (Vec<usize>, f64) {
        let began = Instant::now();
        let mut pace = Pace::new(Concurrency::default(), began);
        let (limits, time) = simulate(&mut pace, began, server, count);
        let most = f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64();
        (limits, most)
    }

    #[test]
    fn a_small_server_is_kept_busy_and_no_more() {
        let (limits, rate) = run(&Server { processors: 2, work: 2 * MS, way: MS / 10 }, 5000);
        assert!(rate > 900.0, "{rate} of 1,000 a second");
        assert!(limits[200..].iter().all(|limit| (2..=5).contains(limit)), "{limits:?}");
    }

    #[test]
    fn a_large_server_far_away_gets_as_many_as_it_takes() {
        let (limits, rate) = run(&Server { processors: 32, work: 2 * MS, way: 20 * MS }, 20_000);
        // 64 under way for 22 ms each, but for the time in which one is alone.
        assert!(rate > 2500.0, "{rate} of 2,909 a second");
        assert_eq!(limits.last(), Some(&MOST));
    }

    #[test]
    fn a_server_that_becomes_slow_is_relieved_and_one_that_recovers_is_used() {
        let began = Instant::now();
        let mut pace = Pace::new(Concurrency::default(), began);
        let fast = Server { processors: 16, work: 2 * MS, way: MS };
        let (limits, time) = simulate(&mut pace, began, &fast, 5000);
        assert!(limits.last().is_some_and(|limit| *limit >= 16), "{:?}", limits.last());
        let small = Server { processors: 2, ..fast };
        let (limits, more) = simulate(&mut pace, began + time, &small, 5000);
        assert!(limits.last().is_some_and(|limit| *limit <= 6), "{:?}", limits.last());
        let fast = Server { processors: 16, work: 2 * MS, way: MS };
        let (limits, _) = simulate(&mut pace, began + time + more, &fast, 5000);
        assert!(limits.last().is_some_and(|limit| *limit >= 16), "{:?}", limits.last());
    }

    #[test]
    fn answers_that_take_long_do_not_come_one_after_the_other() {
        let (limits, rate) = run(&Server { processors: 100, work: Duration::from_secs(30), way: MS }, 400);
        assert_eq!(limits.first(), Some(&UNKNOWN));
        assert!(rate > 7.0 / 30.0, "{rate}");
    }

    #[test]
    fn a_limit_that_was_chosen_stays() {
        let began = Instant::now();
        let mut pace = Pace::new(Concurrency::new(5).unwrap(), began);
        let (limits, _) = simulate(&mut pace, began, &Server { processors: 1, work: MS, way: MS }, 500);
        assert!(limits.iter().all(|limit| *limit == 5));
        assert_eq!(pace.deadline(), None);
    }
}
