//! `backup get`.

use lifeboat_recovery::ObjectArg;
use serde_json::Value;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::GetArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::sources;

pub(crate) fn run(app: &App, arguments: &GetArgs) -> Result<ExitCode> {
    let wanted = object(arguments)?;
    let json = block_on(async |cancel| {
        let read = async {
            let open = sources::open_backup(app, &arguments.backup, &arguments.identity, cancel.clone()).await?;
            Ok(open.get(&wanted, arguments.namespace.as_deref()).await?.1)
        };
        unless_cancelled(&cancel, read).await
    })?;
    let object: Value =
        serde_json::from_slice(&json).map_err(|source| Error::Form { format: "a document", source: source.into() })?;
    app.output.print_document(&object)?;
    Ok(ExitCode::Done)
}

/// kubectl takes TYPE/NAME as well as TYPE NAME.
fn object(arguments: &GetArgs) -> Result<ObjectArg> {
    let text = match &arguments.name {
        Some(name) => format!("{}/{name}", arguments.object),
        None => arguments.object.clone(),
    };
    text.parse().map_err(Error::Usage)
}
