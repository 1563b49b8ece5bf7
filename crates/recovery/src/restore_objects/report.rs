//! What came of a restore.

use std::time::Duration;

use super::plan::{Plan, Verdict};

/// Objects that are named with what became of them, at most; the rest is counted.
const NAMED: usize = 20_000;

/// What came of performing a plan.
#[derive(Debug, Default)]
pub struct Report {
    /// Objects that were not there and are now.
    pub created: u64,
    /// Objects that were made equal.
    pub applied: u64,
    /// Objects that were deleted and created.
    pub recreated: u64,
    /// Objects that were as in the backup.
    pub unchanged: u64,
    /// Objects that differ and were left so.
    pub left: u64,
    /// Objects that were deleted.
    pub pruned: u64,
    /// Objects that could not be restored, with the server's words.
    pub failed: Notes,
    /// Objects that were not tried, since what they need is missing.
    pub blocked: Notes,
    /// Objects that were restored and are not quite as in the backup.
    pub differing: Notes,
    /// How long it took.
    pub duration: Duration,
}

/// Entries of the plan, each with something to say about it.
#[derive(Debug, Default)]
pub struct Notes {
    notes: Vec<(u32, Box<str>)>,
    count: u64,
}

impl Notes {
    pub(super) fn add(&mut self, entry: u32, text: &str) {
        self.count += 1;
        if self.notes.len() < NAMED {
            self.notes.push((entry, text.into()));
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those that are named, with the object's name, in the order of the plan.
    pub fn named<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (String, &'a str)> {
        self.notes.iter().filter_map(move |(number, text)| Some((plan.name(plan.entries.get(*number)?), &**text)))
    }

    pub(super) fn sort(&mut self) {
        self.notes.sort_unstable();
    }
}

impl Report {
    /// What needs no doing counts from the beginning.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut report = Self::default();
        for (number, entry) in (0_u32..).zip(&plan.entries) {
            match entry.verdict {
                Verdict::Unchanged { .. } => report.unchanged += 1,
                Verdict::Leave { .. } => report.left += 1,
                Verdict::Blocked { reason } => report.blocked.add(number, reason),
                _ => {}
            }
        }
        report
    }

    /// Whether everything that was planned was done.
    pub fn ok(&self) -> bool {
        self.failed.count == 0 && self.blocked.count == 0
    }
}
