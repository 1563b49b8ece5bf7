//! Removals on a store in memory: broken off at every call, next to others, and on what is not as it should be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use lifeboat_archive::SigningKey;
use lifeboat_model::{BackupId, RetentionPolicy};
use lifeboat_store::{Fault, FaultyStore, Operation, Store, StoreError};

use crate::layout;
use crate::retention::{Outcome, Prune, perform, survey};
use crate::scene::{START, Scene};

const DAY: i64 = 86_400;

impl Scene {
    async fn prune(&self, store: impl Store + 'static, policy: &RetentionPolicy) -> crate::Result<Outcome> {
        let catalog = self.catalog(store).await?;
        let shown = survey(&catalog, policy).await?;
        perform(&catalog, policy, &shown).await
    }

    async fn survey(&self, policy: &RetentionPolicy) -> Prune {
        survey(&self.catalog(Arc::clone(&self.store)).await.unwrap(), policy).await.unwrap()
    }
}

fn keep_last(count: u32) -> RetentionPolicy {
    RetentionPolicy { keep_last: count, ..RetentionPolicy::default() }
}

fn dead() -> Fault {
    Fault::Fail(StoreError::Timeout { operation: "wait for", resource: "a process that was killed".to_owned() })
}

/// Six backups a while apart and, among them, the parts of one that was never finished.
async fn six(apart: i64) -> (Scene, Vec<BackupId>) {
    let scene = Scene::new();
    let mut ids = Vec::new();
    for number in 1..=6 {
        if number == 2 {
            scene.parts(100).await;
            scene.wait(1);
        }
        ids.push(scene.backup(number).await);
        scene.wait(apart);
    }
    (scene, ids)
}

#[tokio::test]
async fn killed_at_every_call() {
    let policy = keep_last(2);
    let (whole, ids) = six(DAY).await;
    let outcome = whole.prune(Arc::clone(&whole.store), &policy).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.cleared.len(), outcome.failed.len()), (4, 1, 0));
    let wanted: BTreeSet<BackupId> = ids[4..].iter().cloned().collect();
    assert_eq!(whole.listed().await, wanted);
    let clean = whole.keys().await;
    assert_eq!(clean.len(), 10, "{clean:?}");

    let (mut last, mut seen) = (0, BTreeSet::new());
    // The call that is the last one is done and not heard of, or not done.
    for heard in [true, false] {
        for deadly in 1.. {
            let (scene, _) = six(DAY).await;
            let calls = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&calls);
            let store = FaultyStore::new(Arc::clone(&scene.store), move |_| {
                let call = counter.fetch_add(1, Ordering::Relaxed) + 1;
                match call {
                    _ if call > deadly => Some(dead()),
                    _ if call == deadly && !heard => Some(Fault::LoseResponse),
                    _ => None,
                }
            });
            let killed = scene.prune(store, &policy).await;
            let listed = scene.listed().await;
            assert!(wanted.is_subset(&listed), "killed at call {deadly}");
            seen.insert(listed.len());
            let again = scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
            assert!(again.failed.is_empty(), "killed at call {deadly}: {:?}", again.failed);
            assert_eq!(scene.keys().await, clean, "killed at call {deadly}");
            if calls.load(Ordering::Relaxed) <= deadly && killed.is_ok_and(|outcome| outcome.failed.is_empty()) {
                last = deadly;
                break;
            }
        }
    }
    assert!(last > 40, "only {last} calls");
    assert_eq!(seen, (2..=6).collect(), "removals were broken off at every stage");
}

/// What was removed moments after it was taken is finished by the next prune at once.
#[tokio::test]
async fn a_removal_of_a_young_backup_is_finished_at_once() {
    let (scene, ids) = six(60).await;
    let store = FaultyStore::new(Arc::clone(&scene.store), |call| {
        (call.operation == Operation::Delete && call.path.contains(".zst")).then(dead)
    });
    let outcome = scene.prune(store, &keep_last(2)).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.failed.len()), (0, 4));
    assert_eq!(scene.listed().await, ids[4..].iter().cloned().collect());
    let outcome = scene.prune(Arc::clone(&scene.store), &keep_last(2)).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.cleared.len(), outcome.failed.len()), (0, 4, 0));
    // The other one is too young to be nobody's.
    assert_eq!(scene.survey(&keep_last(2)).await.unfinished.len(), 1);
    assert_eq!(scene.keys().await.len(), 10 + 3);
}

