//! What can go wrong with sealed parts and keys.

use std::fmt;
use std::io;

use lifeboat_model::Digest;

/// Why a part could not be sealed or opened, or a key not read. Secrets never appear in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Nobody would be able to open what is sealed.
    #[error("no recipients: at least one is needed")]
    NoRecipients,
    /// A recipient is not an age public key.
    #[error("recipient {position} '{recipient}' is not an age public key: {reason}")]
    Recipient {
        /// Its place in the list, counted from 1.
        position: usize,
        /// The text, shortened.
        recipient: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A secret key stands where a public key belongs. The text is left out on purpose.
    #[error("recipient {position} is a secret key: give the public key that belongs to it (age1...)")]
    RecipientIsSecret {
        /// Its place in the list, counted from 1.
        position: usize,
    },
    /// A line of an identity file is no identity. The text is left out on purpose.
    #[error("line {line} of the identity file is not an age identity")]
    Identity {
        /// The line, counted from 1.
        line: usize,
    },
    /// An identity file without an identity.
    #[error("the identity file holds no identity")]
    NoIdentities,
    /// A key file is longer than any key file is.
    #[error("the {what} is larger than {limit} bytes")]
    KeyTooLarge {
        /// What was being read.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// An age plugin is missing or failed.
    #[error("age plugin '{name}' cannot be used")]
    Plugin {
        /// The plugin's name, without `age-plugin-`.
        name: String,
        /// What age says about it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The recipients cannot be sealed to: a plugin failed, or they refuse to be used together.
    #[error("cannot seal to the recipients")]
    Seal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More recipients, or larger ones, than a reader accepts.
    #[error("the recipients need an age header of {bytes} bytes: at most {limit} are read", limit = crate::MAX_HEADER_BYTES)]
    HeaderTooLong {
        /// The length of the header that they make.
        bytes: u64,
    },
    /// None of the identities opens this part.
    #[error("none of the identities opens this part: it was sealed to other recipients")]
    WrongIdentity,
    /// An identity matched but could not be used: a plugin failed, or its key is protected.
    #[error("the identity could not be used")]
    IdentityFailed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The part is not what was stored: damaged, cut short, or made by somebody else.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A path that must not stand in a tar.
    #[error("'{path}' cannot be a path in a tar: {reason}")]
    TarPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is not a minisign key.
    #[error("not a minisign {what}: {reason}")]
    SigningKey {
        /// Which kind of key was expected.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The minisign secret key is protected and no password was given.
    #[error("the signing key is protected by a password, and none was given")]
    PasswordNeeded,
    /// The password does not open the minisign secret key.
    #[error("the password does not open the signing key")]
    WrongPassword,
    /// Something that cannot be signed or used as a trusted comment.
    #[error("'{comment}' cannot be a trusted comment: {reason}")]
    TrustedComment {
        /// The comment, shortened.
        comment: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Reading or writing failed below; the bytes themselves are not to blame.
    #[error("reading or writing failed")]
    Io(#[source] io::Error),
}

/// How a part differs from what was stored. Nothing of such a part may be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The part does not start as an age file does.
    #[error("the part is not an age file: {reason}")]
    Header {
        /// What age says about it.
        reason: String,
    },
    /// age or zstd found bytes that nobody who sealed this part can have written.
    #[error("the part is damaged")]
    Stream(#[source] io::Error),
    /// There are more bytes than were promised.
    #[error("the part has more than its {expected} {side} bytes")]
    TooLong {
        /// Which side was counted.
        side: Side,
        /// What the manifest promises.
        expected: u64,
    },
    /// There are fewer bytes than were promised.
    #[error("the part has {actual} {side} bytes instead of {expected}")]
    TooShort {
        /// Which side was counted.
        side: Side,
        /// What the manifest promises.
        expected: u64,
        /// What was there.
        actual: u64,
    },
    /// The bytes are not those that were promised.
    #[error("the {side} bytes have the SHA-256 {actual} instead of {expected}")]
    Digest {
        /// Which side was hashed.
        side: Side,
        /// What the manifest promises.
        expected: Digest,
        /// What was there.
        actual: Digest,
    },
    /// A frame's place or size is impossible.
    #[error("frame at {offset} with {length} bytes: {reason}")]
    FrameBounds {
        /// Offset in the zstd stream.
        offset: u64,
        /// Length in the zstd stream.
        length: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A frame's bytes are not those that were promised.
    #[error("frame at {offset} has the SHA-256 {actual} instead of {expected}")]
    FrameDigest {
        /// Offset in the zstd stream.
        offset: u64,
        /// What the lookup promises.
        expected: Digest,
        /// What was there.
        actual: Digest,
    },
    /// The tar inside holds what no tar of ours holds.
    #[error("tar entry at {offset}: {reason}")]
    Tar {
        /// Offset of the entry's header in the tar.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Something was read again after it had failed.
    #[error("the part failed its checks before")]
    AlreadyFailed,
}

/// The two sides of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before sealing: what went in.
    Plain,
    /// After sealing: what lies in the store.
    Stored,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Stored => "stored",
        })
    }
}

/// Finds the error of this crate again that travelled through a [`std::io::Read`].
impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Io)
    }
}

/// Lets errors of this crate travel through a [`std::io::Read`].
impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Io(error) => error,
            ArchiveError::Damaged(_) => Self::new(io::ErrorKind::InvalidData, error),
            other => Self::other(other),
        }
    }
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        ArchiveError::Damaged(damage).into()
    }
}

/// At most the first 100 characters of a text from outside, with control characters made visible.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
    if text.chars().nth(100).is_some() {
        shown.push_str("...");
    }
    shown
}
