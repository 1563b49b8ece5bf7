//! Runs of the program.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test whose program does not run has failed")]

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

/// The same with `-o json`.
pub(crate) fn expect_json(code: i32, folder: &Path, arguments: &[&str]) -> Value {
    let stdout = expect(code, folder, &[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}
