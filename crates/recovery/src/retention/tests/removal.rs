//! Removals on a store in memory: broken off at every call, next to others, and on what is not as it should be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::SignedDuration;
use lifeboat_archive::SigningKey;
use lifeboat_model::{BackupId, LockMode, ObjectLock, RetentionPolicy};
use lifeboat_store::{Fault, FaultyStore, Operation, RetainedStore, Store, StoreError, body};

use crate::retention::{Lock, Outcome, Prune, Reason, extend_held, hold, holds, perform, release, survey};
use crate::scene::{START, Scene};
use crate::{BackupRef, layout, trust};

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

/// Whether the backups are days old or of this hour, each prune ends what another one began.
#[tokio::test]
async fn killed_at_every_call() {
    // The one that was never finished goes with its age only.
    killed(DAY, &keep_last(2), 10).await;
    killed(60, &keep_last(2), 10 + 3).await;
}

async fn killed(apart: i64, policy: &RetentionPolicy, left: usize) {
    let (whole, ids) = six(apart).await;
    let outcome = whole.prune(Arc::clone(&whole.store), policy).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.failed.len()), (4, 0));
    let wanted: BTreeSet<BackupId> = ids[4..].iter().cloned().collect();
    assert_eq!(whole.listed().await, wanted);
    let clean = whole.keys().await;
    assert_eq!(clean.len(), left, "{clean:?}");

    let (mut last, mut seen) = (0, BTreeSet::new());
    // The call that is the last one is done and not heard of, or not done.
    for heard in [true, false] {
        for deadly in 1.. {
            let (scene, _) = six(apart).await;
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
            let killed = scene.prune(store, policy).await;
            let listed = scene.listed().await;
            assert!(wanted.is_subset(&listed), "killed at call {deadly}");
            seen.insert(listed.len());
            let again = scene.prune(Arc::clone(&scene.store), policy).await.unwrap();
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

/// The bytes wait; until then all that is needed to bring a backup back is there.
#[tokio::test]
async fn what_is_removed_goes_later() {
    let (scene, ids) = six(60).await;
    let policy = RetentionPolicy { remove_after: Some("2d".parse().unwrap()), ..keep_last(2) };
    let before = scene.keys().await;
    let outcome = scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
    assert_eq!(outcome.removed.len(), 4);
    assert_eq!(scene.listed().await, ids[4..].iter().cloned().collect());
    assert_eq!(scene.keys().await.len(), before.len(), "a copy for each manifest");
    let prune = scene.survey(&policy).await;
    assert_eq!((prune.awaiting.len(), prune.is_empty()), (4, true));
    assert!(prune.awaiting.iter().all(|waiting| waiting.bytes > 0));

    // One is brought back: it is as it was, and is removed again with all of its time.
    let (prod, back) = ("prod".parse().unwrap(), &ids[3]);
    let aside = layout::removed(&prod, back).unwrap().key(layout::MANIFEST).unwrap();
    let manifest = trust::read_small(scene.store.as_ref(), &aside).await.unwrap();
    scene.store.put_once(&layout::manifest(&prod, back).unwrap(), body(manifest)).await.unwrap();
    assert!(scene.listed().await.contains(back));
    scene.wait(DAY + DAY / 2);
    let newer = scene.backup(7).await;
    let outcome =
        scene.prune(Arc::clone(&scene.store), &RetentionPolicy { keep_last: 3, ..policy.clone() }).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.cleared.len()), (1, 1), "what was never finished is old now");
    assert!(scene.listed().await.contains(back), "the store has its manifest from when it was brought back");
    scene.wait(DAY);
    let newest = scene.backup(8).await;
    let outcome = scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
    assert_eq!(scene.listed().await, BTreeSet::from([newer, newest]));
    assert_eq!((outcome.removed.len(), outcome.cleared.len()), (2, 3));
    let prune = scene.survey(&policy).await;
    assert_eq!(prune.awaiting.len(), 3, "{:?}", prune.awaiting);
    scene.wait(2 * DAY + 60);
    scene.backup(9).await;
    let outcome = scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.cleared.len()), (1, 3));
}

