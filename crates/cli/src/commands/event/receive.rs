//! `event receive`.

use std::sync::Arc;

use lifeboat_daemon::{AlertsOptions, ReceiverMode, ReceiversDocument, Starter, receive};
use lifeboat_playbook::{Library as _, Playbook};
use tokio::net::TcpListener;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::EventReceiveArgs;
use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::files;
use crate::playbooks::{self, Folder};
use crate::sources::System;
use crate::starter::DeskStarter;

/// The largest file of receivers, in bytes.
const MAX_DOCUMENT: u64 = 1 << 20;

pub(crate) fn run(app: &App, arguments: &EventReceiveArgs) -> Result<ExitCode> {
    let text = files::read_text(&arguments.receivers, MAX_DOCUMENT)?;
    let document: ReceiversDocument = lifeboat_model::parse_yaml(&arguments.receivers.display().to_string(), &text)?;
    let playbooks = library(arguments)?;
    let folder = arguments.state.state_dir.clone();
    let folder = folder.or_else(|| app.environment.state_home().map(|home| home.join("lifeboat")));
    let folder = folder.ok_or_else(|| Error::Usage("no folder for alerts: neither HOME nor --state-dir".to_owned()))?;
    files::make_private_folder(&folder)?;
    block_on(async |shutdown| {
        let starter: Option<Arc<dyn Starter>> =
            if document.receivers.iter().any(|receiver| receiver.mode == ReceiverMode::Run) {
                let opened = Desk::for_events(app, &arguments.cluster, &arguments.state);
                let mut desk = unless_cancelled(&shutdown, opened).await?;
                desk.engine.own_namespace.clone_from(&arguments.own_namespace);
                Some(Arc::new(DeskStarter(desk)))
            } else {
                None
            };
        let address = &arguments.listen;
        let listener = TcpListener::bind(address).await.map_err(Error::io("listen at", address))?;
        let bound = listener.local_addr().map_err(Error::io("listen at", address))?;
        tracing::info!(address = %bound, playbooks = playbooks.len(), "alerts are received");
        let folder = folder.join("alerts");
        let options = AlertsOptions { document, listener, folder, playbooks, starter, clock: Arc::new(System) };
        receive(options, shutdown).await?;
        Ok(ExitCode::Done)
    })
}

/// The playbooks that have triggers. A fault in any is told at the start, and not when it is needed.
fn library(arguments: &EventReceiveArgs) -> Result<Vec<Playbook>> {
    let registry = playbooks::registry()?;
    let folder = &arguments.library.library;
    let mut found = Vec::new();
    for name in Folder(folder).names() {
        let path = folder.join(format!("{name}.yaml"));
        let playbook = playbooks::check(&path, &registry, &arguments.library)?.map_err(Error::Playbook)?;
        if !playbook.document().spec.triggers.is_empty() {
            found.push(playbook);
        }
    }
    if found.is_empty() {
        return Err(Error::Usage(format!("no playbook in '{}' has triggers", folder.display())));
    }
    Ok(found)
}
