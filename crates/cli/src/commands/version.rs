//! `version`.

use lifeboat_model::FORMAT_VERSION;
use serde::Serialize;

use crate::app::App;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    schema: &'static str,
    version: &'static str,
    /// The version of the backup format that is written.
    format: &'static str,
}

impl Report for Program {
    fn text(&self, _: &View) -> String {
        format!("lifeboat {}, backup format {}\n", self.version, self.format)
    }
}

/// What manifests say wrote them.
pub(crate) const TOOL: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));

pub(crate) fn run(app: &App) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    app.output.print(&Program { schema: "lifeboat.dev/version/v1", version, format: FORMAT_VERSION })?;
    Ok(ExitCode::Done)
}
