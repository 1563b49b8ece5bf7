//! Random graphs with failures, killed at every line of the journal and at every await, cancelled at every await.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::world::{Fault, Kill};
use super::*;

/// A step of a random graph.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Drawn {
    writes: u32,
    fault: Fault,
    once: bool,
    needs: Vec<prop::sample::Index>,
    proceeds: bool,
    retries: bool,
    wanted: u8,
    for_each: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let fault = prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Passes),
        1 => Just(Fault::Stays),
        1 => Just(Fault::Uncertain),
        1 => Just(Fault::Refused),
        1 => Just(Fault::Plan),
        1 => Just(Fault::Unproved),
        1 => Just(Fault::Empty),
        1 => Just(Fault::Blind),
        1 => Just(Fault::Hangs),
    ];
    let needs = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (0_u32..3, fault, any::<bool>(), needs, any::<bool>(), any::<bool>(), 0_u8..6, prop::bool::weighted(0.2)).prop_map(
        |(writes, fault, once, needs, proceeds, retries, wanted, for_each)| Drawn {
            writes,
            fault,
            once,
            needs,
            proceeds,
            retries,
            wanted,
            for_each,
        },
    )
}

fn steps_of(drawn: &[Drawn]) -> Value {
    let step = |(place, one): (usize, &Drawn)| {
        let needs: Vec<String> = if place == 0 {
            Vec::new()
        } else {
            one.needs.iter().map(|need| format!("s{}", need.index(place))).collect()
        };
        let mut step = json!({
            "id": format!("s{place}"), "uses": if one.once { "set.once" } else { "set" }, "needs": needs,
            "timeout": "20s", "onFailure": if one.proceeds { "continue" } else { "abort" },
            "with": {"object": format!("o{place}"), "value": place, "writes": one.writes, "fault": one.fault},
        });
        if one.retries {
            step["retry"] = json!({"attempts": 2, "backoff": "1s"});
        }
        match (one.wanted, needs.first()) {
            (0, _) => step["if"] = json!("1 > 2"),
            (1, Some(need)) => step["if"] = json!(format!("always() && steps.{need}.outcome != 'failed'")),
            _ => {}
        }
        if let (2, Some(need)) = (one.wanted, needs.first()) {
            let of = if drawn[one.needs[0].index(place)].for_each { "items.size()" } else { "?value.orValue(0)" };
            step["with"]["after"] = json!(format!("${{{{ steps.{need}.{of} }}}}"));
        }
        if one.for_each {
            step["forEach"] = json!("${{ [1, 2] }}");
            step["parallel"] = json!(2);
            step["with"]["object"] = json!(format!("o{place}-${{{{ item }}}}"));
        }
        step
    };
    drawn.iter().enumerate().map(step).collect()
}

/// The steps, with one at the end that always runs.
fn book(engine: &Engine, drawn: &[Drawn]) -> Playbook {
    with_last(engine, steps_of(drawn))
}

fn with_last(engine: &Engine, steps: Value) -> Playbook {
    let last = json!([{"id": "last", "uses": "set", "with": {"object": "last", "value": 1, "writes": 1}}]);
    playbook(engine, steps, json!({"finally": last}))
}

/// Runs until it ends or the world kills it; nothing where it was killed.
async fn until_killed<T>(world: &World, work: impl Future<Output = T>) -> Option<T> {
    let killed = world.journals.killed.clone();
    tokio::select! {
        biased;
        () = killed.notified() => None,
        done = work => Some(done),
    }
}

/// Drops work at its n-th poll, or cancels it there, or lets it end; with how often it was polled.
async fn polled<T>(work: impl Future<Output = T>, at: usize, cancel: Option<&CancellationToken>) -> (Option<T>, usize) {
    let mut work = pin!(work);
    let mut polls = 0;
    let done = poll_fn(|context| {
        if polls == at {
            match cancel {
                Some(cancel) => cancel.cancel(),
                None => return Poll::Ready(None),
            }
        }
        polls += 1;
        work.as_mut().poll(context).map(Some)
    })
    .await;
    (done, polls)
}

