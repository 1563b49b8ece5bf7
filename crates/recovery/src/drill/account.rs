//! What a drill has found and measured so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;
use lifeboat_archive::ArchiveError;
use lifeboat_controlplane::Error as PlaneError;
use lifeboat_etcd::EtcdError;
use lifeboat_model::{
    DrillCheck, DrillDetails, DrillId, DrillPhase, DrillTargets, DrillVersions, Explained, Finding, FindingClass,
    FindingCode,
};
use lifeboat_store::StoreError;

use super::rules::RULES;
use super::{Outcome, Request};
use crate::catalog::Catalog;
use crate::error::{Class, Error, Result, chain};

/// Findings that are kept with their words; the rest is counted.
const KEPT: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Notes {
    codes: BTreeSet<FindingCode>,
    findings: Vec<Finding>,
    omitted: u64,
    checks: Vec<DrillCheck>,
    explained: BTreeMap<u32, u64>,
    warnings: Vec<String>,
}

/// The account of one drill.
pub(super) struct Account {
    pub(super) notes: Notes,
    begun: Instant,
    phase_begun: Instant,
    phases: Vec<DrillPhase>,
    /// From the command to every object readable.
    rto: Option<f64>,
    rpo: Option<u64>,
    longest_gap: Option<u64>,
    pub(super) versions: DrillVersions,
}

impl Account {
    pub(super) fn begin() -> Self {
        let begun = Instant::now();
        Self {
            begun,
            phase_begun: begun,
            phases: Vec::new(),
            notes: Notes::default(),
            rto: None,
            rpo: None,
            longest_gap: None,
            versions: DrillVersions::default(),
        }
    }

    /// Ends the phase that began with the end of the one before.
    pub(super) fn end_phase(&mut self, name: &str) {
        let now = Instant::now();
        let seconds = now.duration_since(self.phase_begun).as_secs_f64();
        tracing::info!(phase = name, seconds, "done");
        self.phases.push(DrillPhase { name: name.to_owned(), seconds });
        self.phase_begun = now;
    }

    /// Every object is readable.
    pub(super) fn restored(&mut self) {
        self.rto = Some(self.begun.elapsed().as_secs_f64());
    }

    /// Holds what was measured to what was asked.
    pub(super) fn measured(&mut self, age: u64, longest_gap: Option<u64>, targets: DrillTargets) {
        self.rpo = Some(age);
        self.longest_gap = longest_gap;
        if let (Some(took), Some(target)) = (self.rto, targets.rto_seconds) {
            #[expect(clippy::cast_precision_loss, reason = "targets are far below 2^52 seconds")]
            let met = took <= target as f64;
            let outcome = format!("{took:.1} s from the command to every object readable, {target} s are allowed");
            self.notes.check("rto", FindingCode::RtoMissed, if met { Ok(outcome) } else { Err(outcome) });
        }
        if let Some(target) = targets.rpo_seconds {
            let gap = longest_gap.unwrap_or_default();
            let outcome = format!("the backup is {age} s old, the longest gap was {gap} s, {target} s are allowed");
            let met = age.max(gap) <= target;
            self.notes.check("rpo", FindingCode::RpoMissed, if met { Ok(outcome) } else { Err(outcome) });
        }
    }

    /// The whole account.
    pub(super) fn outcome(
        self,
        id: DrillId,
        backup: String,
        catalog: &Catalog,
        started: Timestamp,
        request: &Request,
    ) -> Outcome {
        Outcome {
            id,
            backup,
            cluster: catalog.context().cluster.clone(),
            started,
            tier: request.tier,
            target: request.target.name().to_owned(),
            restores: self.notes.codes.iter().all(|code| code.class() == FindingClass::Target),
            passed: self.notes.codes.is_empty(),
            codes: self.notes.codes.iter().copied().collect(),
            phases: self.phases,
            rto_seconds: self.rto,
            rpo_seconds: self.rpo,
            longest_gap_seconds: self.longest_gap,
            targets: request.targets,
            versions: self.versions,
            details: Some(self.notes.into_details()),
            stored: false,
        }
    }
}

