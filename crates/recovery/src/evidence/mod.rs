//! The evidence of a run of a playbook, sealed into the store: one part that is sealed like those of a backup, and a signed
//! document that vouches for it. What is not signed is no bundle.

mod export;
mod verify;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt as _;
use lifeboat_archive::{DEFAULT_ENTRY_LIMIT, Recipients, SealOptions, SigningKey, TarWriter};
use lifeboat_model::{BackupId, Bundle, BundleContents, BundleItem, Digest, FORMAT_VERSION, PartName};
use lifeboat_store::{Key, Prefix, StoreError};

pub use self::export::export;
pub use self::verify::{Checked, verify};
use crate::backup::part::{self, PartWriter, Written};
use crate::blocking::run_blocking;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::progress::Track;
use crate::trust::Untrusted;
use crate::{layout, trust};

/// The file that lists the others.
const CONTENTS: &str = "items.json";
/// The file that is the run's journal.
pub const JOURNAL: &str = "journal.jsonl";
/// The most bytes of one file: what readers take.
pub const MAX_ITEM: u64 = DEFAULT_ENTRY_LIMIT;
/// The most bytes of all files together.
pub const MAX_BUNDLE: u64 = 1 << 30;

/// A piece of evidence.
#[derive(Debug)]
pub struct Item {
    /// Its path in the tar: segments of letters, digits, `-`, `_` and `.`.
    pub path: String,
    /// What it is.
    pub what: String,
    /// Where it is.
    pub content: Content,
    /// The digest that it had when it was taken, where that is known.
    pub taken: Option<Digest>,
}

/// Where a piece of evidence is.
#[derive(Debug)]
pub enum Content {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file, which is read when its turn comes.
    File(PathBuf),
}

/// What is sealed, by whom and for whom.
pub struct Request {
    /// The bundle; no other may ever have had this id.
    pub id: BackupId,
    /// The run.
    pub run: BackupId,
    /// UID of the namespace `kube-system`.
    pub cluster_id: String,
    /// The run's journal so far, which becomes an item.
    pub journal: Vec<u8>,
    /// Everything else.
    pub items: Vec<Item>,
    /// To whom it is sealed.
    pub recipients: Arc<Recipients>,
    /// Who signs it.
    pub signer: Arc<SigningKey>,
    /// Name and version of the program.
    pub tool: String,
}

/// Evidence that was sealed.
#[derive(Debug)]
pub struct Outcome {
    /// What vouches for it.
    pub bundle: Bundle,
    /// What is in it, and what is not.
    pub contents: BundleContents,
}

/// Seals evidence into the store, in flat memory but for the largest item. The part is read back before the bundle is signed.
///
/// What cannot be read, is too large, or is not as it was taken, is told in the contents and is no error.
///
/// # Errors
/// When the store fails, or the context's token was cancelled. Nothing is listed then.
pub async fn seal(context: &Context, request: Request) -> Result<Outcome> {
    let folder = layout::bundle(&context.cluster, &request.run, &request.id)?;
    let key = folder.key(&PartName::EVIDENCE.stored_name())?;
    let journal = (request.journal.len() as u64, Digest::of(&request.journal));
    let whole = Item {
        path: JOURNAL.to_owned(),
        what: "the journal of the run so far".to_owned(),
        content: Content::Bytes(request.journal),
        taken: None,
    };
    if journal.0 > MAX_ITEM {
        return Err(Error::Refused(format!(
            "the journal has {} bytes, more than the {MAX_ITEM} of an item",
            journal.0
        )));
    }
    let items: Vec<Item> = std::iter::once(whole).chain(request.items).collect();
    let (store, mtime) = (&context.store, context.clock.now().as_second());
    let (options, track) = (SealOptions::default(), Track::default());
    let (writer, mut upload) =
        part::begin(store, key.clone(), PartName::EVIDENCE, &request.recipients, options, track)?;
    let work = run_blocking("sealing evidence", move || pack(writer, items, u64::try_from(mtime).unwrap_or(0)));
    let stored = async {
        let (written, contents) = part::settle(work, &mut [&mut upload]).await?;
        Ok((upload.describe(&written.sealed).await?, contents))
    };
    let stored = context.cancel.run_until_cancelled(stored).await.unwrap_or(Err(Error::Cancelled));
    let (evidence, contents) = match stored {
        Ok(stored) => stored,
        Err(error) => {
            // As far as the store allows; without a signature it is no bundle in any case.
            let _ = store.delete(&key).await;
            return Err(error);
        }
    };
    let bundle = Bundle {
        format: FORMAT_VERSION.to_owned(),
        tool: request.tool,
        id: request.id,
        run: request.run,
        cluster: context.cluster.clone(),
        cluster_id: request.cluster_id,
        sealed: context.clock.now(),
        journal_bytes: journal.0,
        journal_sha256: journal.1,
        recipients: request.recipients.as_texts().to_vec(),
        evidence,
    };
    trust::put_signed(store.as_ref(), &request.signer, &folder.key(layout::BUNDLE)?, &bundle).await?;
    Ok(Outcome { bundle, contents })
}

