//! `drill show`.

use std::sync::Arc;

use lifeboat_recovery::drill;

use super::form::DrillForm;
use super::run::write_files;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::DrillShowArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::{keys, sources};

pub(crate) fn run(app: &App, arguments: &DrillShowArgs) -> Result<ExitCode> {
    let identities = keys::optional_identities(&arguments.identity)?.map(Arc::new);
    let outcome = block_on(async |cancel| {
        let shown = async {
            let catalog = sources::catalog(app, cancel.clone()).await?;
            Ok(drill::show(&catalog, &arguments.drill, identities).await?)
        };
        unless_cancelled(&cancel, shown).await
    })?;
    let form = DrillForm::new("lifeboat.dev/drill-show/v1", outcome, None);
    write_files(&arguments.files, &form)?;
    app.output.print(&form)?;
    Ok(ExitCode::Done)
}
