//! A backup of the store, as its object shows it.

use jiff::Timestamp;
use lifeboat_model::{
    BackupId, BackupPhase, BackupStatus, Condition, MAX_GAPS, Manifest, Reason, ReportedGap, set_condition, settled,
};
use lifeboat_recovery::Summary;

use crate::event::BackupFacts;

/// What a status says of a backup that the store has, or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: BackupId,
    pub(super) phase: BackupPhase,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    sequence: Option<u64>,
    schedule: Option<Box<str>>,
    stored_bytes: Option<u64>,
    verified: Option<bool>,
    gaps: Vec<ReportedGap>,
    problem: Option<Box<str>>,
}

impl Shown {
    pub(super) fn manifest(manifest: &Manifest, verified: bool) -> Self {
        Self {
            id: manifest.id.clone(),
            phase: manifest.state.into(),
            started: Some(settled(manifest.started)),
            finished: Some(settled(manifest.finished)),
            sequence: Some(manifest.sequence),
            schedule: schedule(&manifest.reason),
            stored_bytes: Some(manifest.stored_bytes()),
            verified: Some(verified),
            gaps: Vec::new(),
            problem: None,
        }
    }

    pub(super) fn summary(id: &BackupId, summary: &Summary) -> Self {
        Self {
            id: id.clone(),
            phase: summary.state.into(),
            started: Some(settled(summary.started)),
            finished: Some(settled(summary.finished)),
            sequence: Some(summary.sequence),
            schedule: schedule(&summary.reason),
            stored_bytes: Some(summary.stored_bytes),
            verified: Some(summary.verified),
            gaps: Vec::new(),
            problem: None,
        }
    }

    pub(super) fn problem(id: &BackupId, problem: &str) -> Self {
        Self {
            id: id.clone(),
            phase: BackupPhase::Untrusted,
            started: id.started(),
            finished: None,
            sequence: None,
            schedule: None,
            stored_bytes: None,
            verified: None,
            gaps: Vec::new(),
            problem: Some(problem.into()),
        }
    }

    /// A backup that was just taken, on behalf of that schedule.
    pub(super) fn taken(facts: &BackupFacts, schedule: Option<&str>) -> Self {
        Self {
            id: facts.id.clone(),
            phase: facts.state.into(),
            started: Some(settled(facts.started)),
            finished: Some(settled(facts.finished)),
            sequence: Some(facts.sequence),
            schedule: schedule.map(Into::into),
            stored_bytes: Some(facts.stored_bytes),
            verified: Some(false),
            gaps: facts.gaps.iter().take(MAX_GAPS).map(ReportedGap::from).collect(),
            problem: None,
        }
    }

    /// The status of an object that shows it. For the same backup and the status that came of it, the same again.
    pub(super) fn status(&self, generation: Option<i64>, before: Option<&BackupStatus>) -> BackupStatus {
        let mut conditions = before.map(|before| before.conditions.clone()).unwrap_or_default();
        for condition in self.conditions() {
            set_condition(&mut conditions, Condition { observed_generation: generation, ..condition });
        }
        let gaps = before.filter(|_| self.gaps.is_empty()).map_or_else(|| self.gaps.clone(), |old| old.gaps.clone());
        BackupStatus {
            observed_generation: generation,
            phase: self.phase,
            id: Some(self.id.clone()),
            started: self.started,
            finished: self.finished,
            sequence: self.sequence,
            schedule: self.schedule.as_deref().map(str::to_owned),
            stored_bytes: self.stored_bytes,
            verified: self.verified,
            gaps,
            conditions,
        }
    }

    /// What holds of it, since it was complete.
    fn conditions(&self) -> [Condition; 2] {
        let since = self.finished.or(self.started).unwrap_or(Timestamp::UNIX_EPOCH);
        let condition = |kind, holds: bool, reason, message: &str| Condition::new(kind, holds, reason, message, since);
        let problem = self.problem.as_deref().unwrap_or_default();
        match self.phase {
            BackupPhase::Complete => [
                condition("Complete", true, "Stored", "it is in the store, with all that was expected"),
                condition("Failed", false, "Stored", ""),
            ],
            BackupPhase::Partial => [
                condition(
                    "Complete",
                    false,
                    "Partial",
                    "something that was expected is missing: its coverage says what",
                ),
                condition("Failed", false, "Stored", ""),
            ],
            _ => [condition("Complete", false, "Untrusted", problem), condition("Failed", true, "Untrusted", problem)],
        }
    }
}

fn schedule(reason: &Reason) -> Option<Box<str>> {
    match reason {
        Reason::Manual => None,
        Reason::Schedule(name) => Some(name.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(phase: BackupPhase) -> Shown {
        let id: BackupId = "20261121T044500Z-k3f9qz".parse().unwrap();
        Shown {
            started: id.started(),
            id,
            phase,
            finished: Some("2026-11-21T04:46:00Z".parse().unwrap()),
            sequence: Some(7),
            schedule: None,
            stored_bytes: Some(1),
            verified: Some(false),
            gaps: Vec::new(),
            problem: None,
        }
    }

    #[test]
    fn the_status_of_a_status_is_the_same() {
        for phase in [BackupPhase::Complete, BackupPhase::Partial, BackupPhase::Untrusted] {
            let first = shown(phase).status(Some(1), None);
            assert_eq!(shown(phase).status(Some(1), Some(&first)), first);
            assert_eq!(first.conditions.len(), 2);
        }
    }

    #[test]
    fn what_was_known_of_gaps_stays() {
        let gaps = vec![ReportedGap { resource: "secrets".to_owned(), reason: "forbidden".to_owned() }];
        let taken = Shown { gaps: gaps.clone(), ..shown(BackupPhase::Partial) }.status(Some(1), None);
        assert_eq!(shown(BackupPhase::Partial).status(Some(1), Some(&taken)).gaps, gaps);
    }
}
