//! `backup objects`.

use lifeboat_model::IndexEntry;
use lifeboat_recovery::Error as RecoveryError;
use serde::Serialize;
use tokio::sync::mpsc;

use super::forms::{ObjectForm, selection};
use crate::app::{App, block_on, unless_cancelled};
use crate::args::ObjectsArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::List;
use crate::sources;

/// Elements on their way from the reader to the printer.
pub(super) const UNDER_WAY: usize = 256;

#[derive(Debug, Serialize)]
struct Head {
    schema: &'static str,
    backup: String,
}

#[derive(Debug, Serialize)]
struct Tail {
    count: u64,
}

pub(crate) fn run(app: &App, arguments: &ObjectsArgs) -> Result<ExitCode> {
    block_on(async |cancel| unless_cancelled(&cancel, list(app, arguments, cancel.clone())).await)?;
    Ok(ExitCode::Done)
}

async fn list(app: &App, arguments: &ObjectsArgs, cancel: tokio_util::sync::CancellationToken) -> Result<()> {
    let open = sources::open_backup(app, &arguments.backup, &arguments.identity, cancel).await?;
    let backup = open.backup().manifest().id.to_string();
    let head = Head { schema: "lifeboat.dev/backup-objects/v1", backup };
    let list = List::new(&app.output, "objects", &head, ObjectForm::COLUMNS)?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let reading = open.objects(selection(&arguments.selection), move |entry| {
        sender.blocking_send(entry).map_err(|_| RecoveryError::Cancelled)
    });
    let printing = print(app, list, receiver);
    let (read, printed) = tokio::join!(reading, printing);
    let (list, count) = printed?;
    match read.map_err(Error::from) {
        // Nobody reads the output any more: that ended the reading.
        Err(Error::Interrupted) if app.output.is_closed() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => list.finish(&Tail { count }),
    }
}

async fn print<'a>(
    app: &App,
    mut list: List<'a, 4>,
    mut receiver: mpsc::Receiver<IndexEntry>,
) -> Result<(List<'a, 4>, u64)> {
    let mut count = 0;
    while let Some(entry) = receiver.recv().await {
        let object = ObjectForm::from(entry);
        list.element(&object, object.cells().each_ref().map(String::as_str))?;
        count += 1;
        if app.output.is_closed() {
            break;
        }
    }
    Ok((list, count))
}
