use lifeboat_model::ScheduleSpec;
use proptest::prelude::*;

use super::*;
use crate::event::DaemonEvent;
use crate::timing::Timing;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn schedule(name: &str, expression: &str, change: impl FnOnce(&mut ScheduleSpec)) -> NamedSchedule {
    let mut spec: ScheduleSpec = serde_json::from_value(serde_json::json!({"schedule": expression})).unwrap();
    change(&mut spec);
    NamedSchedule { name: name.to_owned(), spec }
}

pub(super) fn set(scheduler: &mut Scheduler, now: Timestamp, schedules: &[NamedSchedule], actions: &mut Vec<Action>) {
    let standing: Vec<Standing> = schedules.iter().cloned().map(Standing::from).collect();
    assert!(scheduler.set_schedules(now, &standing, actions).is_empty());
}

fn scheduler(now: Timestamp, last: Option<Timestamp>, schedules: &[NamedSchedule]) -> Scheduler {
    let mut scheduler = Scheduler::default();
    set(&mut scheduler, now, schedules, &mut Vec::new());
    let history = schedules.iter().filter_map(|schedule| Some((schedule.name.clone(), last?)));
    scheduler.begin(now, history.collect::<Vec<_>>());
    scheduler
}

/// What happens, in short.
fn told(actions: &[Action]) -> Vec<String> {
    let tell = |action: &Action| match action {
        Action::Start { job: Job::Run(run), attempt } => format!("start {run}, {attempt}"),
        Action::Start { job: Job::Request(number), .. } => format!("start request {number}"),
        Action::Cancel => "cancel".to_owned(),
        Action::Tell(DaemonEvent::RunMissed { schedule, first, last, count, reason }) => {
            format!("missed {schedule} {first} to {last}, {count}: {reason:?}")
        }
        Action::Tell(DaemonEvent::RunLate { run, by }) => format!("late {run} by {} s", by.as_secs()),
        Action::Tell(DaemonEvent::BackupFailed { attempt, retry, .. }) => {
            format!("failed {attempt}, again: {}", retry.is_some())
        }
        Action::Tell(event) => format!("{event:?}"),
    };
    actions.iter().map(tell).collect()
}

#[test]
fn a_run_begins_when_it_is_due_and_not_before() {
    let mut scheduler =
        scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T10:00:00Z")), &[schedule("a", "@hourly", |_| {})]);
    assert!(scheduler.tick(at("2026-11-21T10:59:59Z")).is_empty());
    assert_eq!(scheduler.wake(), Some(at("2026-11-21T11:00:00Z")));
    insta(&scheduler.tick(at("2026-11-21T11:00:00Z")), &["start schedule a at 2026-11-21T11:00:00Z, 1"]);
    assert!(scheduler.tick(at("2026-11-21T11:00:01Z")).is_empty());
    assert!(scheduler.ended(at("2026-11-21T11:10:00Z"), Ended::Done(at("2026-11-21T11:00:00Z"))).is_empty());
    assert_eq!(scheduler.wake(), Some(at("2026-11-21T12:00:00Z")));
}

fn insta(actions: &[Action], expected: &[&str]) {
    assert_eq!(told(actions), expected);
}

#[test]
fn a_new_schedule_begins_with_what_is_due_next() {
    let mut scheduler = scheduler(at("2026-11-21T10:30:00Z"), None, &[schedule("a", "@hourly", |_| {})]);
    assert!(scheduler.tick(at("2026-11-21T10:30:00Z")).is_empty());
    assert_eq!(scheduler.wake(), Some(at("2026-11-21T11:00:00Z")));
    // The daemon has known of it before it came to lead.
    scheduler.begin(at("2026-11-21T11:10:00Z"), []);
    insta(
        &scheduler.tick(at("2026-11-21T11:10:00Z")),
        &["late schedule a at 2026-11-21T11:00:00Z by 600 s", "start schedule a at 2026-11-21T11:00:00Z, 1"],
    );
}

#[test]
fn what_was_due_since_a_schedule_was_created_was_missed() {
    let now = at("2026-11-21T10:30:00Z");
    let begun = |created: &str, backup: Option<&str>| {
        let mut scheduler = Scheduler::default();
        let standing = Standing { schedule: schedule("a", "@hourly", |_| {}), created: Some(at(created)) };
        scheduler.begin(now, backup.map(|backup| ("a".to_owned(), at(backup))));
        // It comes when the daemon leads already, or did before.
        scheduler.set_schedules(now, &[standing], &mut Vec::new());
        let first = told(&scheduler.tick(now));
        scheduler.begin(now, backup.map(|backup| ("a".to_owned(), at(backup))));
        assert_eq!(told(&scheduler.tick(now)), if first.is_empty() { Vec::new() } else { vec![first[0].clone()] });
        first
    };
    let late = ["late schedule a at 2026-11-21T10:00:00Z by 1800 s", "start schedule a at 2026-11-21T10:00:00Z, 1"];
    assert_eq!(begun("2026-11-21T09:30:00Z", None), late);
    assert!(begun("2026-11-21T10:10:00Z", None).is_empty());
    // Another one of its name was there before.
    assert!(begun("2026-11-21T10:10:00Z", Some("2026-11-21T05:00:00Z")).is_empty());
    assert!(begun("2026-11-21T09:30:00Z", Some("2026-11-21T10:00:01Z")).is_empty());
}

