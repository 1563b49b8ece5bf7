//! `backup search`.

use lifeboat_model::IndexEntry;
use lifeboat_recovery::browse::Searched;
use lifeboat_recovery::{Error as RecoveryError, Expression};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::forms::{ObjectForm, selection};
use super::objects::UNDER_WAY;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::SearchArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{List, printable};
use crate::sources;

#[derive(Debug, Serialize)]
struct Head {
    schema: &'static str,
    backup: String,
}

/// A match, with the object itself.
#[derive(Debug, Serialize)]
struct Match<'a> {
    r#type: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
    object: &'a Value,
}

/// What was gone through.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tail {
    searched: u64,
    matched: u64,
    /// Objects on which the expression failed.
    failed: u64,
    first_failure: Option<String>,
}

impl From<&Searched> for Tail {
    fn from(searched: &Searched) -> Self {
        Self {
            searched: searched.objects,
            matched: searched.matches,
            failed: searched.failures,
            first_failure: searched.first_failure.clone(),
        }
    }
}

pub(crate) fn run(app: &App, arguments: &SearchArgs) -> Result<ExitCode> {
    let expression = Expression::compile(&arguments.expression).map_err(Error::Usage)?;
    let work = async |cancel: CancellationToken| {
        unless_cancelled(&cancel, search(app, arguments, expression, cancel.clone())).await
    };
    let Some(searched) = block_on(work)? else { return Ok(ExitCode::Done) };
    if searched.failures == 0 {
        return Ok(ExitCode::Done);
    }
    let first = searched.first_failure.unwrap_or_default();
    tracing::warn!("the expression failed on {} objects, first on {}", searched.failures, printable(&first));
    Ok(ExitCode::Partial)
}

/// `None` where nobody reads the output to its end.
async fn search(
    app: &App,
    arguments: &SearchArgs,
    expression: Expression,
    cancel: CancellationToken,
) -> Result<Option<Searched>> {
    let open = sources::open_backup(app, &arguments.backup, &arguments.identity, cancel).await?;
    let head = Head { schema: "lifeboat.dev/backup-search/v1", backup: open.backup().manifest().id.to_string() };
    let list = List::new(&app.output, "matches", &head, ObjectForm::COLUMNS)?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let searching = open.search(selection(&arguments.selection), expression, move |entry, object| {
        sender.blocking_send((entry, object)).map_err(|_| RecoveryError::Cancelled)
    });
    let (searched, printed) = tokio::join!(searching, print(app, list, receiver));
    let list = printed?;
    match searched.map_err(Error::from) {
        Err(Error::Interrupted) if app.output.is_closed() => Ok(None),
        Err(error) => Err(error),
        Ok(searched) => list.finish(&Tail::from(&searched)).map(|()| Some(searched)),
    }
}

async fn print<'a>(
    app: &App,
    mut list: List<'a, 4>,
    mut receiver: mpsc::Receiver<(IndexEntry, Value)>,
) -> Result<List<'a, 4>> {
    while let Some((entry, object)) = receiver.recv().await {
        let form = ObjectForm::from(entry);
        let cells = form.cells();
        let [namespace, kind, name, size] = cells.each_ref().map(String::as_str);
        let found = Match { r#type: kind, namespace: form.namespace.as_deref(), name, object: &object };
        list.element(&found, [namespace, kind, name, size])?;
        if app.output.is_closed() {
            break;
        }
    }
    Ok(list)
}
