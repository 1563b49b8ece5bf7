//! `run verify`.

use std::fmt::Write as _;

use lifeboat_model::Digest;
use serde::Serialize;

use super::list::state;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::RunVerifyArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    schema: &'static str,
    run: String,
    state: String,
    lines: usize,
    /// Digest of the last line: with it kept elsewhere, no line can be cut off unseen.
    head: Digest,
    /// Bytes of a last line that was not written to its end.
    torn_bytes: u64,
}

impl Report for Checked {
    fn text(&self, view: &View) -> String {
        let mut text = format!(
            "{} {} lines of run {}, which is {}\n",
            view.style.good("intact:"),
            self.lines,
            self.run,
            self.state
        );
        let _ = writeln!(text, "head: {}", self.head);
        if self.torn_bytes > 0 {
            let torn = view.style.warning("torn:");
            let _ =
                writeln!(text, "{torn} the last {} bytes are a line that was not written to its end", self.torn_bytes);
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &RunVerifyArgs) -> Result<ExitCode> {
    if arguments.bundle {
        return super::bundle::check(app, arguments);
    }
    let arguments = &arguments.run;
    let (verified, held) = block_on(async |cancel| {
        let read = async {
            let place = playbooks::place(app, &arguments.state, &arguments.place).await?;
            let run = place.find(&arguments.run).await?;
            playbooks::read_run(place.journals.as_ref(), &run).await
        };
        unless_cancelled(&cancel, read).await
    })?;
    let checked = Checked {
        schema: "lifeboat.dev/run-verify/v1",
        run: verified.record.run.to_string(),
        state: state(&verified.record, held),
        lines: verified.lines.len(),
        head: verified.head,
        torn_bytes: verified.torn,
    };
    app.output.print(&checked)?;
    Ok(if verified.torn > 0 && !held { ExitCode::Partial } else { ExitCode::Done })
}