#[test]
fn what_was_missed_runs_once_at_once_and_says_so() {
    let mut scheduler =
        scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T05:00:01Z")), &[schedule("a", "@hourly", |_| {})]);
    insta(
        &scheduler.tick(at("2026-11-21T10:30:00Z")),
        &[
            "missed a 2026-11-21T06:00:00Z to 2026-11-21T09:00:00Z, 4: Superseded",
            "late schedule a at 2026-11-21T10:00:00Z by 1800 s",
            "start schedule a at 2026-11-21T10:00:00Z, 1",
        ],
    );
}

#[test]
fn after_its_deadline_a_missed_run_is_missed() {
    let hourly =
        |deadline: &str| schedule("a", "@hourly", |spec| spec.starting_deadline = Some(deadline.parse().unwrap()));
    let (now, last) = (at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T09:00:00Z")));
    insta(
        &scheduler(now, last, &[hourly("29m")]).tick(now),
        &["missed a 2026-11-21T10:00:00Z to 2026-11-21T10:00:00Z, 1: Deadline"],
    );
    insta(
        &scheduler(now, last, &[hourly("30m")]).tick(now),
        &["late schedule a at 2026-11-21T10:00:00Z by 1800 s", "start schedule a at 2026-11-21T10:00:00Z, 1"],
    );
}

#[test]
fn a_failed_run_is_tried_again_in_its_window() {
    let mut scheduler =
        scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T10:00:00Z")), &[schedule("a", "@hourly", |_| {})]);
    let mut now = at("2026-11-21T11:00:00Z");
    let mut waits = Vec::new();
    loop {
        let started = told(&scheduler.tick(now));
        assert_eq!(started.len(), 1, "{started:?}");
        let actions = scheduler.ended(now, Ended::Failed("no".to_owned()));
        let Some(Action::Tell(DaemonEvent::BackupFailed { retry, .. })) = actions.first() else {
            panic!("{actions:?}")
        };
        let Some(retry) = *retry else {
            insta(
                &actions,
                &[
                    &format!("failed {}, again: false", waits.len() + 1),
                    "missed a 2026-11-21T11:00:00Z to 2026-11-21T11:00:00Z, 1: Failed",
                ],
            );
            break;
        };
        waits.push(retry.duration_since(now));
        assert!(scheduler.tick(retry - SignedDuration::from_secs(1)).is_empty());
        now = retry;
    }
    assert!(now < at("2026-11-21T12:00:00Z") && now > at("2026-11-21T11:45:00Z"));
    assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT * 3 / 4, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT) && waits.last() > waits.first(), "{waits:?}");
    insta(&scheduler.tick(at("2026-11-21T12:00:00Z")), &["start schedule a at 2026-11-21T12:00:00Z, 1"]);
}

#[test]
fn an_overlapping_run_waits_or_replaces() {
    for (policy, expected) in [(ConcurrencyPolicy::Forbid, &[][..]), (ConcurrencyPolicy::Replace, &["cancel"][..])] {
        let hourly = schedule("a", "@hourly", |spec| spec.concurrency_policy = policy);
        let mut scheduler = scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T10:00:00Z")), &[hourly]);
        scheduler.tick(at("2026-11-21T11:00:00Z"));
        insta(&scheduler.tick(at("2026-11-21T12:00:00Z")), expected);
        assert!(scheduler.tick(at("2026-11-21T12:00:01Z")).is_empty());
        let (now, ended) = match policy {
            ConcurrencyPolicy::Forbid => (at("2026-11-21T13:20:00Z"), Ended::Done(at("2026-11-21T11:00:00Z"))),
            ConcurrencyPolicy::Replace => (at("2026-11-21T12:00:02Z"), Ended::Cancelled),
        };
        let mut actions = scheduler.tick(now);
        actions.extend(scheduler.ended(now, ended));
        actions.extend(scheduler.tick(now));
        match policy {
            ConcurrencyPolicy::Forbid => insta(
                &actions,
                &[
                    "missed a 2026-11-21T12:00:00Z to 2026-11-21T12:00:00Z, 1: Superseded",
                    "late schedule a at 2026-11-21T13:00:00Z by 1200 s",
                    "start schedule a at 2026-11-21T13:00:00Z, 1",
                ],
            ),
            ConcurrencyPolicy::Replace => insta(
                &actions,
                &[
                    "missed a 2026-11-21T11:00:00Z to 2026-11-21T11:00:00Z, 1: Superseded",
                    "start schedule a at 2026-11-21T12:00:00Z, 1",
                ],
            ),
        }
    }
}

