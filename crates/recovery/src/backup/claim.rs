//! A backup's place in the chain, claimed in the store, and what keeps a leader of before from taking one.
//!
//! A claim is a key that is written once. It has the manifest and the generation of its leader. Whoever claims a number
//! under a later generation than claims before it that have come to nothing yet settles those: either their signature can
//! never be written any more, or it is there, and then their commit is finished for them. So once a leader has claimed
//! anything, nothing of an earlier one is committed any more that was not when it came to it.

use lifeboat_model::{Claim, FORMAT_VERSION, MAX_DOCUMENT_BYTES, Manifest, Previous, SignedDocument as _, parse_json};
use lifeboat_store::{StoreError, body};

use crate::catalog::{Catalog, Entry};
use crate::context::Context;
use crate::error::{Error, Result, chain};
use crate::layout;
use crate::trust::{self, Place, Trusted, Untrusted, read_small};

/// Claims after the last backup that are looked at: each stands for a backup that was killed in its last moments.
const MOST: u64 = 1_000;

/// Makes it known in the store that there is a leader of that generation: when this returns, no backup of an earlier one can
/// be committed any more. The commit of each backup does the same by itself; a leader that has just come asks before it looks
/// what its predecessor has left undone.
///
/// # Errors
/// When there is a later leader already, or the store fails.
pub async fn take_over(context: &Context, fence: u64) -> Result<()> {
    let catalog = Catalog::open(context.clone()).await?;
    let mut claimant = Claimant { catalog: &catalog, fence: Some(fence), seen: None, rivals: Vec::new() };
    claimant.claim(None).await
}

/// Gives a manifest its place in the chain, which nobody else can have then.
pub(super) async fn claim(catalog: &Catalog, mut manifest: Manifest) -> Result<Manifest> {
    let mut claimant = Claimant { catalog, fence: manifest.fence, seen: None, rivals: Vec::new() };
    claimant.claim(Some(&mut manifest)).await?;
    Ok(manifest)
}

/// Somebody who wants a number.
struct Claimant<'a> {
    catalog: &'a Catalog,
    fence: Option<u64>,
    /// The highest generation that was seen.
    seen: Option<u64>,
    /// Claims after the last backup.
    rivals: Vec<Claim>,
}

