//! The result of a drill, as it is printed.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::{
    DrillCheck, DrillDetails, DrillPhase, DrillTargets, DrillVersions, Explained, FindingClass, FindingCode,
};
use lifeboat_recovery::drill::Outcome;
use serde::Serialize;

use crate::exit::ExitCode;
use crate::output::{Report, Table, View, duration, printable};

/// The width of the longest bar.
const BAR: usize = 40;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the documented output")]
pub(super) struct DrillForm {
    schema: &'static str,
    pub(super) drill: String,
    pub(super) backup: String,
    pub(super) cluster: String,
    pub(super) started_at: Timestamp,
    pub(super) tier: u8,
    pub(super) target: String,
    /// Whether it restores, and every target was met.
    pub(super) passed: bool,
    /// Whether it restores.
    pub(super) restores: bool,
    pub(super) findings: Vec<FindingForm>,
    /// Findings beyond those listed.
    pub(super) findings_omitted: u64,
    pub(super) phases: Vec<DrillPhase>,
    pub(super) rto_seconds: Option<f64>,
    pub(super) rpo_seconds: Option<u64>,
    pub(super) longest_gap_seconds: Option<u64>,
    pub(super) targets: DrillTargets,
    pub(super) versions: DrillVersions,
    pub(super) checks: Vec<DrillCheck>,
    pub(super) explained: Vec<Explained>,
    pub(super) warnings: Vec<String>,
    /// Whether the sealed details were opened; otherwise findings have no names, and there are no checks.
    pub(super) detailed: bool,
    /// Whether a signed report is in the store.
    stored: bool,
    /// Of the control plane that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubeconfig: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct FindingForm {
    pub(super) code: FindingCode,
    pub(super) object: Option<String>,
    pub(super) message: String,
}

impl DrillForm {
    pub(super) fn new(schema: &'static str, outcome: Outcome, kubeconfig: Option<String>) -> Self {
        let detailed = outcome.details.is_some();
        let DrillDetails { findings, omitted, checks, explained, warnings } = outcome.details.unwrap_or_default();
        let by_name = findings.into_iter().map(|found| FindingForm {
            code: found.code,
            object: found.object,
            message: found.message,
        });
        let by_code = outcome.codes.iter().filter(|_| !detailed).map(|code| FindingForm {
            code: *code,
            object: None,
            message: code.meaning().to_owned(),
        });
        Self {
            schema,
            drill: outcome.id.to_string(),
            backup: outcome.backup,
            cluster: outcome.cluster.to_string(),
            started_at: outcome.started,
            tier: outcome.tier.number(),
            target: outcome.target,
            passed: outcome.passed,
            restores: outcome.restores,
            findings: by_name.chain(by_code).collect(),
            findings_omitted: omitted,
            phases: outcome.phases,
            rto_seconds: outcome.rto_seconds,
            rpo_seconds: outcome.rpo_seconds,
            longest_gap_seconds: outcome.longest_gap_seconds,
            targets: outcome.targets,
            versions: outcome.versions,
            checks,
            explained,
            warnings,
            detailed,
            stored: outcome.stored,
            kubeconfig,
        }
    }

    /// The whole time of the phases.
    pub(super) fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| phase.seconds).sum()
    }

    /// The verdict in words.
    pub(super) fn verdict(&self) -> &'static str {
        match (self.passed, self.restores, self.tier) {
            (true, _, 0) => "passed: what is stored is what was captured",
            (true, _, 1) => "passed: etcd restores",
            (true, _, 3) if self.target == "kind-etcd" => "passed: its etcd restores into another cluster",
            (true, _, 3) => "passed: its objects restore into another cluster",
            (true, ..) => "passed: it restores",
            (false, true, _) => "it restores, and missed a target",
            (false, false, _) => "failed: do not count on this backup",
        }
    }
}

/// The exit code of the gravest finding.
pub(super) fn exit_code(codes: &[FindingCode]) -> ExitCode {
    let has = |class: FindingClass| codes.iter().any(|code| code.class() == class);
    let by_gravity = [
        (FindingClass::Integrity, ExitCode::Integrity),
        (FindingClass::Refused, ExitCode::Refused),
        (FindingClass::Failed, ExitCode::Failed),
        (FindingClass::Target, ExitCode::Partial),
    ];
    by_gravity.into_iter().find(|(class, _)| has(*class)).map_or(ExitCode::Done, |(_, code)| code)
}

pub(super) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A share of the whole, as a number of characters; at least one.
fn bar(part: f64, whole: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "some forty characters")]
    let within = |length: &usize| *length as f64 * whole <= part * BAR as f64;
    "#".repeat((1..=BAR).take_while(within).count().max(1))
}

impl Report for DrillForm {
    fn text(&self, view: &View) -> String {
        let verdict = self.verdict();
        let verdict = if self.passed { view.style.good(verdict) } else { view.style.bad(verdict) };
        let backup = printable(&self.backup);
        let mut text = format!("drill {} of backup {backup}, tier {}: {verdict}\n\n", self.drill, self.tier);
        let mut table = Table::new(["PHASE", "TIME", ""]);
        for phase in &self.phases {
            table.row([&phase.name, &seconds(phase.seconds), &bar(phase.seconds, self.seconds())]);
        }
        let _ = write!(text, "{table}\n{}", self.measures());
        for warning in &self.warnings {
            let _ = writeln!(text, "{} {}", view.style.warning("note:"), printable(warning));
        }
        for rule in &self.explained {
            let _ =
                writeln!(text, "{} objects differ by rule {}: {}", rule.objects, rule.rule, printable(&rule.reason));
        }
        for FindingForm { code, object, message } in &self.findings {
            let object = object.as_ref().map_or_else(String::new, |object| format!("{}: ", printable(object)));
            let _ = writeln!(text, "{} {object}{}", view.style.bad(code.name()), printable(message));
        }
        if self.findings_omitted > 0 {
            let _ = writeln!(text, "and {} findings more", self.findings_omitted);
        }
        let checks = self.checks.len();
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        if self.detailed {
            let _ = writeln!(text, "{checks} checks, {failed} failed");
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            let _ = writeln!(text, "\nThe control plane runs on: export KUBECONFIG={}", printable(kubeconfig));
        }
        text
    }
}

impl DrillForm {
    fn measures(&self) -> String {
        let mut text = String::new();
        let against = |target: Option<u64>| {
            target.map_or_else(String::new, |target| format!(", {} allowed", duration(Duration::from_secs(target))))
        };
        if let Some(rto) = self.rto_seconds {
            let _ = writeln!(text, "RTO {}{}", seconds(rto), against(self.targets.rto_seconds));
        }
        if let Some(rpo) = self.rpo_seconds {
            let gap = self.longest_gap_seconds.map(Duration::from_secs);
            let gap = gap.map_or_else(String::new, |gap| format!(", longest gap of 30 days {}", duration(gap)));
            let age = duration(Duration::from_secs(rpo));
            let _ = writeln!(text, "RPO {age}{gap}{}", against(self.targets.rpo_seconds));
        }
        let programs = [("etcd", &self.versions.etcd), ("Kubernetes", &self.versions.kubernetes)];
        let programs = programs.iter().filter_map(|(name, version)| Some(format!("{name} {}", version.as_ref()?)));
        let programs: Vec<String> = programs.collect();
        if !programs.is_empty() {
            let _ = writeln!(text, "{}", printable(&programs.join(", ")));
        }
        text
    }
}