#[test]
fn two_schedules_and_requests_take_turns_by_age() {
    let schedules = [schedule("a", "@hourly", |_| {}), schedule("b", "30 * * * *", |_| {})];
    let mut scheduler = scheduler(at("2026-11-21T10:45:00Z"), Some(at("2026-11-21T10:40:00Z")), &schedules);
    insta(&scheduler.tick(at("2026-11-21T11:00:00Z")), &["start schedule a at 2026-11-21T11:00:00Z, 1"]);
    scheduler.request(at("2026-11-21T11:10:00Z"), 7);
    assert!(scheduler.tick(at("2026-11-21T11:31:00Z")).len() == 1, "late");
    scheduler.ended(at("2026-11-21T11:32:00Z"), Ended::Done(at("2026-11-21T11:00:00Z")));
    insta(&scheduler.tick(at("2026-11-21T11:32:00Z")), &["start request 7"]);
    scheduler.ended(at("2026-11-21T11:33:00Z"), Ended::Failed("no".to_owned()));
    insta(&scheduler.tick(at("2026-11-21T11:33:00Z")), &["start schedule b at 2026-11-21T11:30:00Z, 1"]);
}

#[test]
fn a_suspended_schedule_takes_none_and_makes_nothing_up() {
    let suspended = schedule("a", "@hourly", |spec| spec.suspend = true);
    let mut scheduler = scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T05:00:00Z")), &[suspended]);
    assert!(scheduler.tick(at("2026-11-21T14:00:00Z")).is_empty());
    let mut actions = Vec::new();
    set(&mut scheduler, at("2026-11-21T14:30:00Z"), &[schedule("a", "@hourly", |_| {})], &mut actions);
    assert!(scheduler.tick(at("2026-11-21T14:30:00Z")).is_empty() && actions.is_empty());
    insta(&scheduler.tick(at("2026-11-21T15:00:00Z")), &["start schedule a at 2026-11-21T15:00:00Z, 1"]);
}

