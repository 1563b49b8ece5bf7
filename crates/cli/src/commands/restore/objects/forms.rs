//! Plans and reports, as programs read them.

use lifeboat_recovery::restore_objects::{Finding, Notes, Plan, Report as Restored, Verdict};
use serde::Serialize;

use super::words;
use crate::output::{Report, View};

/// A plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanForm<'a> {
    schema: &'static str,
    backup: String,
    /// The plan's hash.
    plan: String,
    create: u64,
    apply: u64,
    recreate: u64,
    prune: u64,
    unchanged: u64,
    leave: u64,
    skipped: u64,
    blocked: u64,
    /// How many the API server objects to, of those that would be written.
    objections: u64,
    findings: Vec<FindingForm<'a>>,
    withheld: Vec<WithheldForm<'a>>,
    /// With `--details` every object; without, those to which there is something to say.
    objects: Vec<ObjectForm<'a>>,
    #[serde(skip)]
    source: &'a Plan,
    #[serde(skip)]
    details: bool,
}

#[derive(Debug, Serialize)]
struct FindingForm<'a> {
    blocks: bool,
    code: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Finding> for FindingForm<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self { blocks: finding.blocks, code: &finding.code, message: &finding.message }
    }
}

#[derive(Debug, Serialize)]
struct WithheldForm<'a> {
    resource: &'a str,
    objects: u64,
    rule: u32,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct ObjectForm<'a> {
    object: String,
    wave: u8,
    verdict: &'static str,
    rule: Option<u32>,
    /// Why, where there is a reason; what the API server says, where it objects.
    message: Option<&'a str>,
}

fn withheld(plan: &Plan) -> Vec<WithheldForm<'_>> {
    let withheld = plan.header().withheld.iter();
    withheld
        .map(|it| WithheldForm { resource: &it.resource, objects: it.objects, rule: it.rule, reason: &it.reason })
        .collect()
}

/// The rule and the words that go with a verdict.
pub(super) fn reason(verdict: &Verdict) -> (Option<u32>, Option<&str>) {
    match verdict {
        Verdict::Skipped { rule, reason } => (Some(*rule), Some(reason)),
        Verdict::Blocked { reason } => (None, Some(reason)),
        verdict => (None, verdict.objection()),
    }
}

impl<'a> PlanForm<'a> {
    pub(super) fn of(plan: &'a Plan, details: bool) -> Self {
        let counts = plan.counts();
        let shown = plan.entries().iter().filter(|entry| {
            let says = reason(entry.verdict).1.is_some() && !matches!(entry.verdict, Verdict::Skipped { .. });
            details || says || matches!(entry.verdict, Verdict::Prune { .. })
        });
        let objects = shown.map(|entry| {
            let (rule, message) = reason(entry.verdict);
            let wave = plan.kind(entry).map(|kind| kind.wave).unwrap_or_default();
            ObjectForm { object: plan.name(entry), wave, verdict: entry.verdict.word(), rule, message }
        });
        Self {
            schema: "lifeboat.dev/restore-objects-plan/v1",
            backup: plan.header().backup.to_string(),
            plan: plan.hash().to_string(),
            create: counts.create,
            apply: counts.apply,
            recreate: counts.recreate,
            prune: counts.prune,
            unchanged: counts.unchanged,
            leave: counts.leave,
            skipped: counts.skipped,
            blocked: counts.blocked,
            objections: counts.objections,
            findings: plan.header().findings.iter().map(FindingForm::from).collect(),
            withheld: withheld(plan),
            objects: objects.collect(),
            source: plan,
            details,
        }
    }
}

impl Report for PlanForm<'_> {
    fn text(&self, view: &View) -> String {
        words::plan(self.source, self.details, view.style)
    }
}

/// What came of a restore.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportForm<'a> {
    schema: &'static str,
    backup: String,
    /// The plan's hash.
    plan: String,
    created: u64,
    applied: u64,
    recreated: u64,
    unchanged: u64,
    pruned: u64,
    /// Objects that were there, differ, and were left so.
    left: Vec<String>,
    skipped: Vec<SkippedForm<'a>>,
    withheld: Vec<WithheldForm<'a>>,
    failed: Vec<MessageForm<'a>>,
    blocked: Vec<MessageForm<'a>>,
    /// Objects that were restored and are not quite as in the backup.
    differing: Vec<MessageForm<'a>>,
    duration_seconds: f64,
    #[serde(skip)]
    source: (&'a Plan, &'a Restored),
}

#[derive(Debug, Serialize)]
struct SkippedForm<'a> {
    object: String,
    rule: u32,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct MessageForm<'a> {
    object: String,
    message: &'a str,
}

impl<'a> ReportForm<'a> {
    pub(super) fn of(plan: &'a Plan, report: &'a Restored) -> Self {
        let left = plan.entries().iter().filter(|entry| matches!(entry.verdict, Verdict::Leave { .. }));
        let skipped = plan.entries().iter().filter_map(|entry| match entry.verdict {
            Verdict::Skipped { rule, reason } => Some(SkippedForm { object: plan.name(entry), rule: *rule, reason }),
            _ => None,
        });
        let messages = |notes: &'a Notes| {
            notes.named(plan).map(|(object, message)| MessageForm { object, message }).collect::<Vec<_>>()
        };
        Self {
            schema: "lifeboat.dev/restore-objects/v1",
            backup: plan.header().backup.to_string(),
            plan: plan.hash().to_string(),
            created: report.created,
            applied: report.applied,
            recreated: report.recreated,
            unchanged: report.unchanged,
            pruned: report.pruned,
            left: left.map(|entry| plan.name(entry)).collect(),
            skipped: skipped.collect(),
            withheld: withheld(plan),
            failed: messages(&report.failed),
            blocked: messages(&report.blocked),
            differing: messages(&report.differing),
            duration_seconds: (report.duration.as_secs_f64() * 1000.0).round() / 1000.0,
            source: (plan, report),
        }
    }
}

impl Report for ReportForm<'_> {
    fn text(&self, view: &View) -> String {
        words::report(self.source.0, self.source.1, view.style)
    }
}
