//! An API server with the definitions, a store, and the controllers as a task that can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_archive::{Identities, PublicKey, Recipients, RecoveryKey, SigningKey, TrustedKeys};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_model::{BackupId, BackupState, DrillTargets, Reason, ResourcesConfig, Tier};
use lifeboat_recovery::backup::{self, Source};
use lifeboat_recovery::drill::{self, Target};
use lifeboat_recovery::{BackupRef, Catalog, Clock, Context, Progress};
use lifeboat_store::{MemoryStore, Store};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::{ControllerOptions, run};
use crate::event::{BackupFacts, DaemonEvent, Events, Origin, Run};
use crate::request::{BackupRequest, Begun, Request};
use crate::resources::{PERMISSIONS, definitions};
use crate::scheduler::Standing;

/// The namespace whose objects count.
pub(super) const NAMESPACE: &str = "lifeboat";
const USER: &str = "lifeboat-daemon";
/// What a machine may take that has a lot else to do.
const DEADLINE: Duration = Duration::from_mins(3);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug)]
struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) context: Context,
    pub(super) events: Events,
    pub(super) schedules: watch::Sender<Vec<Standing>>,
    pub(super) identity: String,
    signer: Arc<SigningKey>,
    recipients: Arc<Recipients>,
}

/// Controllers that run, with the requests that they make.
pub(super) struct Daemon {
    pub(super) requests: mpsc::Receiver<Request>,
    task: JoinHandle<()>,
}

impl Daemon {
    /// As the kill of a process: nothing that was under way is finished.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// The next request, which is for a backup.
    pub(super) async fn backup(&mut self) -> BackupRequest {
        match tokio::time::timeout(DEADLINE, self.requests.recv()).await.unwrap().unwrap() {
            Request::Backup(request) => request,
            other @ Request::Drill(_) => panic!("{other:?}"),
        }
    }
}