/// What has to be true of every run that ended, whatever was done to it.
fn hold(world: &World, record: &RunRecord, drawn: &[Drawn]) {
    let verified = verify(&world.journals.bytes(&record.run)).unwrap();
    assert_eq!(&verified.record, record, "the record is that of the journal");
    assert_eq!(verified.torn, 0);
    let state = world.state.lock().unwrap();
    for step in &record.steps {
        let outcome = step.outcome.unwrap_or_else(|| panic!("{} has not ended", step.step));
        // Never success without proof.
        if outcome == Outcome::Success && step.uses.starts_with("set") && !is_group(step) {
            let proof = step.proof.as_ref().unwrap();
            assert!(matches!(proof, Proof::Observed(text) if !text.trim().is_empty()), "{}: {proof:?}", step.step);
            for write in &step.writes {
                assert_eq!(write.outcome, Some(WriteOutcome::Done), "{}", step.step);
            }
        }
    }
    // Never a step twice that may not be repeated.
    for (place, _) in drawn.iter().enumerate().filter(|(_, one)| one.once) {
        let own = format!("s{place}");
        let writes: Vec<_> = state
            .log
            .iter()
            .filter(|(step, _, back)| !back && (*step == own || step.starts_with(&format!("{own}["))))
            .collect();
        let different: std::collections::BTreeSet<_> = writes.iter().map(|(step, change, _)| (step, change)).collect();
        assert_eq!(writes.len(), different.len(), "{own} was done twice: {writes:?}");
    }
    // What was written is in the journal, each with what takes it back.
    for (step, change, _) in &state.log {
        let record = record.step(step).unwrap_or_else(|| panic!("{step} is not in the journal"));
        let write = record.writes.iter().find(|write| write.change == *change);
        assert!(matches!(write.unwrap().inverse, InverseRecord::By(_)));
    }
    assert_eq!(record.outcome, record.steps.iter().filter_map(|step| step.outcome).max());
}

/// The line of a `forEach` as a whole.
fn is_group(step: &StepRecord) -> bool {
    step.attempts == 0 && step.writes.is_empty() && step.proof.is_none()
}

/// After a rollback, the world is as it was.
async fn takes_back(world: &World, engine: &Engine, run: &RunId) {
    let by = Identity("ann".to_owned());
    let record = engine.rollback(run, by, Arc::new(()), &CancellationToken::new()).await.unwrap();
    assert_eq!(record.rollback.unwrap().outcome, Some(Outcome::Success));
    assert_eq!(world.state.lock().unwrap().objects, BTreeMap::new());
    let state = world.state.lock().unwrap();
    let backs = state.log.iter().filter(|(_, _, back)| *back).count();
    assert!(backs >= state.log.len() - backs, "everything was taken back");
}

