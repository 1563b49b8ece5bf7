//! `playbook show`.

use std::fmt::Write as _;

use lifeboat_playbook::{InputType, PlaybookDocument, StepSpec};
use serde::Serialize;

use crate::app::App;
use crate::args::PlaybookShowArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, printable};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema: &'static str,
    /// The actions that it uses, those of playbooks that it calls included.
    actions: Vec<String>,
    document: PlaybookDocument,
}

impl Report for Shown {
    fn text(&self, view: &View) -> String {
        let spec = &self.document.spec;
        let mut text = format!("{}\n", view.style.strong(&printable(&self.document.metadata.name)));
        let _ = writeln!(text, "{}", printable(&spec.description));
        if let Some(docs) = &spec.docs {
            let _ = writeln!(text, "\n{}", docs.lines().map(printable).collect::<Vec<_>>().join("\n"));
        }
        if !spec.inputs.is_empty() {
            let mut table = Table::new(["INPUT", "TYPE", "DEFAULT", "MEANING"]);
            for (name, input) in &spec.inputs {
                let default = match (&input.default, input.required) {
                    (Some(default), _) => default.to_string(),
                    (None, true) => "(required)".to_owned(),
                    (None, false) => String::new(),
                };
                let meaning = input.description.as_deref().unwrap_or_default();
                table.row([name, type_name(input.r#type), &default, meaning]);
            }
            let _ = write!(text, "\n{table}");
        }
        let mut table = Table::new(["STEP", "USES", "NEEDS", "IF"]);
        for (place, step) in spec.steps.iter().enumerate() {
            let above = place.checked_sub(1).and_then(|above| spec.steps.get(above));
            row(&mut table, step, above, "");
        }
        for step in &spec.finally {
            row(&mut table, step, None, "finally");
        }
        let _ = write!(text, "\n{table}");
        for trigger in &spec.triggers {
            let _ = writeln!(text, "\ntrigger {}: {}", printable(&trigger.name), printable(&trigger.when));
        }
        text
    }
}

fn row(table: &mut Table, step: &StepSpec, above: Option<&StepSpec>, otherwise: &str) {
    let needs = match (&step.needs, above) {
        (Some(needs), _) => needs.join(", "),
        (None, Some(above)) => above.id.clone(),
        (None, None) => otherwise.to_owned(),
    };
    table.row([&step.id, &step.uses, &needs, step.r#if.as_deref().unwrap_or_default()]);
}

fn type_name(of: InputType) -> &'static str {
    match of {
        InputType::String => "string",
        InputType::Boolean => "boolean",
        InputType::Integer => "integer",
        InputType::Duration => "duration",
        InputType::List => "list",
    }
}

pub(crate) fn run(app: &App, arguments: &PlaybookShowArgs) -> Result<ExitCode> {
    let registry = playbooks::registry()?;
    let playbook = playbooks::named(&arguments.playbook, &registry, &arguments.library)?;
    let actions = playbook.actions().into_iter().map(str::to_owned).collect();
    let document = playbook.document().clone();
    app.output.print(&Shown { schema: "lifeboat.dev/playbook-show/v1", actions, document })?;
    Ok(ExitCode::Done)
}
