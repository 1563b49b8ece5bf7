//! Places in the chain: each is taken once, and a leader of before takes none.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt as _;
use lifeboat_model::{BackupId, Manifest};
use lifeboat_store::{Fault, FaultyStore, Operation, Store, StoreError, body};

use super::{claim, take_over, write_signed};
use crate::scene::Scene;
use crate::{Error, Result, layout};

/// A leader of that generation, or somebody who is none, takes a backup as far as to its commit.
async fn ready(scene: &Scene, store: impl Store + 'static, number: u64, fence: Option<u64>) -> Result<Manifest> {
    let manifest = Manifest { fence, ..scene.parts(number).await };
    claim::claim(&scene.catalog(store).await?, manifest).await
}

async fn commit(scene: &Scene, store: &dyn Store, manifest: &Manifest) -> Result<()> {
    let key = layout::manifest(&manifest.cluster, &manifest.id).unwrap();
    write_signed(store, &scene.signer, &key, manifest).await
}

async fn take(scene: &Scene, number: u64, fence: Option<u64>) -> Result<Manifest> {
    let manifest = ready(scene, Arc::clone(&scene.store), number, fence).await?;
    commit(scene, &scene.store, &manifest).await?;
    scene.wait(60);
    Ok(manifest)
}

fn is_superseded(result: &Result<impl std::fmt::Debug>, id: &BackupId) -> bool {
    matches!(result, Err(Error::Superseded { id: of, .. }) if of == id)
}

#[tokio::test]
async fn two_at_once_have_two_places() {
    let scene = Scene::new();
    take(&scene, 1, None).await.unwrap();
    let first = ready(&scene, Arc::clone(&scene.store), 2, None).await.unwrap();
    let second = ready(&scene, Arc::clone(&scene.store), 3, None).await.unwrap();
    // Committed in the other order.
    for manifest in [&second, &first] {
        commit(&scene, &scene.store, manifest).await.unwrap();
    }
    let third = take(&scene, 4, None).await.unwrap();
    assert_eq!([first.sequence, second.sequence, third.sequence], [2, 3, 4]);
    assert_eq!(third.previous.unwrap().id, second.id);
    assert_eq!(scene.listed().await.len(), 4);
}

#[tokio::test]
async fn many_at_once_have_as_many_places() {
    let scene = Arc::new(Scene::new());
    let all = (0..12).map(|number| {
        let scene = Arc::clone(&scene);
        async move { take(&scene, number, (number % 2 == 0).then_some(7)).await.unwrap().sequence }
    });
    let places: BTreeSet<u64> = futures::future::join_all(all).await.into_iter().collect();
    assert_eq!(places.len(), 12, "{places:?}");
}

#[tokio::test]
async fn a_leader_of_before_takes_no_place() {
    let scene = Scene::new();
    take(&scene, 1, Some(5)).await.unwrap();
    take(&scene, 2, Some(6)).await.unwrap();
    // By hand in between: the generation is remembered past it.
    take(&scene, 3, None).await.unwrap();
    let late = take(&scene, 4, Some(5)).await;
    assert!(matches!(&late, Err(Error::Superseded { reason, .. }) if reason.contains("generation 6")), "{late:?}");
    take(&scene, 5, Some(6)).await.unwrap();
    // One that only claimed counts, too.
    ready(&scene, Arc::clone(&scene.store), 6, Some(9)).await.unwrap();
    assert!(take(&scene, 7, Some(8)).await.is_err());
    take(&scene, 8, Some(9)).await.unwrap();
    assert_eq!(scene.listed().await.len(), 5);
}

