//! Reading YAML documents that people write.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

/// A document that cannot be accepted, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{line}:{column}: {message}")]
pub struct YamlError {
    /// The file, or another name for where the text came from.
    pub source_name: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
    /// Column, from 1; 0 where it is not known.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// The nearest known name, where one was misspelt.
    pub hint: Option<String>,
}

/// Parses one YAML document.
///
/// # Errors
/// With file, line and column: when it is no YAML, has an unknown key, or does not fit `T`.
pub fn parse_yaml<T: DeserializeOwned>(source_name: &str, text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| describe(source_name, &error))
}

fn describe(source_name: &str, error: &Error) -> YamlError {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |place| (place.line(), place.column()));
    let (message, hint) = match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        other => (without_place(&other.render()), None),
    };
    YamlError { source_name: source_name.to_owned(), line, column, message, hint }
}

/// The message without the ` at line L, column C` that the parser puts behind some.
fn without_place(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.find(" at line ").unwrap_or(first.len());
    first.get(..end).unwrap_or(first).to_owned()
}

fn unknown(what: &str, found: &str, expected: &[&str]) -> (String, Option<String>) {
    let nearest = nearest(found, expected.iter().copied());
    let message = match nearest {
        Some(nearest) => format!("unknown {what} '{found}', did you mean '{nearest}'?"),
        None => format!("unknown {what} '{found}', expected one of: {}", expected.join(", ")),
    };
    (message, nearest.map(str::to_owned))
}

/// The known name that `found` is most likely a misspelling of.
pub fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |name: &str| strsim::damerau_levenshtein(&found.to_lowercase(), &name.to_lowercase());
    let scored = known.map(|name| (score(name), name)).min()?;
    (scored.0 <= 1 + found.chars().count() / 3).then_some(scored.1)
}