#[tokio::test]
async fn a_backup_that_commits_late_and_a_prune_are_not_both_right() {
    // The backup is first: in the moment in which its place would be taken it is committed.
    let scene = Arc::new(Scene::new());
    let late = scene.parts(1).await;
    scene.wait(2 * DAY);
    scene.backup(2).await;
    let (committing, manifest) = (Arc::clone(&scene), late.clone());
    let store = FaultyStore::new(Arc::clone(&scene.store), move |call| {
        if call.operation == Operation::PutOnce {
            committing.commit(&manifest).now_or_never().unwrap().unwrap();
        }
        None
    });
    let outcome = scene.prune(store, &keep_last(5)).await.unwrap();
    assert_eq!((outcome.cleared.len(), outcome.failed.len()), (0, 1));
    assert!(scene.listed().await.contains(&late.id));

    // The prune is first: the backup fails, and is not listed.
    let scene = Scene::new();
    let late = scene.parts(1).await;
    scene.wait(2 * DAY);
    scene.backup(2).await;
    let store = FaultyStore::new(Arc::clone(&scene.store), |call| (call.operation == Operation::Delete).then(dead));
    scene.prune(store, &keep_last(5)).await.unwrap();
    let refused = scene.commit(&late).await;
    assert!(matches!(refused, Err(crate::Error::Store(StoreError::AlreadyExists { .. }))), "{refused:?}");
    assert!(!scene.listed().await.contains(&late.id));
}

#[tokio::test]
async fn two_at_a_time_do_what_one_does() {
    let (alone, _) = six(DAY).await;
    alone.prune(Arc::clone(&alone.store), &keep_last(2)).await.unwrap();
    for seed in 0..50 {
        let (scene, _) = six(DAY).await;
        let slow = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            FaultyStore::new(Arc::clone(&scene.store), move |_| {
                random.bool().then(|| Fault::Delay(Duration::from_micros(random.u64(0..300))))
            })
        };
        let policy = keep_last(2);
        let (one, two) = tokio::join!(scene.prune(slow(seed), &policy), scene.prune(slow(seed + 1_000), &policy));
        for outcome in [one.unwrap(), two.unwrap()] {
            assert!(outcome.failed.is_empty(), "seed {seed}: {:?}", outcome.failed);
        }
        scene.listed().await;
        // One may have put its note where the other was through already; the next finds it.
        scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
        assert_eq!(scene.keys().await, alone.keys().await, "seed {seed}");
    }
}

#[tokio::test]
async fn what_may_be_under_way_stays() {
    let mut scene = Scene::new();
    scene.backup(1).await;
    scene.wait(10 * DAY);
    let running = scene.parts(2).await;
    // The clock of the program is years ahead, and nothing in the store is newer than the parts.
    scene.clocks.off = 1_000 * DAY;
    scene.wait(5 * DAY);
    let prune = scene.survey(&keep_last(1)).await;
    assert_eq!((prune.unfinished.as_slice(), prune.is_empty()), ([running.id.clone()].as_slice(), true));
    // Nor is it old when it is a minute short of it.
    scene.clocks.store.store(START + 11 * DAY - 60, Ordering::Relaxed);
    scene.clocks.off = 0;
    scene.backup(3).await;
    assert_eq!(scene.survey(&keep_last(5)).await.unfinished, std::slice::from_ref(&running.id));
    scene.wait(120);
    scene.backup(4).await;
    let prune = scene.survey(&keep_last(5)).await;
    assert_eq!(prune.leftovers.iter().map(|leftover| &leftover.id).collect::<Vec<_>>(), [&running.id]);
}

#[tokio::test]
async fn what_is_not_any_more_as_it_was_shown_stays() {
    let (scene, ids) = six(DAY).await;
    let policy = keep_last(2);
    let catalog = scene.catalog(Arc::clone(&scene.store)).await.unwrap();
    let shown = survey(&catalog, &policy).await.unwrap();
    // Meanwhile somebody removed the two newest.
    for id in &ids[4..] {
        scene.store.delete(&layout::manifest(&"prod".parse().unwrap(), id).unwrap()).await.unwrap();
    }
    let outcome = perform(&catalog, &policy, &shown).await.unwrap();
    assert_eq!(outcome.removed.len(), 2);
    assert_eq!(outcome.spared.iter().cloned().collect::<BTreeSet<_>>(), ids[2..4].iter().cloned().collect());
    assert_eq!(scene.listed().await, ids[2..4].iter().cloned().collect());
}

#[tokio::test]
async fn what_cannot_be_believed_stays_and_counts_for_nothing() {
    let (scene, ids) = six(DAY).await;
    let stranger = Scene {
        signer: SigningKey::generate().unwrap(),
        store: Arc::clone(&scene.store),
        clocks: scene.clocks.clone(),
    };
    let foreign = [stranger.backup(7).await, {
        scene.wait(60);
        stranger.backup(8).await
    }];
    let outcome = scene.prune(Arc::clone(&scene.store), &keep_last(2)).await.unwrap();
    assert_eq!(outcome.removed.len(), 4);
    let prune = scene.survey(&keep_last(2)).await;
    assert_eq!(prune.problems.iter().map(|problem| &problem.id).collect::<BTreeSet<_>>(), foreign.iter().collect());
    let kept: Vec<&BackupId> = prune.verdicts.iter().map(|verdict| &verdict.backup.id).collect();
    assert_eq!(kept, [&ids[5], &ids[4]]);
}

#[tokio::test]
async fn without_rules_nothing_listed_goes() {
    let (scene, ids) = six(DAY).await;
    let outcome = scene.prune(Arc::clone(&scene.store), &RetentionPolicy::default()).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.cleared.len()), (0, 1));
    assert_eq!(scene.listed().await, ids.into_iter().collect());
}