impl Stage {
    pub(super) async fn start() -> Self {
        let cluster = Cluster::start().await;
        let recovery = RecoveryKey::generate("in a test");
        let identity = recovery.identity_file().to_owned();
        let signer = SigningKey::generate().unwrap();
        let public: PublicKey = signer.public_key().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(Timestamp::now)));
        let stage = Self {
            context: Context {
                store,
                cluster: "prod".parse().unwrap(),
                trusted: Arc::new(TrustedKeys::new(vec![public])),
                clock: Arc::new(System),
                cancel: CancellationToken::new(),
            },
            events: Events::default(),
            schedules: watch::Sender::new(Vec::new()),
            recipients: Arc::new(Recipients::parse(Identities::parse(&identity).unwrap().recipients()).unwrap()),
            signer: Arc::new(signer),
            identity,
            cluster,
        };
        let items: Vec<Value> = definitions().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
        let applied = stage.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
        assert!(!applied.contains("Warning"), "{applied}");
        for crd in definitions() {
            let name = format!("crd/{}", crd.metadata.name.unwrap());
            stage.cluster.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=120s"]);
        }
        stage.cluster.kubectl(&["create", "namespace", NAMESPACE]);
        stage.permit();
        stage
    }

    /// Gives the daemon's user just what the controllers say that they need.
    fn permit(&self) {
        let rules: Vec<Value> = PERMISSIONS
            .iter()
            .map(|rule| json!({"apiGroups": [rule.group], "resources": [rule.resource], "verbs": rule.verbs}))
            .collect();
        let metadata = json!({"name": USER, "namespace": NAMESPACE});
        let api = "rbac.authorization.k8s.io/v1";
        self.apply(&json!({"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules}));
        self.apply(&json!({
            "apiVersion": api, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }));
    }

    /// Starts the controllers with the rights that they say they need.
    pub(super) async fn daemon(&self) -> Daemon {
        self.daemon_as(&self.cluster.kubeconfig_for(USER, &[]).unwrap()).await
    }

    pub(super) async fn daemon_as(&self, kubeconfig: &std::path::Path) -> Daemon {
        let options = ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), ..ConnectOptions::default() };
        let cluster = lifeboat_kubernetes::Cluster::connect(options).await.unwrap();
        let (sender, requests) = mpsc::channel(4);
        let options = ControllerOptions {
            cluster,
            namespace: NAMESPACE.to_owned(),
            context: self.context.clone(),
            taken: vec!["of-the-file".to_owned()],
            schedules: self.schedules.clone(),
            requests: sender,
            events: self.events.clone(),
            identity: "test-daemon".to_owned(),
            work_dir: self.cluster.temp().to_owned(),
        };
        Daemon { requests, task: tokio::spawn(run(options)) }
    }

    /// Applies an object; what kubectl said.
    pub(super) fn apply(&self, object: &Value) -> String {
        self.try_apply(object).unwrap_or_else(|refusal| panic!("{refusal}\n{object}"))
    }

    /// Applies an object, or says why not.
    pub(super) fn try_apply(&self, object: &Value) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new_in(self.cluster.temp()).unwrap();
        serde_json::to_writer(file.as_file(), object).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager=person", "-f", path];
        lifeboat_tests::cluster::kubectl(&self.cluster.kubeconfig(), &arguments)
    }

    /// Creates a custom resource of ours.
    pub(super) fn create(&self, kind: &str, name: &str, spec: &Value) {
        self.apply(&object(kind, name, spec));
    }

    /// An object as it is now, if it is there.
    pub(super) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let text = self.cluster.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json", "--ignore-not-found"]);
        if text.trim().is_empty() { None } else { Some(serde_json::from_str(&text).unwrap()) }
    }

    /// Every object of a kind, by name.
    pub(super) fn all(&self, kind: &str) -> BTreeMap<String, Value> {
        let text = self.cluster.kubectl(&["get", kind, "-n", NAMESPACE, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone())).collect()
    }

    /// Waits until an object is as wanted.
    pub(super) async fn until(&self, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let found = eventually(|| {
            last = self.get(kind, name);
            last.clone().filter(&wanted)
        });
        let found = found.await;
        found.unwrap_or_else(|| panic!("{kind}/{name} never became as wanted: {last:#?}"))
    }

    pub(super) async fn until_phase(&self, kind: &str, name: &str, phase: &str) -> Value {
        self.until(kind, name, |object| object["status"]["phase"] == phase).await
    }

    /// The reasons of events about an object.
    pub(super) async fn until_event(&self, name: &str, reason: &str) {
        let found = eventually(|| {
            let of = format!("--field-selector=regarding.name={name}");
            let arguments = ["get", "events.events.k8s.io", "-n", NAMESPACE, &of, "-o", "json"];
            let list: Value = serde_json::from_str(&self.cluster.kubectl(&arguments)).unwrap();
            list["items"].as_array().unwrap().iter().any(|event| event["reason"] == reason).then_some(())
        });
        found.await.unwrap_or_else(|| panic!("nobody told of {name}: {reason}"));
    }

    /// Takes a backup of the API's objects, as the daemon's runner would.
    pub(super) async fn take(&self, id: &BackupId, reason: Reason) -> BackupFacts {
        let kubernetes = ConnectOptions { kubeconfig: Some(self.cluster.kubeconfig()), ..ConnectOptions::default() };
        let request = backup::Request {
            etcd: Source::Skip("not wanted".to_owned()),
            kubernetes: Source::Use(kubernetes),
            resources: ResourcesConfig::default(),
            recipients: Arc::clone(&self.recipients),
            signer: Arc::clone(&self.signer),
            reason,
            fence: None,
            tool: "lifeboat tests".to_owned(),
        };
        let outcome =
            Box::pin(backup::create_as(&self.context, id.clone(), request, Progress::default())).await.unwrap();
        let manifest = outcome.manifest;
        BackupFacts {
            id: manifest.id.clone(),
            state: manifest.state,
            sequence: manifest.sequence,
            started: manifest.started,
            finished: manifest.finished,
            stored_bytes: manifest.stored_bytes(),
            objects: outcome.coverage.objects(),
            gaps: outcome.coverage.gaps.into(),
        }
    }

    pub(super) fn new_id(&self) -> BackupId {
        BackupId::new(self.context.clock.now(), self.context.clock.random())
    }

    /// Does what was asked for, up to the commit. The answer is left to the caller.
    pub(super) async fn serve(
        &self,
        request: BackupRequest,
    ) -> (BackupFacts, oneshot::Sender<Result<BackupFacts, String>>) {
        let id = self.note(request.begun).await;
        let reason = request.schedule.map_or(Reason::Manual, Reason::Schedule);
        (self.take(&id, reason).await, request.reply)
    }

    /// Has the id of a backup noted, which takes a minute, as with an API server that is busy.
    pub(super) async fn note(&self, begun: Option<oneshot::Sender<Begun>>) -> BackupId {
        let id = BackupId::new(self.context.clock.now() - MINUTE, self.context.clock.random());
        let (noted, wait) = oneshot::channel();
        begun.unwrap().send(Begun { id: id.clone(), noted }).unwrap();
        wait.await.unwrap();
        id
    }

    /// Tells that a backup of a schedule is done.
    pub(super) fn tell_finished(&self, schedule: &str, backup: &BackupFacts) {
        let run = Run { origin: Origin::Schedule(schedule.to_owned()), due: backup.started };
        let took = Duration::from_secs(1);
        self.events.publish(DaemonEvent::BackupFinished { run, backup: backup.clone(), took });
    }

    /// Tells that something in the store has changed.
    pub(super) fn tell_changed(&self) {
        let event = DaemonEvent::PruneFinished { schedule: None, removed: Vec::new(), failed: Vec::new() };
        self.events.publish(event);
    }
}

impl Stage {
    /// Runs a drill of the latest backup, of tier 0.
    pub(super) async fn drill(&self, catalog: &Catalog, identities: Option<Arc<Identities>>) -> drill::Outcome {
        let request = drill::Request {
            tier: Tier::Content,
            target: Target::Local,
            checks: Vec::new(),
            ready_within: DEADLINE,
            environment: Vec::new(),
            identities,
            programs: Vec::new(),
            encryption_config: None,
            api_server_args: Vec::new(),
            scratch: self.cluster.temp().to_owned(),
            targets: DrillTargets::default(),
            signer: Some(Arc::clone(&self.signer)),
            tool: "lifeboat tests".to_owned(),
            keep: false,
        };
        Box::pin(drill::run(catalog, &BackupRef::Latest, request)).await.unwrap().outcome
    }
}

/// A custom resource of ours.
pub(super) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

/// Looks again and again, until it is there or nobody can wait any longer.
pub(super) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while tokio::time::Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}

/// The condition of that type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {object:#}"))
}

/// That a backup of this test is whole.
pub(super) fn complete(facts: &BackupFacts) {
    assert_eq!(facts.state, BackupState::Complete, "{facts:?}");
}
