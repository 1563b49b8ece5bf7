//! The objects of a plan, packed: a hundred thousand of them take some five MiB.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::plan::{Span, Verdict};
use crate::error::{Error, Result};

/// What most verdicts are.
static CREATE: Verdict = Verdict::Create { objection: None };

/// One object in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// Which of the plan's kinds it is of.
    pub kind: u32,
    /// Its namespace on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its UID in the backup, where it owns other objects of the plan or is owned by some.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: &'a str,
    /// Where it lies in the backup's tar; absent where the backup does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Span>,
    /// Whether it comes before the rest of its wave, since it asks for an address that others could take.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    /// What happens to it.
    pub verdict: &'a Verdict,
}

/// The objects of a plan, in their order.
#[derive(Clone, Default)]
pub struct Entries {
    rows: Vec<Row>,
    /// The names, one behind the other.
    names: String,
    namespaces: Vec<Box<str>>,
    known: HashMap<Box<str>, u32>,
    /// Verdicts other than [`CREATE`].
    verdicts: Vec<Verdict>,
    uids: HashMap<u32, Box<str>>,
}

/// Zero stands for what is not there: no namespace, no source, the verdict [`CREATE`].
#[derive(Debug, Clone, Copy)]
struct Row {
    offset: u64,
    length: u32,
    name: u32,
    namespace: u32,
    verdict: u32,
    kind: u16,
    name_length: u16,
    early: bool,
}

impl Entries {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self { rows: Vec::with_capacity(entries), ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.numbered(0..self.len()).map(|(_, entry)| entry)
    }

    /// Those of a range, with their numbers.
    pub(super) fn numbered(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (u32, Entry<'_>)> {
        let rows = self.rows.get(range.clone()).unwrap_or_default();
        (u32::try_from(range.start).unwrap_or(u32::MAX)..)
            .zip(rows)
            .map(|(number, row)| (number, self.entry(number, row)))
    }

    pub(super) fn get(&self, number: u32) -> Option<Entry<'_>> {
        let row = self.rows.get(usize::try_from(number).ok()?)?;
        Some(self.entry(number, row))
    }

    fn entry(&self, number: u32, row: &Row) -> Entry<'_> {
        let name = usize::try_from(row.name).unwrap_or(usize::MAX);
        Entry {
            kind: row.kind.into(),
            namespace: before(row.namespace).and_then(|at| self.namespaces.get(at)).map(|name| &**name),
            name: self.names.get(name..name.saturating_add(row.name_length.into())).unwrap_or_default(),
            uid: self.uids.get(&number).map_or("", |uid| &**uid),
            source: (row.length > 0).then(|| Span { offset: row.offset, length: row.length.into() }),
            early: row.early,
            verdict: before(row.verdict).and_then(|at| self.verdicts.get(at)).unwrap_or(&CREATE),
        }
    }

    /// Adds one to the end.
    ///
    /// # Errors
    /// When there is no room for what it says, which is more than Kubernetes allows.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        let full = || Error::Inconsistent(format!("'{:.253}' does not fit into a plan", entry.name));
        let length = entry.source.map_or(Some(0), |span| u32::try_from(span.length).ok().filter(|length| *length > 0));
        let row = Row {
            offset: entry.source.map_or(0, |span| span.offset),
            length: length.ok_or_else(full)?,
            name: u32::try_from(self.names.len()).map_err(|_| full())?,
            namespace: entry.namespace.map_or(Some(0), |name| self.namespace(name)).ok_or_else(full)?,
            verdict: self.verdict(entry.verdict).ok_or_else(full)?,
            kind: u16::try_from(entry.kind).map_err(|_| full())?,
            name_length: u16::try_from(entry.name.len()).map_err(|_| full())?,
            early: entry.early,
        };
        if !entry.uid.is_empty() {
            let number = u32::try_from(self.rows.len()).map_err(|_| full())?;
            self.uids.insert(number, entry.uid.into());
        }
        self.names.push_str(entry.name);
        self.rows.push(row);
        Ok(())
    }

    /// Decides about one anew.
    pub(super) fn decide(&mut self, number: u32, verdict: &Verdict, early: bool) -> Result<()> {
        let verdict = self.verdict(verdict).ok_or(Error::Lost("planning"))?;
        let row = usize::try_from(number).ok().and_then(|number| self.rows.get_mut(number));
        let row = row.ok_or(Error::Lost("planning"))?;
        (row.verdict, row.early) = (verdict, early);
        Ok(())
    }

    /// Gives back the room that was set aside for more.
    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.names.shrink_to_fit();
        self.verdicts.shrink_to_fit();
    }

    /// One more than the place of a namespace.
    fn namespace(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.known.get(name) {
            return Some(*number);
        }
        self.namespaces.push(name.into());
        let number = u32::try_from(self.namespaces.len()).ok()?;
        self.known.insert(name.into(), number);
        Some(number)
    }

    /// One more than the place of a verdict. Equal ones often follow each other.
    fn verdict(&mut self, verdict: &Verdict) -> Option<u32> {
        if *verdict == CREATE {
            return Some(0);
        }
        if self.verdicts.last() != Some(verdict) {
            self.verdicts.push(verdict.clone());
        }
        u32::try_from(self.verdicts.len()).ok()
    }
}

fn before(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

impl<'a> IntoIterator for &'a Entries {
    type Item = Entry<'a>;
    type IntoIter = Box<dyn Iterator<Item = Entry<'a>> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry<'_> {
        Entry { kind: 3, namespace: None, name, uid: "", source: None, early: false, verdict: &CREATE }
    }

    #[test]
    fn what_was_put_in_comes_out_and_can_be_decided_anew() {
        let blocked = Verdict::Blocked { reason: "because".into() };
        let source = Some(Span { offset: u64::MAX, length: u64::from(u32::MAX) });
        let all = [
            entry("a"),
            Entry { namespace: Some("shop"), uid: "u", source, early: true, ..entry("bé") },
            Entry { namespace: Some("shop"), verdict: &blocked, ..entry("") },
            Entry { namespace: Some("other"), verdict: &blocked, ..entry("d") },
        ];
        let mut entries = Entries::default();
        for entry in all {
            entries.push(entry).unwrap();
        }
        assert_eq!(entries.iter().collect::<Vec<_>>(), all);
        assert_eq!((entries.verdicts.len(), entries.namespaces.len()), (1, 2));
        assert_eq!(entries.numbered(2..4).map(|(number, _)| number).collect::<Vec<_>>(), [2, 3]);
        let skipped = Verdict::Skipped { rule: 7, reason: "rule".into() };
        entries.decide(2, &skipped, true).unwrap();
        assert_eq!(entries.get(2), Some(Entry { verdict: &skipped, early: true, ..all[2] }));
        assert_eq!(entries.get(3), Some(all[3]));
        assert_eq!(entries.get(4), None);
        entries.decide(4, &skipped, true).unwrap_err();
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut entries = Entries::default();
        entries.push(entry(&"x".repeat(70_000))).unwrap_err();
        entries.push(Entry { kind: 70_000, ..entry("a") }).unwrap_err();
        for length in [0, 1 << 32] {
            entries.push(Entry { source: Some(Span { offset: 0, length }), ..entry("a") }).unwrap_err();
        }
        assert!(entries.is_empty());
    }

    #[test]
    fn an_entry_takes_little() {
        assert!(size_of::<Row>() <= 32, "{}", size_of::<Row>());
    }
}