impl Notes {
    /// Notes a finding.
    pub(super) fn find(&mut self, code: FindingCode, object: Option<String>, message: impl Into<String>) {
        let message = message.into();
        tracing::debug!(%code, object, message, "found");
        self.codes.insert(code);
        if self.findings.len() < KEPT {
            self.findings.push(Finding { code, object, message });
        } else {
            self.omitted += 1;
        }
    }

    /// Notes a check, and a finding where it failed.
    pub(super) fn check(
        &mut self,
        name: &str,
        code: FindingCode,
        outcome: std::result::Result<String, String>,
    ) -> bool {
        let ok = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|message| {
            self.find(code, Some(name.to_owned()), message.clone());
            message
        });
        self.result(name, ok, detail);
        ok
    }

    /// Notes what came of a check whose findings are noted already.
    pub(super) fn result(&mut self, name: &str, ok: bool, detail: String) {
        self.checks.push(DrillCheck { name: name.to_owned(), ok, detail });
    }

    /// Notes a check that may end in an error: the value, or nothing where the error is a finding.
    ///
    /// # Errors
    /// When the error says nothing about the backup: then the drill cannot go on.
    pub(super) fn try_check<T>(
        &mut self,
        name: &str,
        code: FindingCode,
        outcome: Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<Option<T>> {
        match outcome {
            Ok(value) => {
                self.check(name, code, Ok(describe(&value)));
                Ok(Some(value))
            }
            Err(error) => {
                let Some(code) = code_of(&error, code) else { return Err(error) };
                self.check(name, code, Err(chain(&error)));
                Ok(None)
            }
        }
    }

    /// What was found, by name.
    pub(super) fn into_details(self) -> DrillDetails {
        let reason = |rule: u32| RULES.iter().find(|known| known.number == rule).map(|known| known.what.to_owned());
        let explained = self.explained.into_iter();
        let explained =
            explained.map(|(rule, objects)| Explained { rule, reason: reason(rule).unwrap_or_default(), objects });
        DrillDetails {
            findings: self.findings,
            omitted: self.omitted,
            checks: self.checks,
            explained: explained.collect(),
            warnings: self.warnings,
        }
    }

    /// What a reader should know.
    pub(super) fn warn(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    /// Counts a difference that a rule explains.
    pub(super) fn explain(&mut self, rule: u32) {
        *self.explained.entry(rule).or_default() += 1;
    }
}

/// The finding that an error is, if it says something about the backup or the room for it.
fn code_of(error: &Error, otherwise: FindingCode) -> Option<FindingCode> {
    if is_full(error) {
        return Some(FindingCode::NoSpace);
    }
    if is_wrong_identity(error) {
        return Some(FindingCode::WrongIdentity);
    }
    // Of the drill's own processes, which nobody else troubles.
    let program_failed = matches!(
        error,
        Error::Etcd(
            EtcdError::Etcdutl { .. }
                | EtcdError::Call { .. }
                | EtcdError::Closed { .. }
                | EtcdError::NoLeader { .. }
                | EtcdError::Timeout { .. }
        ) | Error::ControlPlane(PlaneError::Exited { .. } | PlaneError::NotReady { .. })
            | Error::Kubernetes(_)
    );
    (program_failed || matches!(error.class(), Class::Integrity | Class::NotFound)).then_some(otherwise)
}

/// Whether there was no room. Other programs say it in words only.
fn is_full(error: &Error) -> bool {
    let text = chain(error).to_lowercase();
    matches!(error, Error::Store(StoreError::NoSpace { .. }))
        || ["no space left on device", "disk quota exceeded"].iter().any(|words| text.contains(words))
}

fn is_wrong_identity(error: &Error) -> bool {
    match error {
        Error::Part { source, .. } => is_wrong_identity(source),
        Error::Archive(ArchiveError::WrongIdentity | ArchiveError::IdentityFailed(_)) => true,
        _ => false,
    }
}
