//! Objects of the restored etcd that the index does not have, and that a controller may have deleted in between: what
//! becomes of each is told by its owner, once the whole index is known.

use std::collections::BTreeMap;

use lifeboat_model::{Coverage, FindingCode, IndexEntry};

use super::account::Notes;
use super::compare::{Limits, Tally, not_in_index};
use super::rules;
use crate::browse::Cursor;
use crate::error::Result;

/// As many are kept; what comes after them is a finding.
const KEPT: usize = 1_000;

/// The doubts of a comparison.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<Doubt>);

#[derive(Debug)]
struct Doubt {
    /// The place of its resource's tally.
    place: usize,
    /// The UID of the controller that owns it.
    owner: String,
    object: String,
    revision: u64,
}

impl Doubts {
    /// Takes an object up, if there may be one more of its resource: each deletion takes a revision, of which there were
    /// only so many between the snapshot and the list.
    pub(super) fn take(&mut self, place: usize, between: u64, owner: &str, object: &str, revision: u64) -> bool {
        let of_resource = self.0.iter().rev().take_while(|doubt| doubt.place == place).count() as u64;
        let takes = of_resource < between && self.0.len() < KEPT;
        if takes {
            self.0.push(Doubt { place, owner: owner.to_owned(), object: object.to_owned(), revision });
        }
        takes
    }

    /// Looks the owners up in the index. Blocks.
    pub(super) fn settle(
        self,
        cursor: &mut Cursor<'_>,
        coverage: &Coverage,
        limits: &Limits,
        notes: &mut Notes,
        tallies: &mut [Tally],
    ) -> Result<()> {
        let mut owners = self.owners();
        if !owners.is_empty() {
            for resource in &coverage.resources {
                cursor.begin(resource);
                while let Some(entry) = cursor.next()? {
                    meet(&mut owners, &entry);
                }
            }
        }
        self.judge(&owners, limits.snapshot, notes, tallies);
        Ok(())
    }

    /// The owners' UIDs, each to get the resourceVersion that the index has.
    fn owners(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|doubt| (doubt.owner.clone(), 0)).collect()
    }

    /// With what the index says of the owners.
    pub(super) fn judge(self, owners: &BTreeMap<String, u64>, snapshot: u64, notes: &mut Notes, tallies: &mut [Tally]) {
        for doubt in self.0 {
            let Some(tally) = tallies.get_mut(doubt.place) else { continue };
            if owners.get(&doubt.owner).is_some_and(|written| *written > snapshot) {
                tally.explained += 1;
                notes.explain(rules::OWNED);
            } else {
                tally.findings += 1;
                notes.find(FindingCode::ObjectUnexpected, Some(doubt.object), not_in_index(doubt.revision));
            }
        }
    }
}

fn meet(owners: &mut BTreeMap<String, u64>, entry: &IndexEntry) {
    if let Some(written) = owners.get_mut(&entry.uid) {
        *written = entry.resource_version.parse().unwrap_or_default();
    }
}
