//! Whether a request is from whom it has to be.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::document::Authentication;

/// The longest secret, in bytes.
const MAX_SECRET: u64 = 8192;

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Whether its certificate was one of the authorities of clients.
    pub(super) certified: bool,
}

/// What the head of a request proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proved {
    Yes,
    No,
    /// Only the body can tell.
    ByBody,
}

/// Judges a request before its body is read.
pub(super) fn of_head(wanted: &Authentication, peer: Peer, headers: &HeaderMap) -> Proved {
    let good = match wanted {
        Authentication::None { insecure } => *insecure,
        Authentication::Certificate {} => peer.certified,
        Authentication::Signature { header, .. } => {
            return if headers.contains_key(header.as_str()) { Proved::ByBody } else { Proved::No };
        }
        Authentication::Bearer { token_file } => {
            let given = authorization(headers, "bearer").map(str::as_bytes);
            same(given, secret(token_file).as_deref())
        }
        Authentication::Basic { user, password_file } => {
            let given = authorization(headers, "basic").and_then(|text| STANDARD.decode(text).ok());
            let wanted = secret(password_file).map(|password| [user.as_bytes(), b":", password.as_slice()].concat());
            same(given.as_deref(), wanted.as_deref())
        }
    };
    if good { Proved::Yes } else { Proved::No }
}

/// Whether the body is what its signature says.
pub(super) fn of_body(wanted: &Authentication, headers: &HeaderMap, body: &[u8]) -> bool {
    let Authentication::Signature { header, secret_file } = wanted else { return false };
    let mut given = headers.get_all(header.as_str()).iter();
    let (Some(one), None) = (given.next(), given.next()) else { return false };
    let digits = one.to_str().unwrap_or_default();
    let Some(tag) = hex(digits.strip_prefix("sha256=").unwrap_or(digits)) else { return false };
    let Some(secret) = secret(secret_file) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret) else { return false };
    mac.update(body);
    // In constant time.
    mac.verify_slice(&tag).is_ok()
}

/// The one `Authorization` of a scheme.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(one), None) = (given.next(), given.next()) else { return None };
    let (name, rest) = one.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// A comparison whose time tells nothing of where the two differ.
fn same(given: Option<&[u8]>, wanted: Option<&[u8]>) -> bool {
    match (given, wanted) {
        (Some(given), Some(wanted)) => given.ct_eq(wanted).into(),
        _ => false,
    }
}

/// A secret, without the line break at its end. An empty one, or none, proves nothing.
fn secret(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        tracing::error!(file = %path.display(), %error, "the secret of a receiver cannot be read: it takes nothing");
        return None;
    }
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    bytes.truncate(end);
    (!bytes.is_empty() && bytes.len() as u64 <= MAX_SECRET).then_some(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
