//! Since when a schedule is known: a note in the store, so that what was due before its first backup is not forgotten when
//! whoever takes backups is started anew.

use jiff::Timestamp;
use lifeboat_model::{MAX_DOCUMENT_BYTES, parse_json};
use lifeboat_store::{Key, StoreError, body};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::{layout, trust};

#[derive(Serialize, Deserialize)]
struct Note {
    since: Timestamp,
}

/// Since when the schedule of that name is known. From now on, if nobody noted it before.
///
/// The note is not signed: whoever may write to the store could at most bring a backup about, or put off the first one.
///
/// # Errors
/// When the store fails, or what it has is no such note.
pub async fn known_since(context: &Context, schedule: &str) -> Result<Timestamp> {
    let key = layout::schedule(&context.cluster, schedule)?;
    match read(context, &key).await {
        Err(Error::Store(StoreError::NotFound { .. })) => {}
        read => return read,
    }
    let note = Note { since: context.clock.now() };
    let bytes = serde_json::to_vec(&note).map_err(|error| Error::Inconsistent(error.to_string()))?;
    match context.store.unretained().put_once(&key, body(bytes)).await {
        Ok(_) => Ok(note.since),
        Err(StoreError::AlreadyExists { .. }) => read(context, &key).await,
        Err(error) => Err(error.into()),
    }
}

async fn read(context: &Context, key: &Key) -> Result<Timestamp> {
    let bytes = trust::read_small(context.store.as_ref(), key).await?;
    let note: Note =
        parse_json(&bytes, MAX_DOCUMENT_BYTES).map_err(|source| Error::Document { key: key.to_string(), source })?;
    Ok(note.since)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lifeboat_store::{Store as _, body};

    use super::*;
    use crate::scene::Scene;

    #[tokio::test]
    async fn the_first_who_knows_of_a_schedule_says_since_when() {
        let scene = Scene::new();
        let context = scene.context(Arc::clone(&scene.store));
        let first = known_since(&context, "nightly").await.unwrap();
        scene.wait(3600);
        assert_eq!(known_since(&context, "nightly").await.unwrap(), first);
        assert!(known_since(&context, "hourly").await.unwrap() > first);
        let key = layout::schedule(&context.cluster, "broken").unwrap();
        context.store.put_once(&key, body("{}")).await.unwrap();
        assert!(matches!(known_since(&context, "broken").await, Err(Error::Document { .. })));
    }
}
