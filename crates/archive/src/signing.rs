//! minisign keys and signatures: what vouches for a backup.

use std::fmt;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minisign::{ErrorKind, KeyPair, SecretKey, SecretKeyBox, SignatureBox};

use crate::error::{ArchiveError, excerpt};

/// A key file has two short lines.
const MAX_KEY_FILE: usize = 4 * 1024;

/// minisign's own limit for both comments together, and the signatures (minisign.h).
const MAX_SIGNATURE_FILE: usize = 16 * 1024;

/// Longest trusted comment that is signed.
const MAX_TRUSTED_COMMENT: usize = 1024;

/// Ed25519, the only algorithm of minisign keys.
const ALGORITHM: &[u8] = b"Ed";

/// A secret key file: three algorithms of 2 bytes each, parameters of the key derivation (48), then the key id (8), the
/// key pair (64) and their checksum (<https://jedisct1.github.io/minisign/#secret-key-format>).
const SECRET_KEY_BYTES: usize = 158;
const CHECKSUM_BYTES: usize = 32;

/// How secret keys start that have no password: Ed25519, no key derivation, `BLAKE2b`.
const UNPROTECTED: &[u8] = b"Ed\0\0B2";

/// How secret keys start that have one: Ed25519, scrypt, `BLAKE2b`.
const PROTECTED: &[u8] = b"EdScB2";

/// Base64 of 74 bytes: algorithm, key id, signature.
const SIGNATURE_CHARS: usize = 100;

/// Base64 of the 64 bytes that sign signature and trusted comment together.
const GLOBAL_SIGNATURE_CHARS: usize = 88;

/// The number that tells minisign keys apart; not a secret and not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }
}

/// As minisign shows it: 16 upper-case hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// A minisign secret key, ready to sign.
pub struct SigningKey(SecretKey);

impl SigningKey {
    /// Makes a key that has no password, so that a daemon can sign unattended.
    pub fn generate() -> Result<Self, ArchiveError> {
        KeyPair::generate_unencrypted_keypair().map(|pair| Self(pair.sk)).map_err(|error| secret_key_error(&error))
    }

    /// Reads a secret key file as `minisign -G` writes it; `password` is needed only by those made without `-W`.
    pub fn from_text(text: &str, password: Option<&str>) -> Result<Self, ArchiveError> {
        if text.len() > MAX_KEY_FILE {
            return Err(ArchiveError::KeyTooLarge { what: "signing key file", limit: MAX_KEY_FILE });
        }
        let bad = |reason: &str| ArchiveError::SigningKey { what: "secret key", reason: reason.to_owned() };
        let encoded = text.lines().nth(1).unwrap_or_default().trim();
        let bytes = BASE64.decode(encoded).map_err(|_| bad("its second line is not base64"))?;
        let key_box = SecretKeyBox::from(text.to_owned());
        if bytes.len() != SECRET_KEY_BYTES {
            Err(bad("its length is not that of minisign's secret keys"))
        } else if bytes.starts_with(UNPROTECTED) && bytes.ends_with(&[0; CHECKSUM_BYTES]) {
            Self::without_checksum(&bytes)
        } else if bytes.starts_with(UNPROTECTED) {
            key_box.into_unencrypted_secret_key().map(Self).map_err(|error| secret_key_error(&error))
        } else if bytes.starts_with(PROTECTED) {
            // Without a password the crate would ask for one on the terminal.
            let password = password.ok_or(ArchiveError::PasswordNeeded)?;
            key_box.into_secret_key(Some(password.to_owned())).map(Self).map_err(|error| match error.kind() {
                ErrorKind::Verify => ArchiveError::WrongPassword,
                _ => secret_key_error(&error),
            })
        } else {
            Err(bad("its algorithms are unknown"))
        }
    }

    /// `minisign -G -W` leaves the checksum out. A signature that verifies proves the key as well.
    fn without_checksum(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let key = Self(SecretKey::from_bytes(bytes).map_err(|error| secret_key_error(&error))?);
        let public = key.public_key()?;
        minisign::sign(Some(&public.0), &key.0, Cursor::new(b""), Some(""), None)
            .map_err(|error| secret_key_error(&error))?;
        Ok(key)
    }

    /// The text of a secret key file without a password, as `minisign -G -W` writes it. Fails for a key that came from a
    /// protected file: it would be protected no longer.
    pub fn to_file_text(&self) -> Result<String, ArchiveError> {
        if !self.0.to_bytes().starts_with(UNPROTECTED) {
            let reason = "it came from a file with a password".to_owned();
            return Err(ArchiveError::SigningKey { what: "secret key", reason });
        }
        let text = self.0.to_box(Some("minisign unencrypted secret key")).map_err(|error| secret_key_error(&error))?;
        Ok(text.into_string())
    }

    /// The public key that checks this key's signatures.
    pub fn public_key(&self) -> Result<PublicKey, ArchiveError> {
        minisign::PublicKey::from_secret_key(&self.0).map(PublicKey).map_err(|error| secret_key_error(&error))
    }

