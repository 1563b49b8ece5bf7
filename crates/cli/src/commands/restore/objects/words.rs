//! Plans and reports, as people read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lifeboat_recovery::restore_objects::{Notes, Plan, Report, Verdict};

use super::forms::reason;
use crate::app::App;
use crate::output::{Style, duration, printable};

/// Objects that are named in a summary, of each sort.
const NAMED: usize = 20;

/// The plan goes to stderr where it is no result, and must be read before the question.
pub(super) fn show(app: &App, of: &Plan, details: bool) {
    let text = plan(of, details, app.style);
    app.bars.suspend(|| {
        // Whoever cannot see the plan cannot answer the question either.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    });
}

/// A plan: the summary, what preflight found, and what is deleted; with details, every object by wave.
pub(super) fn plan(plan: &Plan, details: bool, style: Style) -> String {
    let (header, counts) = (plan.header(), plan.counts());
    let mut text = format!("{} {}\n", style.strong("Plan"), plan.hash());
    let mut line = |name: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {name:<16}{}", printable(&value));
    };
    line("backup", format!("{} of cluster {}", header.backup, header.backup_cluster));
    let other = if header.backup_cluster == header.target_cluster { "" } else { ", which is another one" };
    line("into", format!("cluster {}{other}", header.target_cluster));
    for (from, to) in &header.settings.namespaces {
        line("namespace", format!("'{from}' becomes '{to}'"));
    }
    for (from, to) in &header.settings.storage_classes {
        line("storage class", format!("'{from}' becomes '{to}'"));
    }
    for patch in &header.settings.patches {
        line("patch", patch.name.clone());
    }
    let counted = [
        ("create", counts.create),
        ("make equal", counts.apply),
        ("delete, create", counts.recreate),
        ("delete", counts.prune),
        ("unchanged", counts.unchanged),
        ("differ, left so", counts.leave),
        ("skip by rule", counts.skipped),
        ("blocked", counts.blocked),
    ];
    for (name, count) in counted {
        if count > 0 || name == "create" {
            line(name, count.to_string());
        }
    }
    for withheld in &header.withheld {
        let words = format!("{} {}: {} (rule {})", withheld.objects, withheld.resource, withheld.reason, withheld.rule);
        line("never restored", words);
    }
    for finding in &header.findings {
        let (name, style) = if finding.blocks { ("forbids it", style.bad("!")) } else { ("note", style.strong("*")) };
        let _ = writeln!(text, "{style} {name:<16}{}", printable(&finding.message));
    }
    let rest = if details { by_wave } else { remarkable };
    rest(plan, &mut text);
    text
}

/// What must not go unseen: what is deleted, what is blocked, and what the API server objects to.
fn remarkable(plan: &Plan, text: &mut String) {
    let deleted = plan.entries().iter().filter(|entry| matches!(entry.verdict, Verdict::Prune { .. }));
    for entry in deleted {
        let _ = writeln!(text, "  delete          {}", printable(&plan.name(entry)));
    }
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in plan.entries() {
        let (rule, message) = reason(entry.verdict);
        let Some(message) = message.filter(|_| rule.is_none()) else { continue };
        let count = named.entry(entry.verdict.word()).or_default();
        *count += 1;
        if *count <= NAMED {
            let what = if matches!(entry.verdict, Verdict::Blocked { .. }) { "blocked" } else { "objection" };
            let _ = writeln!(text, "  {what:<16}{}: {}", printable(&plan.name(entry)), printable(message));
        }
    }
    let more: usize = named.values().map(|count| count.saturating_sub(NAMED)).sum();
    if more > 0 {
        let _ = writeln!(text, "  and {more} more, which --details names");
    }
}

fn by_wave(plan: &Plan, text: &mut String) {
    let mut last = None;
    for entry in plan.entries() {
        let wave = plan.kind(entry).map(|kind| (kind.wave, kind.wave_name.as_str()));
        let deleted = matches!(entry.verdict, Verdict::Prune { .. });
        if last != Some((wave, deleted)) {
            let name = wave.map_or("", |(_, name)| name);
            let title = if deleted { format!("deleted, of {name}") } else { name.to_owned() };
            let _ = writeln!(text, "{title}");
            last = Some((wave, deleted));
        }
        let words = match reason(entry.verdict) {
            (Some(rule), Some(message)) => format!(": {message} (rule {rule})"),
            (None, Some(message)) => format!(": {message}"),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {:<10}{}{}", entry.verdict.word(), printable(&plan.name(entry)), printable(&words));
    }
}

/// What came of a restore.
pub(super) fn report(plan: &Plan, report: &Report, style: Style) -> String {
    let mut text = String::new();
    for (name, notes) in [("failed", &report.failed), ("blocked", &report.blocked), ("differs", &report.differing)] {
        list(plan, name, notes, &mut text);
    }
    let counted = [
        ("created", report.created),
        ("made equal", report.applied),
        ("deleted and created", report.recreated),
        ("deleted", report.pruned),
        ("unchanged", report.unchanged),
        ("left as they are", report.left),
        ("failed", report.failed.count()),
        ("blocked", report.blocked.count()),
    ];
    let counted = counted.iter().filter(|(name, count)| *count > 0 || *name == "created");
    let counted: Vec<String> = counted.map(|(name, count)| format!("{count} {name}")).collect();
    let head = format!("restored from backup {}", plan.header().backup);
    let head = if report.ok() { style.good(&head) } else { style.bad(&head) };
    let _ = writeln!(text, "{head}: {} in {}", counted.join(", "), duration(report.duration));
    text
}

fn list(plan: &Plan, name: &str, notes: &Notes, text: &mut String) {
    let mut named = 0;
    for (object, message) in notes.named(plan) {
        let _ = writeln!(text, "{name:<9}{}: {}", printable(&object), printable(message));
        named += 1;
    }
    if notes.count() > named {
        let _ = writeln!(text, "{name:<9}and {} more", notes.count() - named);
    }
}
