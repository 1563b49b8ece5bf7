//! Runs of the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A run that sees none of the variables of whoever runs the tests.
pub(crate) fn lifeboat(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    lifeboat(folder).args(arguments).output().unwrap()
}

/// Runs it, which must end with that code, and gives its stdout.
pub(crate) fn expect(code: i32, folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

/// The same with `-o json`. What comes is held to the page of the book about it.
pub(crate) fn expect_json(code: i32, folder: &Path, arguments: &[&str]) -> Value {
    let stdout = expect(code, folder, &[arguments, &["-o", "json"]].concat());
    let document = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    check_documented(&document);
    document
}

/// Every member is named in the row of its schema.
fn check_documented(document: &Value) {
    let Some(schema) = document["schema"].as_str() else { return };
    let page = include_str!("../../../../docs/src/json-output.md");
    let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{schema}`")));
    let row = row.unwrap_or_else(|| panic!("{schema} is not documented"));
    // That row refers to the format of manifests.
    let manifest = include_str!("../../../../docs/src/backup-format.md");
    let text = if schema.contains("backup-show") { format!("{row}{manifest}") } else { row.to_owned() };
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    for member in document.as_object().into_iter().flatten().map(|(name, _)| name.as_str()) {
        assert!(member == "schema" || words.contains(&member), "'{member}' of {schema} is not documented");
    }
}
