//! Signed documents: read, and believed only after their signature was checked.

use futures::TryStreamExt;
use lifeboat_archive::{ArchiveError, SigningKey, TrustedKeys};
use lifeboat_model::{DocumentError, MAX_DOCUMENT_BYTES, SignedDocument};
use lifeboat_store::{Key, Store, StoreError, body};

use crate::error::{Error, Result};
use crate::layout;

/// A document with its signature, as the store has it: nothing in it may be believed.
pub(crate) struct Untrusted {
    key: Key,
    bytes: Vec<u8>,
    signature: String,
}

/// A document whose signature was checked, and the bytes that were signed.
pub(crate) struct Trusted<T> {
    pub(crate) document: T,
    pub(crate) bytes: Vec<u8>,
}

impl Untrusted {
    /// Reads a document and its signature.
    pub(crate) async fn fetch(store: &dyn Store, key: &Key) -> Result<Self> {
        let signature_key = layout::signature(key)?;
        let (bytes, signature) = tokio::try_join!(read_small(store, key), read_small(store, &signature_key))?;
        Ok(Self::of(key, bytes, &signature))
    }

    /// A document that came another way than its signature.
    pub(crate) fn of(key: &Key, bytes: Vec<u8>, signature: &[u8]) -> Self {
        Self { key: key.clone(), bytes, signature: String::from_utf8_lossy(signature).into_owned() }
    }

    /// The document, if one of the trusted keys signed just these bytes with the comment that belongs to them.
    pub(crate) fn verify<T: SignedDocument>(self, trusted: &TrustedKeys) -> Result<Trusted<T>> {
        let name = || self.key.to_string();
        let document = T::parse(&self.bytes).map_err(|source| Error::Document { key: name(), source })?;
        trusted
            .verify(&self.bytes, &self.signature, &document.trusted_comment())
            .map_err(|source| Error::Untrusted { key: name(), source })?;
        Ok(Trusted { document, bytes: self.bytes })
    }
}

/// What stands in the place of a signature that shall never be.
const VOID: &str = "untrusted comment: removed by lifeboat\n";

/// What is where the signature of a backup belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing.
    Free,
    /// A note by which no backup can be committed there any more.
    Void,
    /// A signature, or something else.
    Signature,
}

/// Looks what is where a signature belongs.
pub(crate) async fn place(store: &dyn Store, signature: &Key) -> Result<Place> {
    match read_small(store, signature).await {
        Ok(bytes) if bytes == VOID.as_bytes() => Ok(Place::Void),
        Ok(_) | Err(Error::Document { .. }) => Ok(Place::Signature),
        Err(Error::Store(StoreError::NotFound { .. })) => Ok(Place::Free),
        Err(error) => Err(error),
    }
}

/// Takes the place of a signature, if nothing is there.
pub(crate) async fn void(store: &dyn Store, signature: &Key) -> std::result::Result<(), StoreError> {
    store.unretained().put_once(signature, body(VOID)).await.map(drop)
}

/// Reads a document whole; it may not be larger than any document is.
pub(crate) async fn read_small(store: &dyn Store, key: &Key) -> Result<Vec<u8>> {
    let mut object = store.get(key).await?;
    let too_large = |bytes: u64| Error::Document {
        key: key.to_string(),
        source: DocumentError::TooLarge {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            limit: MAX_DOCUMENT_BYTES,
        },
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = object.body.try_next().await.map_err(ArchiveError::Io)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(too_large(bytes.len() as u64));
        }
    }
    Ok(bytes)
}

/// Writes a document behind its signature, so that whoever sees the document finds it signed.
pub(crate) async fn put_signed(
    store: &dyn Store,
    signer: &SigningKey,
    key: &Key,
    document: &impl SignedDocument,
) -> Result<()> {
    let bytes = document.to_bytes().map_err(|source| Error::Document { key: key.to_string(), source })?;
    let signature = signer.sign(&bytes, &document.trusted_comment())?;
    store.put_once(&layout::signature(key)?, body(signature.into_bytes())).await?;
    store.put_once(key, body(bytes)).await?;
    Ok(())
}