/// Broken off at any call, what waits is neither listed nor lost, and goes in the end.
#[tokio::test]
async fn killed_while_bytes_wait() {
    let policy = RetentionPolicy { remove_after: Some("2h".parse().unwrap()), ..keep_last(2) };
    for deadly in 1..80 {
        let (scene, ids) = six(60).await;
        let mut calls = 0;
        let store = FaultyStore::new(Arc::clone(&scene.store), move |_| {
            calls += 1;
            (calls > deadly).then(dead)
        });
        let _ = scene.prune(store, &policy).await;
        let listed = scene.listed().await;
        scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
        assert_eq!(scene.survey(&policy).await.awaiting.len(), 4, "killed at call {deadly} with {listed:?}");
        scene.wait(3 * 3_600);
        scene.backup(7).await;
        let outcome = scene.prune(Arc::clone(&scene.store), &policy).await.unwrap();
        assert_eq!((outcome.removed.len(), outcome.cleared.len()), (1, 4), "killed at call {deadly}");
        assert!(scene.listed().await.contains(&ids[5]));
    }
}

#[tokio::test]
async fn what_is_held_stays() {
    let scene = Scene::locking();
    let mut ids = Vec::new();
    for number in 1..=6 {
        ids.push(scene.backup(number).await);
        scene.wait(DAY);
    }
    let catalog = scene.catalog(Arc::clone(&scene.store)).await.unwrap();
    let wanted = |id: &BackupId| BackupRef::Id(id.to_string());
    let backup = catalog.get(&wanted(&ids[1])).await.unwrap();
    let held = hold(&backup, Some("case 7".to_owned())).await.unwrap();
    assert_eq!((held.legal_hold, held.hold.unwrap().reason.as_deref()), (Ok(5), Some("case 7")));
    let again = hold(&backup, Some("another".to_owned())).await.unwrap();
    assert_eq!(again.hold.unwrap().reason.as_deref(), Some("case 7"), "the first reason stays");
    assert!(hold(&backup, Some("x".repeat(501))).await.is_err());

    let outcome = scene.prune(Arc::clone(&scene.store), &keep_last(2)).await.unwrap();
    assert_eq!((outcome.removed.len(), outcome.failed.len()), (3, 0));
    let verdicts = scene.survey(&keep_last(2)).await.verdicts;
    let held = verdicts.iter().find(|verdict| verdict.backup.id == ids[1]).unwrap();
    assert_eq!(held.reasons, [Reason::Locked(Lock::Held(Some("case 7".to_owned())))]);
    // Somebody takes the note away: what the store itself holds stays all the same.
    let note = layout::hold(&"prod".parse().unwrap(), &ids[1]).unwrap();
    scene.store.delete(&note).await.unwrap();
    let verdicts = scene.survey(&keep_last(2)).await.verdicts;
    let held = verdicts.iter().find(|verdict| verdict.backup.id == ids[1]).unwrap();
    assert_eq!(held.reasons, [Reason::Locked(Lock::LegalHold)]);

    let released = release(&catalog, &wanted(&ids[1])).await.unwrap();
    assert_eq!((released.legal_hold, released.hold), (Ok(5), None));

    // Somebody takes away the manifest of a held one: what is left of it stays as well.
    let manifest = layout::manifest(&"prod".parse().unwrap(), &ids[5]).unwrap();
    let lost = catalog.get(&wanted(&ids[5])).await.unwrap();
    scene.store.put_once(&layout::hold(&"prod".parse().unwrap(), &ids[5]).unwrap(), body("{}")).await.unwrap();
    let bytes = trust::read_small(scene.store.as_ref(), &manifest).await.unwrap();
    scene.store.delete(&manifest).await.unwrap();
    scene.wait(9 * DAY);
    scene.backup(7).await;
    let prune = scene.survey(&RetentionPolicy::default()).await;
    assert!(prune.is_empty() && prune.leftovers.len() == 1, "{prune:?}");
    scene.store.put_once(&manifest, body(bytes)).await.unwrap();
    assert_eq!(release(&catalog, &wanted(&ids[5])).await.unwrap().backup, lost.manifest().id);
    scene.prune(Arc::clone(&scene.store), &keep_last(2)).await.unwrap();
    assert!(!scene.listed().await.contains(&ids[1]));
    assert!(matches!(release(&catalog, &wanted(&ids[1])).await, Err(crate::Error::NoBackup { .. })));
}

