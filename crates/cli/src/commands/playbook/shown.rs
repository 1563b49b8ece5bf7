//! A plan, as a person at three in the morning needs it.

use std::fmt::Write as _;

use lifeboat_playbook::{Change, FieldDiff, Plan, Planned, PlannedStep};
use serde::Serialize;
use serde_json::Value;

use crate::exit::ExitCode;
use crate::output::{Report, View, printable};

/// The longest value that is shown to people.
const MAX_VALUE: usize = 160;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanForm<'a> {
    schema: &'static str,
    plan: &'a Plan,
}

impl<'a> PlanForm<'a> {
    pub(crate) fn of(plan: &'a Plan) -> Self {
        Self { schema: "lifeboat.dev/playbook-plan/v1", plan }
    }

    /// Refused where a guard or a step would be, or a permission is missing.
    pub(crate) fn exit(&self) -> ExitCode {
        let refused = |step: &PlannedStep| matches!(step.state, Planned::Refused(_)) || !step.plan.missing.is_empty();
        if self.plan.denied.is_empty() && !self.plan.steps.iter().any(refused) {
            ExitCode::Done
        } else {
            ExitCode::Refused
        }
    }
}

impl Report for PlanForm<'_> {
    fn text(&self, view: &View) -> String {
        let plan = self.plan;
        let by = printable(&plan.request.requester.0);
        let name = view.style.strong(&printable(&plan.playbook));
        let mut text = format!("{name}, asked for by {by}\n");
        for (name, value) in plan.inputs.iter().filter(|(_, value)| !value.is_null()) {
            let _ = writeln!(text, "  {}: {}", printable(name), shown(value));
        }
        for step in &plan.steps {
            self::step(&mut text, step, view);
        }
        text.push('\n');
        self.summary(&mut text, view);
        let _ = writeln!(text, "Plan {}", plan.hash);
        text
    }
}

impl PlanForm<'_> {
    /// What must not be overlooked.
    fn summary(&self, text: &mut String, view: &View) {
        let plan = self.plan;
        let changes = || plan.steps.iter().flat_map(|step| &step.plan.changes);
        for change in changes() {
            if let Some(lost) = &change.loses {
                let _ =
                    writeln!(text, "{} with {}: {}", view.style.bad("lost for good"), object(change), printable(lost));
            }
        }
        for change in changes().filter(|change| change.verb != "save") {
            if let Some(reason) = &change.irreversible {
                let what = view.style.warning("cannot be undone");
                let _ = writeln!(text, "{what}: {} {}: {}", change.verb, object(change), printable(reason));
            }
        }
        let missing = plan.steps.iter().flat_map(|step| &step.plan.missing);
        for missing in missing {
            let _ = writeln!(text, "{}: {}", view.style.bad("not allowed"), printable(missing));
        }
        for denied in &plan.denied {
            let _ = writeln!(text, "{}: {}", view.style.bad("denied"), printable(denied));
        }
        for reason in &plan.approval {
            let _ = writeln!(text, "{}: {}", view.style.warning("others have to agree"), printable(reason));
        }
        let seconds: u64 = plan.steps.iter().filter_map(|step| step.plan.seconds).sum();
        if seconds > 0 {
            let _ = writeln!(text, "takes about {seconds} s, as far as can be said");
        }
    }
}

fn step(text: &mut String, step: &PlannedStep, view: &View) {
    let _ = writeln!(text, "\n{} ({})", view.style.strong(&printable(&step.step)), step.uses);
    match &step.state {
        Planned::Known if step.plan.changes.is_empty() => text.push_str("  reads only\n"),
        Planned::Known => {}
        Planned::NotWanted => text.push_str("  skipped: not wanted\n"),
        Planned::Later(needed) => {
            let needed = needed.join(", ");
            let _ = writeln!(text, "  {}", view.style.warning(&format!("known only once there is: {needed}")));
        }
        Planned::Maybe(needed) => {
            let needed = needed.join(", ");
            let _ =
                writeln!(text, "  {}", view.style.warning(&format!("only if that is wanted, once there is: {needed}")));
        }
        Planned::Refused(reason) => {
            let _ = writeln!(text, "  {}: {}", view.style.bad("would be refused"), printable(reason));
        }
    }
    for change in &step.plan.changes {
        let _ = writeln!(text, "  {} {}", change.verb, object(change));
        for field in change.fields.iter().flat_map(members) {
            let _ = writeln!(text, "      {}", diff(&field, view));
        }
    }
    for warning in &step.plan.warnings {
        let _ = writeln!(text, "  {} {}", view.style.warning("!"), printable(warning));
    }
    for clock in &step.plan.evidence {
        let when = clock.seconds.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
        let _ = writeln!(text, "  {}{when}: {}", view.style.warning("evidence"), printable(&clock.what));
    }
}

fn object(change: &Change) -> String {
    printable(&change.object.to_string()).into_owned()
}

/// Of an object that is made, what is in it, each by itself; its kind is told already.
fn members(field: &FieldDiff) -> Vec<FieldDiff> {
    match (&field.before, &field.after) {
        (None, Some(Value::Object(members))) if field.path.is_empty() => members
            .iter()
            .filter(|(name, _)| !["apiVersion", "kind"].contains(&name.as_str()))
            .map(|(name, value)| FieldDiff { path: name.clone(), before: None, after: Some(value.clone()) })
            .collect(),
        _ => vec![field.clone()],
    }
}

fn diff(field: &FieldDiff, view: &View) -> String {
    let path = printable(&field.path);
    match (&field.before, &field.after) {
        (None, Some(after)) => view.style.good(&format!("+ {path}: {}", shown(after))),
        (Some(before), None) => view.style.bad(&format!("- {path}: {}", shown(before))),
        (before, after) => {
            let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), shown);
            format!("~ {path}: {} -> {}", shown(before), shown(after))
        }
    }
}

/// A value on one line, and not at any length.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let text = printable(&text);
    if text.chars().count() <= MAX_VALUE {
        return text.into_owned();
    }
    text.chars().take(MAX_VALUE).chain("...".chars()).collect()
}
