//! What a prune does or would do, for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use lifeboat_model::{BackupId, BackupState, RetentionPolicy};
use lifeboat_recovery::chain;
use lifeboat_recovery::retention::{Awaiting, Doubt, Leftover, Lock, Outcome, Prune, Reason, Removed, Verdict};
use lifeboat_store::Purged;
use serde::Serialize;

use crate::exit::ExitCode;
use crate::output::{Report, Table, View, bytes, moment, printable};

/// The result of a prune.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pruned {
    schema: &'static str,
    cluster: String,
    /// Nothing was removed: this is what would be.
    dry_run: bool,
    kept: Vec<BackupForm>,
    removed: Vec<BackupForm>,
    /// What is not listed any more, and whose bytes go later.
    awaiting: Vec<AwaitingForm>,
    /// What unfinished backups and removals have left, and what is gone of it.
    cleared: Vec<ClearedForm>,
    /// Unfinished uploads that are gone.
    uploads: usize,
    /// Old versions that are gone, and those that stay since they are held.
    purged: PurgedForm,
    /// Held backups whose locks were made longer.
    extended: Vec<String>,
    /// What has no manifest and may be under way.
    unfinished: Vec<String>,
    /// What was to go, and stays since the store changed meanwhile.
    spared: Vec<String>,
    failed: Vec<ProblemForm>,
    /// What has a manifest that cannot be believed; it stays.
    problems: Vec<ProblemForm>,
    warnings: Vec<String>,
    #[serde(skip)]
    misdated: bool,
    /// What goes now is only not listed any more.
    #[serde(skip)]
    later: bool,
}

/// What a prune was to do, and by what.
pub(super) struct Shown<'a> {
    pub(super) cluster: &'a str,
    pub(super) policy: &'a RetentionPolicy,
    pub(super) plan: &'a Prune,
}

/// A backup, and why it stays or that it goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupForm {
    id: String,
    state: BackupState,
    stored_at: Timestamp,
    stored_bytes: u64,
    verified: bool,
    /// Of those that stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonForm>,
}

