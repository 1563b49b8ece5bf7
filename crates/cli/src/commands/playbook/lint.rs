//! `playbook lint`.

use std::fmt::Write as _;

use lifeboat_model::YamlError;
use serde::Serialize;

use crate::app::App;
use crate::args::PlaybookLintArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View, printable};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linted {
    schema: &'static str,
    files: Vec<FileForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileForm {
    file: String,
    /// Its name, where nothing is wrong with it.
    playbook: Option<String>,
    faults: Vec<FaultForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FaultForm {
    file: String,
    line: u64,
    column: u64,
    message: String,
    /// The nearest name there is.
    hint: Option<String>,
}

impl From<YamlError> for FaultForm {
    fn from(fault: YamlError) -> Self {
        let YamlError { source_name, line, column, message, hint } = fault;
        Self { file: source_name, line, column, message, hint }
    }
}

impl Report for Linted {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for file in &self.files {
            if file.faults.is_empty() {
                let _ = writeln!(text, "{}: {}", printable(&file.file), view.style.good("ok"));
            }
            for fault in &file.faults {
                let (name, message) = (printable(&fault.file), printable(&fault.message));
                let _ = writeln!(text, "{name}:{}:{}: {message}", fault.line, fault.column);
            }
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &PlaybookLintArgs) -> Result<ExitCode> {
    let registry = playbooks::registry()?;
    let mut files = Vec::new();
    for path in &arguments.files {
        let (playbook, faults) = match playbooks::check(path, &registry, &arguments.library)? {
            Ok(playbook) => (Some(playbook.name().to_owned()), Vec::new()),
            Err(errors) => (None, errors.0),
        };
        let faults = faults.into_iter().map(FaultForm::from).collect();
        files.push(FileForm { file: path.display().to_string(), playbook, faults });
    }
    let linted = Linted { schema: "lifeboat.dev/playbook-lint/v1", files };
    app.output.print(&linted)?;
    Ok(if linted.files.iter().all(|file| file.faults.is_empty()) { ExitCode::Done } else { ExitCode::Usage })
}
