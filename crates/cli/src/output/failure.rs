//! Failures: a line of what happened and a line of what to do, or one JSON document.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use super::{Style, json, printable};
use crate::error::Error;
use crate::exit::ExitCode;

#[derive(Serialize)]
struct Document<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<&'a str>,
}

/// Reports a failed command: as JSON on stdout where JSON was asked for, otherwise on stderr.
pub(crate) fn report(error: &Error, as_json: bool, style: Style) -> ExitCode {
    let code = error.exit_code();
    let hint = error.hint();
    if as_json {
        write_document(code, error.to_string(), causes(error), hint.as_deref());
    } else {
        write_lines(&lifeboat_recovery::chain(error), hint.as_deref(), style);
    }
    code
}

/// Reports arguments that do not parse, or prints the help that they ask for.
pub(crate) fn report_usage(error: &clap::Error, as_json: bool) -> ExitCode {
    use clap::error::ErrorKind;
    if !error.use_stderr() {
        // Whoever does not read the help any more does not miss it.
        let _ = error.print();
        return ExitCode::Done;
    }
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if as_json && !is_help {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let hint: Vec<&str> = lines.collect();
        write_document(ExitCode::Usage, message, Vec::new(), Some(&hint.join("; ")));
    } else {
        let _ = error.print();
    }
    ExitCode::Usage
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

fn write_document(code: ExitCode, message: String, causes: Vec<String>, hint: Option<&str>) {
    let document = Document { error: Body { code: code.name(), message, causes, hint } };
    if let Ok(text) = json::pretty(&document) {
        // The exit code still tells, where nobody reads.
        let _ = io::stdout().write_all(text.as_bytes());
    }
}

fn write_lines(message: &str, hint: Option<&str>, style: Style) {
    let mut lines = format!("{} {}\n", style.bad("error:"), printable(message));
    if let Some(hint) = hint {
        let _ = writeln!(lines, "{} {hint}", style.strong("hint:"));
    }
    let _ = io::stderr().write_all(lines.as_bytes());
}
