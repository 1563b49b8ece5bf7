//! Somebody who runs playbooks at the desk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_actions::{Connection, EvidenceFolder, NoBackups, Settings, add_actions};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_playbook::{
    ActionError, ApprovalRequest, Approver, Clock, DirectoryJournals, Engine, Identity, Line, Observer, Plan, Playbook,
    Registry, Request, RunRecord, Vote, add_builtin, load,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct System;

impl Clock for System {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

struct Nobody;

#[async_trait]
impl Approver for Nobody {
    async fn vote(&self, _: &ApprovalRequest) -> Result<Vote, ActionError> {
        Err(ActionError::denied("nobody is here"))
    }
}

/// Is told of each line of a journal when it is durable, and before anything that follows it is done.
pub(crate) struct Watcher<F>(pub(crate) F);

impl<F: Fn(&Line) + Send + Sync> Observer for Watcher<F> {
    fn noted(&self, line: &Line) {
        (self.0)(line);
    }
}

/// Runs playbooks, and keeps journals and evidence in a folder.
pub(crate) struct Responder {
    pub(crate) engine: Engine,
    pub(crate) folder: PathBuf,
}

impl Responder {
    pub(crate) fn new(kubeconfig: PathBuf, folder: &Path) -> Self {
        let mut registry = Registry::new();
        add_builtin(&mut registry).unwrap();
        let options = ConnectOptions { kubeconfig: Some(kubeconfig), ..ConnectOptions::default() };
        let evidence = EvidenceFolder::new(folder.join("evidence"));
        let random = |bytes: &mut [u8]| {
            bytes.fill_with(|| fastrand::u8(..));
            Ok(())
        };
        let connection = Connection::new(options);
        let journals = Arc::new(DirectoryJournals::new(folder.join("runs")));
        let settings =
            Settings { connection, backups: Arc::new(NoBackups), journals, evidence, random, local_files: true };
        add_actions(&mut registry, &settings).unwrap();
        let engine = Engine {
            registry: Arc::new(registry),
            journals: Arc::new(DirectoryJournals::new(folder.join("runs"))),
            clock: Arc::new(System),
            approver: Arc::new(Nobody),
            own_namespace: None,
        };
        Self { engine, folder: folder.to_owned() }
    }

    /// A playbook of steps without expressions but those that they have in their text.
    pub(crate) fn playbook(&self, steps: &Value) -> Playbook {
        let document = json!({
            "apiVersion": "lifeboat.dev/v1alpha1",
            "kind": "Playbook",
            "metadata": {"name": "test"},
            "spec": {"description": "A test.", "steps": steps},
        });
        load("test.yaml", &document.to_string(), &self.engine.registry, &BTreeMap::new())
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub(crate) async fn plan(&self, playbook: &Playbook) -> Plan {
        let requester = Identity("tester".to_owned());
        let request = Request { inputs: serde_json::Map::new(), requester, trigger: None };
        self.engine.plan(playbook, &request, &CancellationToken::new()).await.unwrap()
    }

    pub(crate) async fn run(&self, playbook: &Playbook, observer: Arc<dyn Observer>) -> RunRecord {
        let plan = self.plan(playbook).await;
        let agreed = plan.hash;
        self.engine.run(playbook, plan, &agreed, observer, &CancellationToken::new()).await.unwrap()
    }
}