/// The old leader has its place already when the new one comes, and stops before the signature or behind it.
#[tokio::test]
async fn what_a_leader_of_before_has_begun_is_committed_now_or_never() {
    for new in [None, Some(2)] {
        for signed in [false, true] {
            let scene = Scene::new();
            let old = ready(&scene, Arc::clone(&scene.store), 1, Some(1)).await.unwrap();
            let key = layout::manifest(&old.cluster, &old.id).unwrap();
            if signed {
                let store = FaultyStore::new(Arc::clone(&scene.store), |call| {
                    let dead = StoreError::Timeout { operation: "wait for", resource: call.path.to_owned() };
                    call.path.ends_with("manifest.json").then_some(Fault::Fail(dead))
                });
                commit(&scene, &store, &old).await.unwrap_err();
            }
            assert_eq!(scene.listed().await.len(), 0);
            match new {
                Some(number) => drop(take(&scene, number, Some(2)).await.unwrap()),
                None => take_over(&scene.context(Arc::clone(&scene.store)), 2).await.unwrap(),
            }
            let listed = scene.listed().await;
            assert_eq!(listed.contains(&old.id), signed);
            // What the old one does from now on changes nothing.
            let late = commit(&scene, &scene.store, &old).await;
            if signed {
                late.unwrap_or_else(|error| panic!("it is as it wanted: {error:?}"));
            } else {
                assert!(is_superseded(&late, &old.id), "{late:?}");
            }
            let last = scene.store.put_once(&key, body("late")).await;
            assert_eq!(last.is_err(), signed);
        }
    }
}

/// Whoever has no leader is fenced off by none, nor is another run of the same one.
#[tokio::test]
async fn only_earlier_leaders_are_fenced_off() {
    let scene = Scene::new();
    let by_hand = ready(&scene, Arc::clone(&scene.store), 1, None).await.unwrap();
    let same = ready(&scene, Arc::clone(&scene.store), 2, Some(3)).await.unwrap();
    take(&scene, 3, Some(3)).await.unwrap();
    for manifest in [by_hand, same] {
        commit(&scene, &scene.store, &manifest).await.unwrap();
    }
    assert_eq!(scene.listed().await.len(), 3);
}

#[tokio::test]
async fn a_leader_is_told_that_there_is_a_later_one() {
    let scene = Scene::new();
    let context = scene.context(Arc::clone(&scene.store));
    take_over(&context, 4).await.unwrap();
    take_over(&context, 4).await.unwrap();
    let refused = take_over(&context, 3).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert!(take(&scene, 1, Some(3)).await.is_err());
    take(&scene, 2, Some(4)).await.unwrap();
}

/// Between the look at the chain and the claim the old leader sleeps, and the new one commits and clears up.
#[tokio::test]
async fn a_place_that_was_passed_by_is_not_taken() {
    let scene = Arc::new(Scene::new());
    take(&scene, 1, Some(1)).await.unwrap();
    let meanwhile = Arc::clone(&scene);
    let store = FaultyStore::new(Arc::clone(&scene.store), move |call| {
        if call.operation == Operation::PutOnce && call.nth == 1 {
            for number in 10..13 {
                take(&meanwhile, number, Some(2)).now_or_never().unwrap().unwrap();
            }
            for sequence in 0..4 {
                let key = layout::claim(&"prod".parse().unwrap(), sequence).unwrap();
                meanwhile.store.delete(&key).now_or_never().unwrap().unwrap();
            }
        }
        None
    });
    let late = ready(&scene, store, 2, Some(1)).await;
    assert!(matches!(late, Err(Error::Superseded { .. })), "{late:?}");
    assert_eq!(scene.listed().await.len(), 4);
}

/// A claim that was tampered with commits nothing of its own.
#[tokio::test]
async fn a_claim_is_not_believed() {
    let scene = Scene::new();
    let stranger = Scene { store: Arc::clone(&scene.store), ..Scene::new() };
    let old = ready(&scene, Arc::clone(&scene.store), 1, Some(1)).await.unwrap();
    let key = layout::manifest(&old.cluster, &old.id).unwrap();
    let store = FaultyStore::new(Arc::clone(&scene.store), |call| {
        let dead = StoreError::Timeout { operation: "wait for", resource: call.path.to_owned() };
        call.path.ends_with("manifest.json").then_some(Fault::Fail(dead))
    });
    // The signature is a stranger's.
    commit(&stranger, &store, &old).await.unwrap_err();
    scene.store.put_once(&layout::claim(&old.cluster, 2).unwrap(), body("{\"no\": \"claim\"")).await.unwrap();
    let new = take(&scene, 2, Some(2)).await.unwrap();
    assert_eq!(new.sequence, 3);
    assert!(matches!(scene.store.get(&key).await, Err(StoreError::NotFound { .. })));
    assert_eq!(scene.listed().await, BTreeSet::from([new.id]));
}