fn cases(number: u32, check: impl Fn(Vec<Drawn>)) {
    let config = Config { cases: number, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let drawn = prop::collection::vec(drawn(), 1..7);
    TestRunner::new(config)
        .run(&drawn, |drawn| {
            check(drawn);
            Ok(())
        })
        .unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

#[test]
fn killed_at_every_line_and_resumed() {
    cases(10, |drawn| {
        block_on(async {
            killed_everywhere(&steps_of(&drawn), &drawn).await;
        });
    });
}

/// A step that is under way when another one ends the run is gone on with, and so it is after a kill.
#[test]
fn what_was_begun_ends_although_the_run_was_ended() {
    let slow = json!({"object": "g-${{ item }}", "value": 1, "writes": 2, "fault": "hangs"});
    let steps = json!([
        {"id": "n", "uses": "set", "needs": [], "with": {"object": "n", "value": 1, "writes": 1}},
        {
            "id": "g", "uses": "set", "needs": ["n"], "forEach": "${{ [1, 2] }}", "parallel": 2, "timeout": "20s",
            "onFailure": "continue", "with": slow,
        },
        {
            "id": "a", "uses": "set", "needs": [], "timeout": "10s",
            "with": {"object": "a", "value": 1, "writes": 1, "fault": "hangs"},
        },
    ]);
    block_on(killed_everywhere(&steps, &[]));
}

/// Runs the steps, and then again for each line of the journal: killed there, resumed and taken back.
async fn killed_everywhere(steps: &Value, drawn: &[Drawn]) {
    let mut world = World::default();
    let engine = world.engine(&People::default());
    let playbook = with_last(&engine, steps.clone());
    let whole = run(&engine, &playbook, &CancellationToken::new()).await.unwrap();
    hold(&world, &whole, drawn);
    let lines = verify(&world.journals.bytes(&whole.run)).unwrap().lines.len();
    takes_back(&world, &engine, &whole.run).await;
    for line in 0..lines {
        world = World::default();
        // Torn in the middle, or whole with nobody told.
        let of_next = [0, 400, 1000][line % 3];
        world.journals.restart(Some(Kill::After { lines: line, of_next }));
        let engine = world.engine(&People::default());
        let playbook = with_last(&engine, steps.clone());
        let never = CancellationToken::new();
        // Steps that run side by side do not write as many lines each time: a step may end before another ends the run.
        if let Some(ended) = until_killed(&world, run(&engine, &playbook, &never)).await {
            assert!(line > 0, "the first line was not reached");
            hold(&world, &ended.unwrap(), drawn);
            continue;
        }
        resumed(&mut world, drawn, line % 2 == 0).await;
    }
}

/// Resumes a run that was killed, maybe to be killed once more, and then takes it back.
async fn resumed(world: &mut World, drawn: &[Drawn], again: bool) {
    let Some(id) = world.journals.only().filter(|run| !world.journals.bytes(run).is_empty()) else { return };
    let by = Identity("ben".to_owned());
    let never = CancellationToken::new();
    let kill = again.then_some(Kill::After { lines: 3, of_next: 500 });
    for kill in [kill, None] {
        world.journals.restart(kill);
        let engine = world.engine(&People::default());
        let resume = engine.resume(&id, by.clone(), Arc::new(()), &never);
        match until_killed(world, resume).await {
            None => {}
            Some(Ok(record)) => {
                hold(world, &record, drawn);
                assert!(record.ended.is_some() && record.step("last").is_some());
                world.journals.restart(None);
                takes_back(world, &world.engine(&People::default()), &id).await;
                return;
            }
            // Nothing but a torn first line, or the last line was there already.
            Some(Err(EngineError::Journal(JournalError::Senseless(_)))) => {
                assert_eq!(world.state.lock().unwrap().log.len(), 0);
                return;
            }
            Some(Err(EngineError::Ended(_))) => return,
            Some(Err(error)) => panic!("{error}"),
        }
    }
    panic!("a run that nobody kills does not end");
}

#[test]
fn dropped_at_every_await_and_resumed() {
    cases(6, |drawn| {
        block_on(async {
            let mut at = 0;
            loop {
                let mut world = World::default();
                let engine = world.engine(&People::default());
                let playbook = book(&engine, &drawn);
                let never = CancellationToken::new();
                let plan = engine.plan(&playbook, &request(), &never).await.unwrap();
                let hash = plan.hash;
                let work = engine.run(&playbook, plan, &hash, Arc::new(()), &never);
                let (done, _) = polled(work, at, None).await;
                if done.is_some() {
                    break;
                }
                // The process is dead, and so is what it had spawned.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                resumed(&mut world, &drawn, false).await;
                at += 1;
            }
            assert!(at > 5);
        });
    });
}

#[test]
fn cancelled_at_every_await() {
    cases(8, |drawn| {
        block_on(async {
            let mut at = 0;
            loop {
                let world = World::default();
                let engine = world.engine(&People::default());
                let playbook = book(&engine, &drawn);
                let cancel = CancellationToken::new();
                let plan = engine.plan(&playbook, &request(), &CancellationToken::new()).await.unwrap();
                let hash = plan.hash;
                let work = engine.run(&playbook, plan, &hash, Arc::new(()), &cancel);
                let (done, polls) = polled(work, at, Some(&cancel)).await;
                let record = done.unwrap().unwrap();
                hold(&world, &record, &drawn);
                let last = record.step("last").unwrap();
                assert_eq!(last.outcome, Some(Outcome::Success), "finally runs all the same");
                assert_eq!(record.cancelled.is_some(), outcomes(&record).values().any(|one| *one == "cancelled"));
                takes_back(&world, &engine, &record.run).await;
                if polls <= at {
                    break;
                }
                at += 1;
            }
            assert!(at > 5);
        });
    });
}