#[test]
fn what_is_changed_or_removed_before_it_began_is_withdrawn() {
    let hourly = || schedule("a", "@hourly", |spec| spec.jitter = Some("10m".parse().unwrap()));
    for after in
        [vec![], vec![schedule("a", "30 * * * *", |_| {})], vec![schedule("a", "@hourly", |spec| spec.suspend = true)]]
    {
        let mut scheduler = scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T10:00:00Z")), &[hourly()]);
        assert!(scheduler.tick(at("2026-11-21T11:00:00Z")).is_empty(), "it has jitter");
        let mut actions = Vec::new();
        set(&mut scheduler, at("2026-11-21T11:00:01Z"), &after, &mut actions);
        insta(&actions, &["missed a 2026-11-21T11:00:00Z to 2026-11-21T11:00:00Z, 1: Withdrawn"]);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_gap() {
    let (now, schedules) = (at("2026-11-21T10:30:00Z"), [schedule("a", "@hourly", |_| {})]);
    let mut scheduler = scheduler(now, Some(at("2027-11-21T10:00:00Z")), &schedules);
    assert!(scheduler.tick(now).is_empty(), "what lies ahead does not count");
    assert_eq!(scheduler.tick(at("2026-12-21T10:30:00Z")).len(), 3, "the clock jumps ahead");
    scheduler.ended(at("2026-12-21T10:30:00Z"), Ended::Done(at("2026-12-21T10:30:00Z")));
    assert!(scheduler.tick(at("2026-11-21T10:40:00Z")).is_empty(), "and is set back");
    insta(&scheduler.tick(at("2026-11-21T11:00:00Z")), &["start schedule a at 2026-11-21T11:00:00Z, 1"]);
    scheduler.ended(at("2026-11-21T11:00:00Z"), Ended::Done(at("2026-11-21T11:00:00Z")));
    assert!(scheduler.tick(at("2026-11-21T10:59:59Z")).is_empty(), "a little back");
    assert!(scheduler.tick(at("2026-11-21T11:00:00Z")).is_empty(), "does not make it due again");
}

#[test]
fn work_that_ends_for_a_pause_goes_on_after_it() {
    let mut scheduler =
        scheduler(at("2026-11-21T10:30:00Z"), Some(at("2026-11-21T10:00:00Z")), &[schedule("a", "@hourly", |_| {})]);
    scheduler.tick(at("2026-11-21T11:00:00Z"));
    scheduler.pause();
    assert!(scheduler.tick(at("2026-11-21T11:05:00Z")).is_empty() && scheduler.wake().is_none());
    assert!(scheduler.ended(at("2026-11-21T11:05:00Z"), Ended::Cancelled).is_empty());
    scheduler.resume();
    insta(&scheduler.tick(at("2026-11-21T11:06:00Z")), &["start schedule a at 2026-11-21T11:00:00Z, 2"]);
}

/// What may happen next: time passes, or the job that is under way ends.
#[derive(Debug, Clone)]
enum Step {
    Pass(u32),
    End(bool),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The reference: every minute of the time is asked whether the schedule is due, and each due time has one fate. It is
    /// missed, or a backup was begun in its window, or it waits.
    #[test]
    fn each_due_time_has_one_fate(
        steps in prop::collection::vec(prop_oneof![
            3 => (1..180_u32).prop_map(Step::Pass),
            1 => (180..5000_u32).prop_map(Step::Pass),
            2 => any::<bool>().prop_map(Step::End),
        ], 1..80),
        expression in prop::sample::select(vec!["*/7 * * * *", "@hourly", "15,45 2-6 * * *", "0 3 * * 1-5"]),
        jitter in prop::option::of(1..90_u32), deadline in prop::option::of(1..300_u32), replace in any::<bool>(),
    ) {
        let start = at("2026-03-20T00:00:00Z");
        let spec = schedule("a", expression, |spec| {
            spec.jitter = jitter.map(|minutes| format!("{minutes}m").parse().unwrap());
            spec.starting_deadline = deadline.map(|minutes| format!("{minutes}m").parse().unwrap());
            spec.time_zone = Some("Europe/Berlin".to_owned());
            if replace { spec.concurrency_policy = ConcurrencyPolicy::Replace; }
        });
        let timing = Timing::new(&spec.spec.schedule, Some("Europe/Berlin"), start).unwrap();
        let mut scheduler = scheduler(start, Some(start), std::slice::from_ref(&spec));
        let (mut now, mut running, mut fates) = (start, None::<Run>, BTreeMap::<Timestamp, u32>::new());
        let mut handle = |actions: Vec<Action>, running: &mut Option<Run>, now: Timestamp| {
            let mut cancel = false;
            for action in actions {
                match action {
                    Action::Start { job: Job::Run(run), .. } => {
                        assert!(running.is_none() && run.due <= now);
                        *running = Some(run);
                    }
                    Action::Tell(DaemonEvent::RunMissed { first, last, count, .. }) => {
                        let times = timing.within(first - SignedDuration::from_secs(1), last).unwrap();
                        assert_eq!(times.count, count);
                        let mut due = first;
                        while due <= last {
                            *fates.entry(due).or_default() += 1;
                            due = timing.after(due).unwrap();
                        }
                    }
                    Action::Cancel => cancel = true,
                    _ => {}
                }
            }
            cancel
        };
        let mut done = Vec::new();
        for step in steps.into_iter().chain([Step::End(true), Step::Pass(1), Step::End(true)]) {
            let mut cancelled = false;
            match step {
                Step::Pass(minutes) => now += SignedDuration::from_mins(minutes.into()),
                Step::End(success) => if let Some(run) = running.take() {
                    let ended = if success { Ended::Done(now) } else { Ended::Failed("no".to_owned()) };
                    if success { done.push(run.due); }
                    cancelled |= handle(scheduler.ended(now, ended), &mut running, now);
                }
            }
            cancelled |= handle(scheduler.tick(now), &mut running, now);
            if cancelled && running.take().is_some() {
                handle(scheduler.ended(now, Ended::Cancelled), &mut running, now);
                handle(scheduler.tick(now), &mut running, now);
            }
            if let Some(wake) = scheduler.wake() {
                prop_assert!(wake > now, "it would be asked again at once: {} at {}", wake, now);
            }
        }
        for due in done {
            *fates.entry(due).or_default() += 1;
        }
        let mut minute = start;
        let waiting = scheduler.lines["a"].pending.as_ref().map(|pending| pending.due);
        let running = running.map(|run| run.due);
        while minute < now {
            minute += SignedDuration::from_mins(1);
            let due = timing.after(minute - SignedDuration::from_secs(1)) == Some(minute);
            let fate = fates.get(&minute).copied().unwrap_or_default();
            let open = u32::from(waiting == Some(minute)) + u32::from(running == Some(minute));
            prop_assert_eq!(fate + open, u32::from(due), "{}", minute);
        }
    }
}
