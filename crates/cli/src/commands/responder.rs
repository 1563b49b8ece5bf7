//! `responder`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_daemon::{ResponderOptions, respond};

use super::daemon::own_name;
use crate::app::{App, block_on};
use crate::args::ResponderArgs;
use crate::desk;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::sources::System;

pub(crate) fn run(app: &App, arguments: &ResponderArgs) -> Result<ExitCode> {
    let evidence = || PathBuf::from(app.environment.get("TMPDIR").unwrap_or("/tmp")).join("lifeboat-evidence");
    let options = ResponderOptions {
        kubernetes: desk::options(app, &arguments.cluster)?,
        namespace: arguments.namespace.clone(),
        lease: arguments.lease.clone(),
        lease_duration: Duration::from_secs(arguments.lease_seconds.into()),
        identity: arguments.name.clone().unwrap_or_else(own_name),
        evidence: arguments.evidence.clone().unwrap_or_else(evidence),
        clock: Arc::new(System),
        random: desk::random,
    };
    block_on(async |shutdown| {
        Box::pin(respond(options, shutdown)).await?;
        Ok(ExitCode::Done)
    })
}
