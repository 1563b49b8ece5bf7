//! The lifeboat command: arguments, output, progress, exit codes.
//!
//! Results go to stdout, progress and log to stderr. A command loads the configuration ([`Config`]), joins what it names
//! (keys, store, etcd, API server), calls one function of `lifeboat-recovery`, and prints the outcome as a table, JSON
//! or YAML. The terminal, the environment and the clock are read here and nowhere below.
//!
//! [`Config`]: lifeboat_model::Config

mod app;
mod args;
mod cluster_runs;
mod commands;
mod config_file;
mod configured;
mod desk;
mod environment;
mod error;
mod exit;
mod files;
mod findings;
mod interrupt;
mod keys;
mod logging;
mod output;
mod playbooks;
mod progress;
mod prompt;
mod sources;
mod starter;

use std::ffi::OsString;

pub use exit::ExitCode;

use app::App;

/// Runs the command with these arguments, the program's own name first.
pub fn run(arguments: &[OsString]) -> std::process::ExitCode {
    let cli = match args::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let as_json = args::peek(arguments, "--output", Some("-o")).as_deref() == Some("json");
            return output::report_usage(&error, as_json).into();
        }
    };
    let app = App::new(cli.globals);
    let code = match commands::run(&app, cli.command) {
        Ok(code) => code,
        Err(error) => output::report(&error, app.reports_json(), app.style),
    };
    app.telemetry.end();
    code.into()
}
