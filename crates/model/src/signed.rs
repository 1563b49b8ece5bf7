//! Documents that are stored with a signature.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::FORMAT_MAJOR;
use crate::json::{DocumentError, MAX_DOCUMENT_BYTES, parse_json};

/// A document of the store with a minisign signature over its bytes.
pub trait SignedDocument: Serialize + DeserializeOwned {
    /// The trusted comment of its signature, which says what it is a document of.
    fn trusted_comment(&self) -> String;

    /// Parses it. It may be believed only after its signature was checked over the same bytes.
    ///
    /// # Errors
    /// When it is too large, no valid document, or of another major format.
    fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_format(bytes)?;
        parse_json(bytes, MAX_DOCUMENT_BYTES)
    }

    /// The bytes that are signed and stored.
    ///
    /// # Errors
    /// None in practice: every field can be written as JSON.
    fn to_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn check_format(bytes: &[u8]) -> Result<(), DocumentError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let head: Head = parse_json(bytes, MAX_DOCUMENT_BYTES)?;
    let major = head.format.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major == Some(FORMAT_MAJOR) {
        return Ok(());
    }
    Err(DocumentError::UnknownFormat { found: head.format, known: FORMAT_MAJOR.to_string() })
}