#[derive(Debug, Serialize)]
struct ReasonForm {
    rule: &'static str,
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClearedForm {
    id: String,
    stored_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AwaitingForm {
    id: String,
    stored_bytes: u64,
    until: Timestamp,
}

#[derive(Debug, Default, Serialize)]
struct PurgedForm {
    versions: u64,
    bytes: u64,
    held: u64,
}

#[derive(Debug, Serialize)]
struct ProblemForm {
    id: String,
    message: String,
}

impl From<&Verdict> for BackupForm {
    fn from(Verdict { backup, reasons }: &Verdict) -> Self {
        Self {
            id: backup.id.to_string(),
            state: backup.state,
            stored_at: backup.stored,
            stored_bytes: backup.bytes,
            verified: backup.verified,
            reasons: reasons.iter().map(ReasonForm::from).collect(),
        }
    }
}

impl From<&Reason> for ReasonForm {
    fn from(reason: &Reason) -> Self {
        let (rule, detail) = match reason {
            Reason::NoRules => ("noRules", None),
            Reason::Last => ("keepLast", None),
            Reason::Hourly => ("keepHourly", None),
            Reason::Daily => ("keepDaily", None),
            Reason::Weekly => ("keepWeekly", None),
            Reason::Monthly => ("keepMonthly", None),
            Reason::Yearly => ("keepYearly", None),
            Reason::Within => ("keepWithin", None),
            Reason::MinBackups => ("minBackups", None),
            Reason::MinVerified => ("minVerified", None),
            Reason::AwaitsDrills => ("minVerified", Some("too few are verified, so no complete one goes".to_owned())),
            Reason::NewestComplete => ("newestComplete", None),
            Reason::NewestVerified => ("newestVerified", None),
            Reason::Newest => ("newest", None),
            Reason::Locked(lock) => ("locked", Some(lock_text(lock))),
            Reason::Misdated(doubt) => ("misdated", Some(doubt_text(*doubt).to_owned())),
        };
        Self { rule, detail }
    }
}

fn lock_text(lock: &Lock) -> String {
    match lock {
        Lock::Until(end) => format!("retained by the store until {end}"),
        Lock::LegalHold => "under a legal hold".to_owned(),
        Lock::Held(None) => "held".to_owned(),
        Lock::Held(Some(reason)) => format!("held: {reason}"),
        Lock::Unknown(reason) => format!("whether it is held is not known: {reason}"),
    }
}

fn doubt_text(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Future => "the store has it from a time that is still to come",
        Doubt::Claim => "its manifest claims another time than the store's",
        Doubt::Contradiction => "the times in its manifest contradict one another",
    }
}

impl Pruned {
    /// What would be done.
    pub(super) fn planned(shown: &Shown<'_>, dry_run: bool) -> Self {
        let Shown { cluster, policy, plan } = *shown;
        let awaiting = |waiting: &Awaiting| AwaitingForm {
            id: waiting.id.to_string(),
            stored_bytes: waiting.bytes,
            until: waiting.until,
        };
        let cleared = |leftover: &Leftover| ClearedForm { id: leftover.id.to_string(), stored_bytes: leftover.bytes };
        let problem = |problem: &lifeboat_recovery::Problem| ProblemForm {
            id: problem.id.to_string(),
            message: chain(&problem.error),
        };
        Self {
            schema: "lifeboat.dev/backup-prune/v1",
            cluster: cluster.to_owned(),
            dry_run,
            kept: plan.verdicts.iter().filter(|verdict| verdict.keeps()).map(BackupForm::from).collect(),
            removed: plan.verdicts.iter().filter(|verdict| !verdict.keeps()).map(BackupForm::from).collect(),
            awaiting: plan.awaiting.iter().map(awaiting).collect(),
            cleared: plan.clearances().map(cleared).collect(),
            uploads: plan.uploads.len(),
            purged: PurgedForm::default(),
            extended: Vec::new(),
            unfinished: plan.unfinished.iter().map(ToString::to_string).collect(),
            spared: Vec::new(),
            failed: Vec::new(),
            problems: plan.problems.iter().map(problem).collect(),
            warnings: warnings(plan, policy),
            misdated: plan.verdicts.iter().any(|verdict| verdict.doubt().is_some()),
            later: policy.remove_after.is_some(),
        }
    }

    /// What was done.
    pub(super) fn done(shown: &Shown<'_>, outcome: &Outcome) -> Self {
        let is_gone = |gone: &[Removed], id: &str| gone.iter().any(|removed| removed.id.as_str() == id);
        let mut pruned = Self::planned(shown, false);
        pruned.removed.retain(|form| is_gone(&outcome.removed, &form.id));
        pruned.cleared.retain(|form| is_gone(&outcome.cleared, &form.id));
        pruned.uploads = outcome.uploads;
        let Purged { versions, bytes, held } = outcome.purged;
        pruned.purged = PurgedForm { versions, bytes, held };
        if held > 0 {
            pruned.warnings.push(format!("{held} old versions are held by the store, and stay"));
        }
        pruned.spared = outcome.spared.iter().map(ToString::to_string).collect();
        let failed = outcome.failed.iter();
        pruned.failed = failed.map(|(id, error)| ProblemForm { id: id.to_string(), message: chain(error) }).collect();
        pruned
    }

    /// The same, with those whose locks were made longer.
    pub(super) fn extended(self, ids: &[BackupId]) -> Self {
        Self { extended: ids.iter().map(ToString::to_string).collect(), ..self }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        if !self.problems.is_empty() {
            ExitCode::Integrity
        } else if self.misdated || !self.failed.is_empty() {
            ExitCode::Partial
        } else {
            ExitCode::Done
        }
    }
}

fn warnings(plan: &Prune, policy: &RetentionPolicy) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.verdicts.iter().any(|verdict| verdict.reasons.contains(&Reason::NoRules)) {
        warnings.push("retention has no rules: every backup stays".to_owned());
    }
    if plan.versioned && !policy.purge_versions {
        let text =
            "the bucket keeps versions: the bytes of what is removed stay until a lifecycle rule ends old versions";
        warnings.push(text.to_owned());
    }
    for leftover in &plan.leftovers {
        if let Some(lock) = &leftover.lock {
            warnings.push(format!("what is left of {} stays: {}", leftover.id, lock_text(lock)));
        }
    }
    if let Some(reason) = &plan.uploads_unknown {
        warnings.push(format!("unfinished uploads are not known: {reason}"));
    }
    warnings
}