    /// Signs `bytes` and `trusted_comment` together; returns the text of a `.minisig` file, which `minisign -V` checks.
    pub fn sign(&self, bytes: &[u8], trusted_comment: &str) -> Result<String, ArchiveError> {
        let bad = |reason| ArchiveError::TrustedComment { comment: excerpt(trusted_comment), reason };
        if trusted_comment.len() > MAX_TRUSTED_COMMENT {
            return Err(bad("it is longer than 1024 bytes"));
        }
        if trusted_comment.chars().any(char::is_control) || trusted_comment.trim() != trusted_comment {
            return Err(bad("it is more than one plain line, or starts or ends with a space"));
        }
        let untrusted = format!("signature from lifeboat secret key {}", KeyId::new(self.0.keynum()));
        minisign::sign(None, &self.0, Cursor::new(bytes), Some(trusted_comment), Some(&untrusted))
            .map(SignatureBox::into_string)
            .map_err(|error| secret_key_error(&error))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&KeyId::new(self.0.keynum())).finish()
    }
}

fn secret_key_error(error: &minisign::PError) -> ArchiveError {
    ArchiveError::SigningKey { what: "secret key", reason: error.to_string() }
}

/// A minisign public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(minisign::PublicKey);

impl PublicKey {
    /// Reads a key as base64 (`RWQ...`) or as the text of a `.pub` file.
    pub fn parse(text: &str) -> Result<Self, ArchiveError> {
        let bad = |reason: String| ArchiveError::SigningKey { what: "public key", reason };
        if text.len() > MAX_KEY_FILE {
            return Err(ArchiveError::KeyTooLarge { what: "public key file", limit: MAX_KEY_FILE });
        }
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let encoded = lines.find(|line| !line.starts_with("untrusted comment:")).unwrap_or_default();
        if lines.next().is_some() {
            return Err(bad("it has more than a comment and one line".to_owned()));
        }
        let key = minisign::PublicKey::from_base64(encoded).map_err(|_| bad(format!("'{}'", excerpt(encoded))))?;
        if !key.to_bytes().starts_with(ALGORITHM) {
            return Err(bad(format!("'{}' is of another algorithm", excerpt(encoded))));
        }
        Ok(Self(key))
    }

    /// The key as one line of base64.
    pub fn to_base64(&self) -> String {
        self.0.to_base64()
    }

    /// The text of a `.pub` file, as minisign writes it.
    pub fn to_file_text(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{}\n", self.key_id(), self.to_base64())
    }

    /// The number that signatures name this key by.
    pub fn key_id(&self) -> KeyId {
        KeyId::new(self.0.keynum())
    }
}

/// Why a signature vouches for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The text is not what minisign writes.
    #[error("not a minisign signature: {0}")]
    NotASignature(String),
    /// Made with a key that is not trusted.
    #[error("signed with the key {0}, which is not trusted")]
    UnknownKey(KeyId),
    /// The bytes, the trusted comment or the signature were altered.
    #[error("the signature by the key {0} does not match")]
    Mismatch(KeyId),
    /// A genuine signature, made for something else.
    #[error("the signature is for '{actual}', not for '{expected}'")]
    TrustedComment {
        /// What it should have been made for.
        expected: String,
        /// What it was made for.
        actual: String,
    },
}

/// The public keys that backups may be signed with.
#[derive(Debug, Clone)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Trusts these keys. With none, every signature is by an unknown key.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Checks the text of a `.minisig` file for `bytes`, made by one of these keys for this trusted comment.
    ///
    /// The first line, the untrusted comment, is free text to minisign and not looked at.
    pub fn verify(&self, bytes: &[u8], minisig: &str, trusted_comment: &str) -> Result<KeyId, SignatureError> {
        let signature = parse_signature(minisig)?;
        let key_id = KeyId::new(signature.keynum());
        let mut candidates = self.0.iter().filter(|key| key.key_id() == key_id).peekable();
        if candidates.peek().is_none() {
            return Err(SignatureError::UnknownKey(key_id));
        }
        if !candidates.any(|key| minisign::verify(&key.0, &signature, Cursor::new(bytes), true, false, false).is_ok()) {
            return Err(SignatureError::Mismatch(key_id));
        }
        let actual = signature.trusted_comment().map_err(|error| SignatureError::NotASignature(error.to_string()))?;
        if actual != trusted_comment {
            let (expected, actual) = (excerpt(trusted_comment), excerpt(&actual));
            return Err(SignatureError::TrustedComment { expected, actual });
        }
        Ok(key_id)
    }
}

/// Reads a signature file. The crate checks neither the length of the second signature, and panics on a short one, nor
/// what follows the four lines.
fn parse_signature(minisig: &str) -> Result<SignatureBox, SignatureError> {
    let bad = |reason: &str| SignatureError::NotASignature(reason.to_owned());
    if minisig.len() > MAX_SIGNATURE_FILE {
        return Err(bad("it is too large"));
    }
    let lines: Vec<&str> = minisig.lines().collect();
    let [_, signature, _, global_signature] = lines[..] else {
        return Err(bad("it does not have four lines"));
    };
    let well_formed = signature.len() == SIGNATURE_CHARS && signature.ends_with('=') && !signature.ends_with("==");
    let global_well_formed = global_signature.len() == GLOBAL_SIGNATURE_CHARS && global_signature.ends_with("==");
    if !well_formed || !global_well_formed {
        return Err(bad("a signature in it has a wrong length"));
    }
    let parsed =
        SignatureBox::from_string(minisig).map_err(|error| SignatureError::NotASignature(error.to_string()))?;
    if !parsed.is_prehashed() {
        return Err(bad("it signs the bytes instead of their hash, as minisign before 0.9 did"));
    }
    Ok(parsed)
}
