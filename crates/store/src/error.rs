use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::Key;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no '{key}' in the store")]
    NotFound {
        /// What was asked for.
        key: Key,
    },
    /// Keys are written once, and this one was written before.
    #[error("'{key}' is in the store already")]
    AlreadyExists {
        /// What was to be written.
        key: Key,
    },
    /// The bucket does not exist, or not in this region.
    #[error("there is no bucket '{bucket}' at {endpoint}")]
    NoSuchBucket {
        /// Its name.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// These credentials, or this user, may not do that.
    #[error("no permission to {operation} '{resource}': {permission} is needed")]
    AccessDenied {
        /// What was tried.
        operation: &'static str,
        /// On what: `s3://bucket/key` or a path.
        resource: String,
        /// What would have to be granted.
        permission: &'static str,
        /// What was answered.
        #[source]
        source: Option<Cause>,
    },
    /// The server does not know these credentials, or there are none.
    #[error("the credentials for {endpoint} are missing or not valid: {reason}")]
    BadCredentials {
        /// The server.
        endpoint: String,
        /// What it said.
        reason: String,
        /// The cause, where no server was asked.
        #[source]
        source: Option<Cause>,
    },
    /// No connection to the server.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// The server.
        endpoint: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The object is held by a lock or a retention and cannot be removed yet.
    #[error("'{key}' is locked: {reason}")]
    Locked {
        /// The object.
        key: Key,
        /// What the server said.
        reason: String,
    },
    /// What the store holds or sent is damaged, or changed while it was read.
    #[error("'{key}' is damaged or changed while it was read: {reason}")]
    Corrupt {
        /// The object.
        key: Key,
        /// What is wrong.
        reason: String,
    },
    /// The disk or the quota is full.
    #[error("no space left for '{resource}'")]
    NoSpace {
        /// What was to be written.
        resource: String,
        /// What the system or the server said.
        #[source]
        source: Option<Cause>,
    },
    /// No answer in time.
    #[error("no answer in time to {operation} '{resource}'")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// About what.
        resource: String,
    },
    /// The object would be larger than this store takes.
    #[error("'{key}' is larger than the {limit} bytes that this store takes")]
    TooLarge {
        /// The object.
        key: Key,
        /// The most bytes.
        limit: u64,
    },
    /// The range is empty, does not lie within the object, or is longer than [`MAX_RANGE`](crate::MAX_RANGE).
    #[error("bytes {} to {} of '{key}' cannot be read: {reason}", range.start, range.end)]
    BadRange {
        /// The object.
        key: Key,
        /// What was asked for.
        range: Range<u64>,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not known whether the write took effect: look again before writing under another key.
    #[error("it is not known whether '{key}' was written")]
    Uncertain {
        /// The object.
        key: Key,
        /// What went wrong.
        #[source]
        source: Box<StoreError>,
    },
    /// The stream of the bytes to write failed; nothing was written.
    #[error("the content of '{key}' could not be produced")]
    Body {
        /// What was to be written.
        key: Key,
        /// The stream's error.
        #[source]
        source: io::Error,
    },
    /// The options of the store make no sense.
    #[error("{option}: {reason}")]
    BadOption {
        /// Which one.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// This store, or this bucket, knows no such thing, or says that it does and does not do it.
    #[error("the store cannot {operation} '{resource}': {reason}")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
        /// About what: `s3://bucket/key` or a path.
        resource: String,
        /// How that is known.
        reason: String,
    },
    /// A failure of the file system that is none of the above.
    #[error("failed to {operation} '{}'", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A failure of the server that is none of the above.
    #[error(
        "failed to {operation} '{resource}': {message} ({}{})",
        status.map_or_else(|| "no HTTP status".to_owned(), |status| format!("HTTP status {status}")),
        code.as_ref().map_or_else(String::new, |code| format!(", {code}"))
    )]
    Other {
        /// What was tried.
        operation: &'static str,
        /// On what: `s3://bucket/key`.
        resource: String,
        /// The HTTP status.
        status: Option<u16>,
        /// The server's error code.
        code: Option<String>,
        /// The server's message.
        message: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed a little later with nothing changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Other { status, .. } => status.is_some_and(|status| status == 429 || status >= 500),
            _ => false,
        }
    }
}
