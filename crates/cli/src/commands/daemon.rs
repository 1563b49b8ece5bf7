//! `daemon`.

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_daemon::{DaemonOptions, DrillOptions, run as daemon};
use lifeboat_model::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, block_on};
use crate::args::{DaemonArgs, IdentityArgs};
use crate::commands::drill::programs;
use crate::commands::version::TOOL;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::{keys, sources};

pub(crate) fn run(app: &App, arguments: &DaemonArgs) -> Result<ExitCode> {
    let mut overrides = sources::overrides(&arguments.cluster);
    overrides.extend(arguments.listen.clone().map(|listen| ("daemon.listen", listen)));
    let config = app.config(&overrides)?;
    block_on(async |shutdown| {
        let options = options(app, arguments, config).await?;
        Box::pin(daemon(options, shutdown)).await?;
        Ok(ExitCode::Done)
    })
}

async fn options(app: &App, arguments: &DaemonArgs, config: Config) -> Result<DaemonOptions> {
    let temporary = || PathBuf::from(app.environment.get("TMPDIR").unwrap_or("/tmp"));
    let work_dir = arguments.work_dir.clone().unwrap_or_else(temporary);
    let needs_kubernetes = config.daemon.leader_election.is_some()
        || config.daemon.custom_resources.is_some()
        || config.schedules.iter().any(|schedule| schedule.spec.objects);
    let (identity, folders) = match &config.daemon.drill {
        Some(drill) => (drill.identity_file.clone(), drill.programs.as_slice()),
        None => (None, &[][..]),
    };
    Ok(DaemonOptions {
        // What the daemon does ends by tokens of its own.
        context: sources::context(&config, CancellationToken::new()).await?,
        etcd: config.etcd.as_ref().map(sources::etcd).transpose()?,
        kubernetes: needs_kubernetes.then(|| sources::kubernetes(&config.kubernetes)),
        recipients: Arc::new(keys::recipients(&config.encryption)?),
        signer: Arc::new(keys::signing_key(&config.signing)?),
        drill: DrillOptions {
            identities: keys::optional_identities(&IdentityArgs { identity })?.map(Arc::new),
            programs: programs::folders(app, folders),
            scratch: work_dir.clone(),
        },
        identity: arguments.name.clone().unwrap_or_else(own_name),
        listener: match &config.daemon.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        },
        work_dir,
        tool: TOOL.to_owned(),
        config,
    })
}

async fn listen(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(Error::io("listen at", address))
}

/// A name that no other daemon has, and by which a person finds this one: a pod's host is named after it.
pub(super) fn own_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}-{:08x}", fastrand::u32(..))
}
