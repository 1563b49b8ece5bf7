//! `completion`.

use crate::app::App;
use crate::args::{self, CompletionArgs};
use crate::error::Result;
use crate::exit::ExitCode;

pub(crate) fn run(app: &App, arguments: &CompletionArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::command(None), "lifeboat", &mut script);
    app.output.write(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Done)
}
