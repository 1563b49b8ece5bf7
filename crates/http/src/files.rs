//! What is secret, out of files.

use std::io::Read as _;
use std::path::Path;

use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};

use crate::Error;

/// The longest file, in bytes.
const MAX_SECRET: u64 = 8192;

/// The content of a file, without the white space around it.
///
/// # Errors
/// When it cannot be read, is longer than 8 KiB or is no text.
pub fn secret(file: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_SECRET) {
        return Err(Error::Content { file: file.to_owned(), problem: "is longer than 8192 bytes" });
    }
    Ok(text.trim().to_owned())
}

/// The URL that is all of a file, with something put behind its path.
///
/// # Errors
/// As [`secret`], and when it is no `http` or `https` URL.
pub fn url(file: &Path, suffix: &str) -> Result<Uri, Error> {
    let bad = || Error::Content { file: file.to_owned(), problem: "has no http:// or https:// URL in it" };
    let uri: Uri = secret(file)?.parse().map_err(|_| bad())?;
    let known = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP);
    if !known || uri.host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if suffix.is_empty() {
        return Ok(uri);
    }
    let path = uri.path().trim_end_matches('/');
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let longer: PathAndQuery = format!("{path}{suffix}{query}").parse().map_err(|_| bad())?;
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(longer);
    Uri::from_parts(parts).map_err(|_| bad())
}

/// The token that is all of a file, as `Authorization` has it.
///
/// # Errors
/// As [`secret`], and when there is none.
pub fn token(file: &Path) -> Result<HeaderValue, Error> {
    let bad = || Error::Content { file: file.to_owned(), problem: "has no token in it" };
    let text = secret(file)?;
    if text.is_empty() {
        return Err(bad());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The headers of a file, one a line, as `Name: value`.
///
/// # Errors
/// As [`secret`], and when a line is none.
pub fn headers(file: &Path) -> Result<HeaderMap, Error> {
    let bad = || Error::Content { file: file.to_owned(), problem: "has a line that is no 'Name: value'" };
    let mut headers = HeaderMap::new();
    for line in secret(file)?.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}