/// Writes the items one after the other, and the list of them.
fn pack(writer: PartWriter, items: Vec<Item>, mtime: u64) -> Result<(Written, BundleContents)> {
    let mut tar = TarWriter::new(writer);
    let (mut contents, mut total) = (BundleContents::default(), 0_u64);
    for item in items {
        let Item { path, what, content, taken } = item;
        let bytes = match content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::File(file) => read(&file),
        };
        let bytes = match bytes {
            Ok(bytes) if bytes.len() as u64 > MAX_ITEM => Err(format!("it has more than {MAX_ITEM} bytes")),
            Ok(bytes) if total.saturating_add(bytes.len() as u64) > MAX_BUNDLE => {
                Err(format!("the bundle would have more than {MAX_BUNDLE} bytes"))
            }
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(error.to_string()),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                contents.problems.push(format!("{path}: {reason}"));
                continue;
            }
        };
        total += bytes.len() as u64;
        let sha256 = Digest::of(&bytes);
        if let Some(taken) = taken.filter(|taken| *taken != sha256) {
            contents.problems.push(format!("{path}: it is not as it was taken, with SHA-256 {taken}"));
        }
        tar.append(&path, &bytes, mtime).map_err(part::archive_error)?;
        contents.items.push(BundleItem { path, what, bytes: bytes.len() as u64, sha256 });
    }
    let list = serde_json::to_vec_pretty(&contents).map_err(|error| Error::Inconsistent(error.to_string()))?;
    tar.append(CONTENTS, &list, mtime).map_err(part::archive_error)?;
    let writer = tar.finish().map_err(part::write_error)?;
    Ok((part::finish(writer)?, contents))
}

/// A regular file, no further than one byte beyond what is taken.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if !file.symlink_metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_ITEM + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bundles of a run, oldest first, whether signed or not.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(context: &Context, run: &BackupId) -> Result<Vec<BackupId>> {
    let folders: Vec<Prefix> = context.store.folders(&layout::run(&context.cluster, run)?).try_collect().await?;
    let mut ids: Vec<BackupId> = folders.iter().filter_map(|folder| folder.name().parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// What vouches for a bundle, if a trusted key signed it, and it is in its place.
///
/// # Errors
/// When there is none, or it cannot be believed.
pub async fn read_bundle(context: &Context, run: &BackupId, id: &BackupId) -> Result<Bundle> {
    let key = document(context, run, id)?;
    let missing = |error: &Error| matches!(error, Error::Store(StoreError::NotFound { .. }));
    let untrusted = match Untrusted::fetch(context.store.as_ref(), &key).await {
        // The signature is written first, so that a document alone was tampered with.
        Err(error) if missing(&error) && context.store.get(&key).await.is_ok() => {
            return Err(Error::mismatch(&key, "has no signature"));
        }
        untrusted => untrusted?,
    };
    let bundle = untrusted.verify::<Bundle>(&context.trusted)?.document;
    if bundle.id == *id && bundle.run == *run && bundle.cluster == context.cluster {
        return Ok(bundle);
    }
    let whose = format!("is bundle {} of run {}, cluster '{}'", bundle.id, bundle.run, bundle.cluster);
    Err(Error::mismatch(&key, whose))
}

fn document(context: &Context, run: &BackupId, id: &BackupId) -> Result<Key> {
    Ok(layout::bundle(&context.cluster, run, id)?.key(layout::BUNDLE)?)
}

fn sealed_key(context: &Context, bundle: &Bundle) -> Result<Key> {
    let folder = layout::bundle(&context.cluster, &bundle.run, &bundle.id)?;
    Ok(folder.key(&bundle.evidence.name.stored_name())?)
}