/// Where the store has no legal hold the note alone keeps a backup, also one that cannot be read.
#[tokio::test]
async fn a_note_holds() {
    let (scene, ids) = six(DAY).await;
    let catalog = scene.catalog(Arc::clone(&scene.store)).await.unwrap();
    let backup = catalog.get(&BackupRef::Id(ids[0].to_string())).await.unwrap();
    let held = hold(&backup, None).await.unwrap();
    assert!(held.legal_hold.is_err(), "{held:?}");
    let prod = "prod".parse().unwrap();
    scene.store.put_once(&layout::hold(&prod, &ids[1]).unwrap(), body("{damaged")).await.unwrap();
    // One comes in the very moment of the removal.
    let (meanwhile, late) = (Arc::clone(&scene.store), layout::hold(&prod, &ids[2]).unwrap());
    let store = FaultyStore::new(Arc::clone(&scene.store), move |call| {
        if call.operation == Operation::PutOnce && call.path.contains("/removed/") {
            let _ = meanwhile.put_once(&late, body("{}")).now_or_never().unwrap();
        }
        None
    });
    let outcome = scene.prune(store, &keep_last(2)).await.unwrap();
    assert_eq!(outcome.removed.len() + outcome.failed.len(), 2, "{outcome:?}");
    let listed = scene.listed().await;
    assert!(listed.contains(&ids[0]) && listed.contains(&ids[1]));
    let held = holds(catalog.context()).await.unwrap();
    assert!(held.contains_key(&ids[0]) && held[&ids[1]].reason.is_some());
    let released = release(&catalog, &BackupRef::Id(ids[0].to_string())).await.unwrap();
    assert!(released.hold.is_some());
    scene.prune(Arc::clone(&scene.store), &keep_last(2)).await.unwrap();
    assert!(!scene.listed().await.contains(&ids[0]));
}

#[tokio::test]
async fn a_lock_counts_until_it_ends() {
    let scene = Scene::locking();
    let lock = ObjectLock { mode: LockMode::Compliance, retain: "3d".parse().unwrap() };
    let of_store = scene.clocks.clone();
    let retained =
        Arc::new(RetainedStore::new(Arc::clone(&scene.store), lock.clone(), Arc::new(move || of_store.of_store())));
    let mut ids = Vec::new();
    for number in 1..=6 {
        let manifest = scene.parts(number).await;
        let key = layout::manifest(&manifest.cluster, &manifest.id).unwrap();
        trust::put_signed(&retained, &scene.signer, &key, &manifest).await.unwrap();
        ids.push(manifest.id);
        scene.wait(DAY);
    }
    // The newest thing in the store is five days younger than the first: that is the time that counts.
    let outcome = scene.prune(Arc::clone(&scene.store), &keep_last(1)).await.unwrap();
    assert!(outcome.failed.is_empty(), "{outcome:?}");
    assert_eq!(scene.listed().await, ids[3..].iter().cloned().collect());
    let verdicts = scene.survey(&keep_last(1)).await.verdicts;
    let ends = Lock::Until(ids[3].started().unwrap() + SignedDuration::from_hours(72));
    assert_eq!(verdicts.last().unwrap().reasons, [Reason::Locked(ends)]);

    // What is held is locked on and on, and nothing else.
    let catalog = scene.catalog(Arc::clone(&scene.store)).await.unwrap();
    let backup = catalog.get(&BackupRef::Id(ids[3].to_string())).await.unwrap();
    hold(&backup, None).await.unwrap();
    let extended = extend_held(catalog.context(), &lock).await.unwrap();
    assert_eq!(extended, [ids[3].clone()]);
    assert_eq!(extend_held(catalog.context(), &lock).await.unwrap(), [], "they have time enough");
    let until = scene.clocks.of_store() + SignedDuration::from_hours(72);
    for name in ["manifest.json", "manifest.json.minisig", "resources.tar.zst.age"] {
        let key = format!("prod/backups/{}/{name}", ids[3]).parse().unwrap();
        assert_eq!(scene.store.protection(&key).await.unwrap().retained_until, Some(until), "{name}");
    }
}

#[tokio::test]
async fn claims_that_nobody_can_want_are_cleared() {
    let (scene, _) = six(DAY).await;
    let prod = "prod".parse().unwrap();
    for number in [1, 2, 6, 7] {
        scene.store.put_once(&layout::claim(&prod, number).unwrap(), body("{}")).await.unwrap();
    }
    let claims = async || scene.keys().await.into_iter().filter(|key| key.contains("/chain/")).count();
    scene.prune(Arc::clone(&scene.store), &keep_last(5)).await.unwrap();
    assert_eq!(claims().await, 4, "they are young");
    scene.wait(2 * DAY);
    scene.backup(7).await;
    scene.prune(Arc::clone(&scene.store), &keep_last(5)).await.unwrap();
    assert_eq!(claims().await, 1, "only that of the newest is left");
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
