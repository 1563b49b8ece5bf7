//! `playbook actions`.

use std::fmt::Write as _;

use lifeboat_playbook::{Manual, Permission, Repeat, Undo};
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::args::PlaybookActionsArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, printable};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    actions: Vec<ManualForm>,
    /// Whether one was asked for, and its page is shown.
    #[serde(skip)]
    page: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ManualForm {
    name: &'static str,
    summary: &'static str,
    description: &'static str,
    permissions: Vec<Permission>,
    attack: Vec<&'static str>,
    defend: Vec<&'static str>,
    undo: Undo,
    repeat: Repeat,
    example: &'static str,
    /// JSON Schema.
    inputs: Value,
    /// JSON Schema.
    outputs: Value,
}

impl From<Manual> for ManualForm {
    fn from(Manual { statement, inputs, outputs }: Manual) -> Self {
        Self {
            name: statement.name,
            summary: statement.summary,
            description: statement.description,
            permissions: statement.permissions.to_vec(),
            attack: statement.attack.to_vec(),
            defend: statement.defend.to_vec(),
            undo: statement.undo,
            repeat: statement.repeat,
            example: statement.example,
            inputs,
            outputs,
        }
    }
}

impl Report for Listed {
    fn text(&self, view: &View) -> String {
        if self.page {
            return self.actions.iter().map(|action| page(action, view)).collect();
        }
        let mut table = Table::new(["ACTION", "UNDO", "ATT&CK", "SUMMARY"]);
        for action in &self.actions {
            table.row([action.name, undo(action.undo).0, &action.attack.join(", "), action.summary]);
        }
        table.to_string()
    }
}

fn undo(undo: Undo) -> (&'static str, &'static str) {
    match undo {
        Undo::ReadsOnly => ("writes nothing", ""),
        Undo::Yes => ("yes", ""),
        Undo::Partly(reason) => ("partly", reason),
        Undo::No(reason) => ("no", reason),
    }
}

fn page(action: &ManualForm, view: &View) -> String {
    let mut text = format!("{}: {}\n\n{}\n", view.style.strong(action.name), action.summary, action.description);
    for (title, schema) in [("Inputs", &action.inputs), ("Outputs", &action.outputs)] {
        let _ = writeln!(text, "\n{}", view.style.strong(title));
        let rows = members(schema);
        if rows.is_empty() {
            text.push_str("  none\n");
        }
        for (name, kind, meaning) in rows {
            let _ = writeln!(text, "  {name} ({kind}): {}", printable(&meaning));
        }
    }
    let (undo, reason) = undo(action.undo);
    let _ = writeln!(text, "\nUndo: {undo}{}{reason}", if reason.is_empty() { "" } else { ": " });
    let repeat = if action.repeat == Repeat::Safe { "may be repeated" } else { "is never done twice" };
    let _ = writeln!(text, "After a kill: {repeat}");
    for Permission { group, resource, verbs } in &action.permissions {
        let dot = if group.is_empty() { "" } else { "." };
        let _ = writeln!(text, "Needs: {} {resource}{dot}{group}", verbs.join(", "));
    }
    let _ = writeln!(text, "\n{}\n{}", view.style.strong("Example"), action.example.trim_end());
    text
}

/// The members of a schema: name, type and meaning.
fn members(schema: &Value) -> Vec<(String, String, String)> {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let rows = properties.map(|(name, property)| {
        let target = property.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        let target = target.and_then(|pointer| schema.pointer(pointer)).unwrap_or(property);
        let kind = match target.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(" or ")
            }
            _ => "any".to_owned(),
        };
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        let meaning = property.get("description").or_else(|| target.get("description"));
        let meaning = meaning.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        (name.clone(), format!("{kind}{needed}"), meaning)
    });
    rows.collect()
}

pub(crate) fn run(app: &App, arguments: &PlaybookActionsArgs) -> Result<ExitCode> {
    let registry = playbooks::registry()?;
    let manuals = match &arguments.name {
        None => registry.manuals(),
        Some(name) => {
            let manual = registry.manual(name);
            vec![manual.ok_or_else(|| unknown(name, registry.names()))?]
        }
    };
    let actions = manuals.into_iter().map(ManualForm::from).collect();
    app.output.print(&Listed {
        schema: "lifeboat.dev/playbook-actions/v1",
        actions,
        page: arguments.name.is_some(),
    })?;
    Ok(ExitCode::Done)
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let nearest = lifeboat_model::nearest(name, known);
    let hint = nearest.map(|nearest| format!(", did you mean '{nearest}'?")).unwrap_or_default();
    Error::NoAction(format!("no action '{name}'{hint}"))
}