impl Report for Pruned {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        if self.kept.is_empty() && self.removed.is_empty() {
            let _ = writeln!(text, "no backups of cluster '{}'", self.cluster);
        } else {
            text.push_str(&self.table(view));
        }
        for form in &self.cleared {
            let what = if self.dry_run { "goes: what is left of" } else { "cleared: what was left of" };
            let _ = writeln!(text, "{what} {}, {}", form.id, bytes(form.stored_bytes));
        }
        if self.uploads > 0 {
            let what = if self.dry_run { "go" } else { "removed" };
            let _ = writeln!(text, "unfinished uploads, {what}: {}", self.uploads);
        }
        for AwaitingForm { id, stored_bytes, until } in &self.awaiting {
            let _ = writeln!(text, "not listed, and goes from {until} on: {id}, {}", bytes(*stored_bytes));
        }
        if self.purged.versions > 0 {
            let PurgedForm { versions, bytes: freed, .. } = &self.purged;
            let _ = writeln!(text, "old versions, removed: {versions}, {}", bytes(*freed));
        }
        for id in &self.extended {
            let _ = writeln!(text, "held, and locked for longer: {id}");
        }
        for id in &self.unfinished {
            let _ = writeln!(text, "unfinished, and stays: {id}");
        }
        for id in &self.spared {
            let _ = writeln!(text, "stays, since the store has changed: {id}");
        }
        for ProblemForm { id, message } in &self.failed {
            let _ = writeln!(text, "{} {id}: {}", view.style.bad("not removed:"), printable(message));
        }
        for ProblemForm { id, message } in &self.problems {
            let _ = writeln!(text, "{} {id}: {}", view.style.bad("untrusted, and stays:"), printable(message));
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "{} {}", view.style.warning("warning:"), printable(warning));
        }
        let freed =
            self.removed.iter().map(|form| form.stored_bytes).chain(self.cleared.iter().map(|c| c.stored_bytes));
        let freed = bytes(freed.fold(0, u64::saturating_add));
        let verb = match (self.dry_run, self.later) {
            (true, false) => "to be removed",
            (true, true) => "not to be listed any more",
            (false, false) => "removed",
            (false, true) => "not listed any more",
        };
        let _ = writeln!(text, "{} kept, {} {verb}, {freed}", self.kept.len(), self.removed.len());
        text
    }
}

impl Pruned {
    /// Every backup with what becomes of it, newest first.
    fn table(&self, view: &View) -> String {
        let yes = |verified: bool| if verified { "yes" } else { "" };
        let mut rows = Vec::new();
        for form in &self.kept {
            let reasons = form.reasons.iter().map(|reason| match &reason.detail {
                Some(detail) => format!("{}: {detail}", reason.rule),
                None => reason.rule.to_owned(),
            });
            let reasons: Vec<String> = reasons.collect();
            rows.push((form.stored_at, &form.id, form.state, form.verified, "keep", reasons.join(", ")));
        }
        let gone = if self.dry_run { "remove" } else { "removed" };
        for form in &self.removed {
            rows.push((form.stored_at, &form.id, form.state, form.verified, gone, "no rule keeps it".to_owned()));
        }
        rows.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)));
        let mut table = Table::new(["BACKUP", "STATE", "STORED", "VERIFIED", "", "WHY"]);
        for (stored, id, state, verified, what, why) in rows {
            table.row([id, &state.to_string(), &moment(view.now, stored), yes(verified), what, &why]);
        }
        table.to_string()
    }
}
