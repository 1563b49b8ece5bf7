//! Lines that hold one another: each has the digest of the one before and its own.

use jiff::Timestamp;
use lifeboat_model::Digest;
use serde::{Deserialize, Serialize};

use super::{Entry, JournalError, Line};

/// The longest line, in bytes: the first one holds the plan.
const MAX_LINE: usize = 64 << 20;

/// What stands before the digest at the end of a line.
const MARK: &str = ",\"digest\":\"";
/// From the mark to the end.
const TAIL: usize = MARK.len() + 64 + 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<E> {
    seq: u64,
    at: Timestamp,
    previous: Digest,
    entry: E,
}

/// Where a chain ends: what the next line has to be built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) next: u64,
    pub(crate) digest: Digest,
}

impl Head {
    /// Of a chain without any line.
    pub(crate) const START: Self = Self { next: 0, digest: Digest([0; 32]) };

    /// The next line, with the line break at its end, and the head that it makes.
    pub(crate) fn line(self, at: Timestamp, entry: &Entry) -> Result<(Vec<u8>, Self), JournalError> {
        let body = Body { seq: self.next, at, previous: self.digest, entry };
        let mut text = serde_json::to_vec(&body).map_err(|error| JournalError::Entry(error.to_string()))?;
        text.pop();
        let digest = Digest::of(&text);
        text.extend_from_slice(format!("{MARK}{digest}\"}}\n").as_bytes());
        if text.len() > MAX_LINE {
            return Err(JournalError::Entry(format!("a line of {} bytes, and at most {MAX_LINE} may be", text.len())));
        }
        Ok((text, Self { next: self.next + 1, digest }))
    }
}

/// A journal that was read, each line held to the one before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chain {
    pub(crate) lines: Vec<Line>,
    pub(crate) head: Head,
    /// Length of the whole lines, in bytes.
    pub(crate) length: u64,
    /// Bytes of a last line that was not written to its end.
    pub(crate) torn: u64,
}

/// Reads a journal, whose last line may be torn: no write depends on a line that is not whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Chain, JournalError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let (lines, torn) = bytes.split_at(whole);
    let mut chain = Chain { lines: Vec::new(), head: Head::START, length: 0, torn: 0 };
    for text in lines.split_inclusive(|byte| *byte == b'\n') {
        let (line, digest) =
            check(text, chain.head).map_err(|reason| JournalError::Altered { line: chain.head.next + 1, reason })?;
        chain.lines.push(line);
        chain.head = Head { next: chain.head.next + 1, digest };
    }
    chain.length = whole as u64;
    chain.torn = torn.len() as u64;
    Ok(chain)
}

fn check(text: &[u8], head: Head) -> Result<(Line, Digest), &'static str> {
    const OTHER: &str = "its digest is another";
    let text = text.strip_suffix(b"\n").ok_or(OTHER)?;
    if text.len() > MAX_LINE {
        return Err("too long");
    }
    let split = text.len().checked_sub(TAIL).ok_or(OTHER)?;
    let (body, tail) = text.split_at_checked(split).ok_or(OTHER)?;
    let digest = Digest::of(body);
    if tail != format!("{MARK}{digest}\"}}").as_bytes() {
        return Err(OTHER);
    }
    let mut json = body.to_vec();
    json.push(b'}');
    let body: Body<Entry> = serde_json::from_slice(&json).map_err(|_| "it is of no known form")?;
    if body.previous != head.digest {
        return Err("it does not follow the line before");
    }
    if body.seq != head.next {
        return Err("its number is another");
    }
    Ok((Line { seq: body.seq, at: body.at, entry: body.entry }, digest))
}
