//! A plan for a person at 3 am.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Plan, Planned, PlannedStep};
use crate::text::clean;
use crate::{Change, ObjectRef};

/// The longest value that is shown, in characters.
const MAX_SHOWN: usize = 120;

impl Plan {
    /// The plan as text: what changes, on what; what is lost and cannot be undone; which permissions are missing; how
    /// long it takes. What came from outside controls no terminal.
    pub fn text(&self) -> String {
        let mut text = format!("Plan of {}, run {}\n", clean(&self.playbook), self.run);
        for step in &self.steps {
            of_step(&mut text, step);
        }
        list(
            &mut text,
            "Evidence that does not wait",
            self.steps.iter().flat_map(|step| &step.plan.evidence).map(|clock| match clock.seconds {
                Some(seconds) => format!("{} in {seconds} s", clock.what),
                None => clock.what.clone(),
            }),
        );
        let changes = || self.steps.iter().flat_map(|step| &step.plan.changes);
        list(
            &mut text,
            "Lost for good",
            changes().filter_map(|change| Some(format!("{}: {}", change.object, change.loses.as_ref()?))),
        );
        list(
            &mut text,
            "Cannot be undone",
            changes().filter_map(|change| {
                Some(format!("{} {}: {}", change.verb, change.object, change.irreversible.as_ref()?))
            }),
        );
        list(&mut text, "Missing permissions", self.steps.iter().flat_map(|step| step.plan.missing.clone()));
        list(&mut text, "Denied", self.denied.iter().cloned());
        list(&mut text, "Needs an approval", self.approval.iter().cloned());
        let targets: BTreeSet<&ObjectRef> = self.steps.iter().flat_map(|step| &step.plan.targets).collect();
        let namespaces: BTreeSet<&String> = targets.iter().filter_map(|target| target.namespace.as_ref()).collect();
        let seconds: u64 = self.steps.iter().filter_map(|step| step.plan.seconds).fold(0, u64::saturating_add);
        let later = self.steps.iter().filter(|step| matches!(step.state, Planned::Later(_))).count();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "\n{} changes, {} objects acted on, in {} namespaces; about {seconds} s; {later} steps are planned when they are reached\nHash {}",
            changes().count(),
            targets.len(),
            namespaces.len(),
            self.hash,
        );
        text
    }
}

fn list(text: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        let _ = writeln!(text, "\n{title}:");
        for item in items {
            let _ = writeln!(text, "  ! {}", clean(&item));
        }
    }
}

fn of_step(text: &mut String, step: &PlannedStep) {
    let state = match &step.state {
        Planned::Known if step.plan.changes.is_empty() => "changes nothing".to_owned(),
        Planned::Known => String::new(),
        Planned::Maybe(steps) => format!("only if its condition is true after {}", steps.join(", ")),
        Planned::NotWanted => "not wanted".to_owned(),
        Planned::Later(steps) => format!("is planned after {}", steps.join(", ")),
        Planned::Refused(reason) => format!("is refused: {reason}"),
    };
    let _ = writeln!(text, "\n{} ({}) {}", clean(&step.step), clean(&step.uses), clean(&state));
    for warning in &step.plan.warnings {
        let _ = writeln!(text, "  ! {}", clean(warning));
    }
    for change in &step.plan.changes {
        of_change(text, change);
    }
}

fn of_change(text: &mut String, change: &Change) {
    let _ = writeln!(text, "  {} {}", clean(&change.verb), clean(&change.object.to_string()));
    for field in &change.fields {
        let path = if field.path.is_empty() { "(all)" } else { &field.path };
        let _ = writeln!(text, "    {}", clean(path));
        for (sign, value) in [('-', &field.before), ('+', &field.after)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_null()) {
                let _ = writeln!(text, "      {sign} {}", shown(value));
            }
        }
    }
}

fn shown(value: &Value) -> String {
    let text = clean(&value.to_string());
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("{start}... ({} characters)", text.chars().count())
}
