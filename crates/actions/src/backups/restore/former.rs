//! What a restore overwrites, kept sealed.

use std::io::{BufRead as _, BufReader, Write as _};

use lifeboat_archive::{ArchiveError, Identities, Recipients, SealOptions, Sealed, SealedReader, SealedWriter};
use lifeboat_kubernetes::ObjectPath;
use lifeboat_model::Digest;
use lifeboat_playbook::{ActionError, Permit, StepContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Planned, Restore, Source};
use crate::api::refused;
use crate::evidence::Item;

/// The most bytes of former objects.
const MAX_BYTES: u64 = 256 << 20;

/// The file with the former objects.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Former {
    item: Item,
    /// Digest of the file.
    stored: Digest,
    /// Size and digest of what is sealed in it.
    plain: (u64, Digest),
}

fn failed(error: impl Into<ArchiveError>) -> ActionError {
    ActionError::failed("what is overwritten cannot be kept").because(error.into())
}

/// Reads what is there now, and keeps it, one object a line.
pub(super) async fn keep(
    restore: &Restore,
    permit: &Permit,
    source: &Source,
    objects: &[Planned],
    context: &StepContext,
) -> Result<Former, ActionError> {
    let recipients = Recipients::parse(source.identities.recipients()).map_err(failed)?;
    let mut writer = SealedWriter::new(Vec::new(), &recipients, SealOptions::default()).map_err(failed)?;
    let mut bytes = 0;
    for object in objects {
        let Some((uid, _)) = &object.there else { continue };
        let path =
            ObjectPath { resource: &object.resource, namespace: object.namespace.as_deref(), name: &object.name };
        let json = source.cluster.get(path).await.map_err(refused)?;
        let found: Option<Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let Some(found) = found.filter(|found| crate::fields::uid(found) == uid) else {
            return Err(ActionError::denied(format!("{} is not there any more", object.words())));
        };
        let line = found.to_string();
        bytes += line.len() as u64;
        if bytes > MAX_BYTES {
            return Err(ActionError::denied(format!("more than {MAX_BYTES} bytes would be overwritten: choose less")));
        }
        writeln!(writer, "{line}").map_err(failed)?;
    }
    let finished = writer.finish().map_err(failed)?;
    let what = "what the restore overwrites, sealed".to_owned();
    let item = restore.folder.put(permit, context, ("former.jsonl.zst.age", what), finished.sink).await?;
    let Sealed { plain_bytes, plain_sha256, stored_sha256, .. } = finished.sealed;
    Ok(Former { item, stored: stored_sha256, plain: (plain_bytes, plain_sha256) })
}

/// The objects that were kept.
pub(super) async fn read(
    restore: &Restore,
    former: &Former,
    identities: &Identities,
) -> Result<Vec<Value>, ActionError> {
    let bytes = restore.folder.read(&former.item).await?;
    let failed = |error: ArchiveError| ActionError::failed("what was kept cannot be opened").because(error);
    let (plain_bytes, plain_sha256) = former.plain;
    let stored_bytes = former.item.bytes;
    let sealed = Sealed { plain_bytes, plain_sha256, stored_bytes, stored_sha256: former.stored };
    let reader = SealedReader::new(bytes.as_slice(), identities, &sealed).map_err(failed)?;
    let mut objects = Vec::new();
    // The last read, which finds nothing more, holds the whole to its digest.
    for line in BufReader::new(reader).lines() {
        let line = line.map_err(|error| failed(error.into()))?;
        let object = serde_json::from_str(&line).map_err(|_| ActionError::failed("what was kept is no object"))?;
        objects.push(object);
    }
    Ok(objects)
}