impl Claimant<'_> {
    async fn claim(&mut self, mut manifest: Option<&mut Manifest>) -> Result<()> {
        let store = self.catalog.context().store.as_ref();
        let mut head = self.catalog.head().await?;
        let mut number = self.after(head.as_ref()).await?;
        loop {
            self.may_go_on(manifest.as_deref())?;
            if let Some(manifest) = &mut manifest {
                manifest.sequence = number;
                manifest.previous =
                    head.as_ref().map(|head| Previous { id: head.manifest.id.clone(), sha256: head.sha256 });
            }
            let key = layout::claim(&self.catalog.context().cluster, number)?;
            match store.put_once(&key, body(self.document(manifest.as_deref())?)).await {
                Ok(_) => {
                    // The number is worth nothing if the chain has come this far since it was looked at.
                    let now = self.catalog.head().await?;
                    if now.as_ref().is_none_or(|now| now.manifest.sequence < number) {
                        break;
                    }
                    number = self.after(now.as_ref()).await?;
                    head = now;
                }
                // A number that may be ours is left to itself.
                Err(StoreError::AlreadyExists { .. } | StoreError::Uncertain { .. }) => {
                    self.meet(number).await?;
                    number += 1;
                }
                Err(error) => return Err(error.into()),
            }
            if self.rivals.len() as u64 > MOST {
                return Err(Error::Inconsistent(format!("more than {MOST} places after the last backup are claimed")));
            }
        }
        // Whoever came after it has a higher generation, if any.
        while self.meet(number + 1).await? {
            number += 1;
        }
        self.may_go_on(manifest.as_deref())?;
        for rival in &self.rivals {
            if rival.fence.is_some() && rival.fence < self.fence {
                self.settle(rival).await?;
            }
        }
        Ok(())
    }

    /// The first number after the last backup.
    async fn after(&mut self, head: Option<&Entry>) -> Result<u64> {
        let Some(head) = head else { return Ok(1) };
        self.seen = self.seen.max(head.manifest.fence);
        self.meet(head.manifest.sequence).await?;
        self.rivals.clear();
        Ok(head.manifest.sequence + 1)
    }

    /// Notes who has claimed a number, and tells whether it is taken.
    async fn meet(&mut self, number: u64) -> Result<bool> {
        let Context { store, cluster, .. } = self.catalog.context();
        let key = layout::claim(cluster, number)?;
        let bytes = match read_small(store.as_ref(), &key).await {
            Ok(bytes) => bytes,
            Err(Error::Store(StoreError::NotFound { .. })) => return Ok(false),
            Err(error @ Error::Store(_)) => return Err(error),
            Err(_) => Vec::new(),
        };
        match parse_json::<Claim>(&bytes, MAX_DOCUMENT_BYTES) {
            Ok(claim) => {
                self.seen = self.seen.max(claim.seen).max(claim.fence);
                self.rivals.push(claim);
            }
            Err(error) => {
                tracing::warn!(%key, error = chain(&error), "a place in the chain is taken by what is no claim");
            }
        }
        Ok(true)
    }

    fn may_go_on(&self, manifest: Option<&Manifest>) -> Result<()> {
        match (self.fence, self.seen) {
            (Some(ours), Some(seen)) if ours < seen => Err(match manifest {
                Some(manifest) => Error::outranked(&manifest.id, ours, seen),
                None => Error::Refused(format!("there is a leader of generation {seen} already, after {ours}")),
            }),
            _ => Ok(()),
        }
    }

    fn document(&self, manifest: Option<&Manifest>) -> Result<Vec<u8>> {
        let text =
            manifest.map(|manifest| manifest.to_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        let text = text.transpose().map_err(|error| Error::Inconsistent(error.to_string()))?;
        let claim = Claim {
            format: FORMAT_VERSION.to_owned(),
            backup: manifest.map(|manifest| manifest.id.clone()),
            fence: self.fence,
            seen: self.seen.max(self.fence),
            manifest: text,
        };
        super::json(&claim)
    }

    /// Sees to it that the backup of a claim is committed now or never.
    async fn settle(&self, claim: &Claim) -> Result<()> {
        let Context { store, cluster, trusted, .. } = self.catalog.context();
        let Some(id) = &claim.backup else { return Ok(()) };
        let key = layout::manifest(cluster, id)?;
        let signature = layout::signature(&key)?;
        match trust::void(store.as_ref(), &signature).await {
            Ok(()) => {
                tracing::warn!(backup = %id, "an unfinished backup of an earlier leader is fenced off");
                return Ok(());
            }
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if trust::place(store.as_ref(), &signature).await? != Place::Signature {
            return Ok(());
        }
        let signature = read_small(store.as_ref(), &signature).await?;
        let bytes = claim.manifest.clone().unwrap_or_default().into_bytes();
        match Untrusted::of(&key, bytes, &signature).verify::<Manifest>(trusted) {
            Ok(Trusted { document, bytes }) if document.id == *id && document.cluster == *cluster => {
                match store.put_once(&key, body(bytes)).await {
                    Ok(_) => tracing::info!(backup = %id, "the commit of an earlier leader is finished"),
                    Err(StoreError::AlreadyExists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // Somebody tampers with claims: it is not committed by us, and whether by others is up to them.
            Ok(_) => tracing::warn!(backup = %id, "a claim has the manifest of another backup"),
            Err(error) => tracing::warn!(backup = %id, error = chain(&error), "a claim cannot be believed"),
        }
        Ok(())
    }
}
