//! Backups for playbooks, as the configuration has them.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lifeboat_actions::{Backups, Sources, Workplace};
use lifeboat_archive::Identities;
use lifeboat_model::Config;
use lifeboat_playbook::ActionError;
use lifeboat_recovery::{Context, backup};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::commands::drill_programs;
use crate::error::Error;
use crate::{keys, sources};

/// What is left out of a backup by an input of its step.
const LEFT_OUT: &str = "left out by the playbook";

/// The configuration, and this machine.
#[derive(Debug)]
pub(crate) struct Configured {
    config: Config,
    workplace: Workplace,
}

impl Configured {
    pub(crate) fn new(app: &App, config: Config) -> Self {
        let scratch = PathBuf::from(app.environment.get("TMPDIR").unwrap_or("/tmp"));
        Self { config, workplace: Workplace { programs: drill_programs(app, &[]), scratch } }
    }
}

/// What an error of the configuration, a key or the store means to a step.
fn told(error: Error) -> ActionError {
    match error {
        Error::Recovery(error) => ActionError::failed("the store cannot be used").because(error),
        error => {
            let hint = error.hint().unwrap_or_default();
            ActionError::denied(if hint.is_empty() { error.to_string() } else { format!("{error}: {hint}") })
        }
    }
}

#[async_trait]
impl Backups for Configured {
    async fn context(&self, cancel: CancellationToken) -> Result<Context, ActionError> {
        sources::context(&self.config, cancel).await.map_err(told)
    }

    fn request(&self, wanted: Sources) -> Result<backup::Request, ActionError> {
        let left_out = |wanted: bool| (!wanted).then_some(LEFT_OUT);
        sources::backup_request(&self.config, left_out(wanted.etcd), left_out(wanted.objects)).map_err(told)
    }

    fn identities(&self, file: &Path) -> Result<Identities, ActionError> {
        keys::identities_in(file).map_err(told)
    }

    fn workplace(&self) -> Workplace {
        self.workplace.clone()
    }
}
