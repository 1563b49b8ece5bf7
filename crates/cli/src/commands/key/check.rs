//! `key check`.

use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::CheckArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View, moment};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    schema: &'static str,
    /// The backup that was opened.
    backup: String,
    started_at: jiff::Timestamp,
    /// Always true: an identity that opens nothing is an error.
    opens: bool,
    /// Objects that the opened coverage names.
    objects: u64,
}

impl Report for Checked {
    fn text(&self, view: &View) -> String {
        let opened = view.style.good("this identity opens backup");
        let when = moment(view.now, self.started_at);
        format!("{opened} {} of {when}: {} objects\n", self.backup, self.objects)
    }
}

pub(crate) fn run(app: &App, arguments: &CheckArgs) -> Result<ExitCode> {
    let checked = block_on(async |cancel| {
        let opened = sources::open_backup(app, &arguments.backup, &arguments.identity, cancel.clone());
        let opened = unless_cancelled(&cancel, opened).await?;
        let manifest = opened.backup().manifest();
        Ok(Checked {
            schema: "lifeboat.dev/key-check/v1",
            backup: manifest.id.to_string(),
            started_at: manifest.started,
            opens: true,
            objects: opened.coverage().objects(),
        })
    })?;
    app.output.print(&checked)?;
    Ok(ExitCode::Done)
}
