//! Two ordered runs of objects, side by side.

use std::iter::Peekable;

use lifeboat_model::{IndexEntry, ObjectKey};

use crate::error::Result;

/// What the index has, in order, to be called up object by object.
pub(super) struct Expected<I: Iterator<Item = Result<IndexEntry>>>(Peekable<I>);

/// What the index has for an object that was found.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// The index has an object before it, which was therefore not found.
    Missing(IndexEntry),
    /// It has the object.
    Same(IndexEntry),
    /// It does not have it.
    Unknown,
}

impl<I: Iterator<Item = Result<IndexEntry>>> Expected<I> {
    pub(super) fn new(entries: I) -> Self {
        Self(entries.peekable())
    }

    /// Calls up the object `key`; to be repeated after each [`Next::Missing`]. Keys of one resource must ascend.
    pub(super) fn next(&mut self, key: &ObjectKey) -> Result<Next> {
        let Some(Ok(entry)) = self.0.peek() else {
            // An error is taken out; at the end there is nothing more to expect.
            return self.0.next().transpose().map(|_| Next::Unknown);
        };
        if !is_of_type(entry, key) {
            return Ok(Next::Unknown);
        }
        let expected = entry.key();
        if expected > *key {
            return Ok(Next::Unknown);
        }
        let same = expected == *key;
        match self.0.next() {
            Some(entry) if same => entry.map(Next::Same),
            Some(entry) => entry.map(Next::Missing),
            None => Ok(Next::Unknown),
        }
    }

    /// What is left of a resource when its list has ended.
    pub(super) fn rest(&mut self, of: impl Fn(&IndexEntry) -> bool) -> Result<Option<IndexEntry>> {
        let ours = |entry: &Result<IndexEntry>| entry.as_ref().map_or(true, &of);
        self.0.next_if(ours).transpose()
    }
}

fn is_of_type(entry: &IndexEntry, key: &ObjectKey) -> bool {
    (&entry.group, &entry.version, &entry.resource) == (&key.group, &key.version, &key.resource)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lifeboat_model::Digest;
    use proptest::prelude::*;

    use super::*;

    fn entry(resource: &str, name: &str) -> IndexEntry {
        IndexEntry {
            group: String::new(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: "Thing".to_owned(),
            namespace: Some("a".to_owned()),
            name: name.to_owned(),
            uid: String::new(),
            resource_version: String::new(),
            offset: 0,
            length: 0,
            canonical: Digest::of(b""),
        }
    }

    proptest! {
        #[test]
        fn every_object_is_met_once(
            index in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
            found in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
            later in proptest::collection::btree_set("[a-c]{1,3}", 0..3),
        ) {
            let entries = index.iter().map(|name| entry("pods", name)).chain(later.iter().map(|name| entry("zebras", name)));
            let mut expected = Expected::new(entries.map(Ok));
            let (mut missing, mut same, mut unknown) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for name in &found {
                let key = entry("pods", name).key();
                loop {
                    match expected.next(&key).unwrap() {
                        Next::Missing(entry) => prop_assert!(missing.insert(entry.name)),
                        Next::Same(entry) => { prop_assert!(same.insert(entry.name)); break }
                        Next::Unknown => { prop_assert!(unknown.insert(name.clone())); break }
                    }
                }
            }
            while let Some(entry) = expected.rest(|entry| entry.resource == "pods").unwrap() {
                prop_assert!(missing.insert(entry.name));
            }
            prop_assert_eq!(&missing, &(&index - &found));
            prop_assert_eq!(&same, &(&index & &found));
            prop_assert_eq!(&unknown, &(&found - &index));
            let mut rest = BTreeSet::new();
            while let Some(entry) = expected.rest(|_| true).unwrap() { rest.insert(entry.name); }
            prop_assert_eq!(rest, later);
        }
    }
}
