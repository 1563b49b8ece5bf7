//! A cluster, and an engine with the actions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat_actions::{Connection, EvidenceFolder, NoBackups, Outside, Settings, add_actions};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_playbook::{
    ActionError, ApprovalRequest, Approver, Clock, DirectoryJournals, Engine, EngineError, Identity, Outcome, Plan,
    Playbook, Proof, Registry, Request, RunRecord, Vote, add_builtin, load, verify,
};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Machines may be slow; whatever is waited for comes sooner.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

struct Nobody;

#[async_trait::async_trait]
impl Approver for Nobody {
    async fn vote(&self, _: &ApprovalRequest) -> Result<Vote, ActionError> {
        Err(ActionError::denied("nobody is here"))
    }
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) engine: Engine,
    pub(crate) evidence: TempDir,
    _journals: TempDir,
}

pub(crate) fn engine(kubeconfig: &Path, evidence: &Path, journals: &Path) -> Engine {
    engine_with(kubeconfig, evidence, journals, Outside::default())
}

/// An engine that may do something outside of the cluster.
pub(crate) fn engine_with(kubeconfig: &Path, evidence: &Path, journals: &Path, outside: Outside) -> Engine {
    let options = ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), ..ConnectOptions::default() };
    let mut registry = Registry::new();
    add_builtin(&mut registry).unwrap();
    let settings = Settings {
        connection: Connection::new(options),
        backups: Arc::new(NoBackups),
        journals: Arc::new(DirectoryJournals::new(journals.to_owned())),
        evidence: EvidenceFolder::new(evidence.to_owned()),
        outside,
        random: |bytes| {
            bytes.fill_with(|| fastrand::u8(..));
            Ok(())
        },
        local_files: true,
    };
    add_actions(&mut registry, &settings).unwrap();
    Engine {
        registry: Arc::new(registry),
        journals: Arc::new(DirectoryJournals::new(journals.to_owned())),
        clock: Arc::new(System),
        approver: Arc::new(Nobody),
        own_namespace: None,
    }
}

impl World {
    /// A control plane with controllers, a scheduler and nodes of kwok.
    pub(crate) async fn start(nodes: u32) -> Self {
        let cluster =
            Cluster::start_with(|builder| builder.with_controller_manager().with_scheduler().with_kwok_nodes(nodes))
                .await;
        Self::of(cluster)
    }

    pub(crate) fn of(cluster: Cluster) -> Self {
        let (evidence, journals) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let engine = engine(&cluster.kubeconfig(), evidence.path(), journals.path());
        Self { cluster, engine, evidence, _journals: journals }
    }

    pub(crate) fn apply(&self, text: &str) {
        let file = self.cluster.temp().join("apply.yaml");
        std::fs::write(&file, text).unwrap();
        self.cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.cluster.kubectl(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{args:?}: {error}: {output}"))
    }

    /// Whatever `kubectl get` prints of names.
    pub(crate) fn names(&self, args: &[&str]) -> Vec<String> {
        let output = self.cluster.kubectl(&[args, &["-o", "name"]].concat());
        output.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// Waits for a condition.
    pub(crate) async fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !met(self) {
            assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until that many pods of a selector run, and gives their names.
    pub(crate) async fn running(&self, namespace: &str, selector: &str, count: usize) -> Vec<String> {
        let args = ["get", "pods", "-n", namespace, "-l", selector, "--field-selector", "status.phase=Running"];
        self.until(&format!("{count} pods {selector} run"), |world| world.names(&args).len() == count).await;
        self.names(&args)
    }

    pub(crate) fn playbook(&self, text: &str) -> Playbook {
        load("test.yaml", text, &self.engine.registry, &std::collections::BTreeMap::new())
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// One of the library's playbooks.
    pub(crate) fn library(&self, name: &str) -> Playbook {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../playbooks").join(format!("{name}.yaml"));
        self.playbook(&std::fs::read_to_string(file).unwrap())
    }

    /// A playbook of one step on an object that is found by its name.
    pub(crate) fn one_step(&self, target: &Value, uses: &str, with: &Value) -> Playbook {
        let mut with = with.clone();
        with["target"] = json!("${{ steps.find.target }}");
        let document = json!({
            "apiVersion": "lifeboat.dev/v1alpha1",
            "kind": "Playbook",
            "metadata": {"name": "test"},
            "spec": {
                "description": "A test.",
                "steps": [
                    {"id": "find", "uses": "target.resolve", "with": target},
                    {"id": "it", "uses": uses, "with": with, "timeout": "10m"},
                ],
            },
        });
        self.playbook(&document.to_string())
    }

    pub(crate) async fn plan(&self, playbook: &Playbook, inputs: Value) -> Result<Plan, EngineError> {
        let inputs: Map<String, Value> = inputs.as_object().unwrap().clone();
        let request = Request { inputs, requester: Identity("tester".to_owned()), trigger: None };
        self.engine.plan(playbook, &request, &CancellationToken::new()).await
    }

    pub(crate) async fn run_plan(&self, playbook: &Playbook, plan: Plan) -> RunRecord {
        let hash = plan.hash;
        self.engine.run(playbook, plan, &hash, Arc::new(()), &CancellationToken::new()).await.unwrap()
    }

    pub(crate) async fn run(&self, playbook: &Playbook, inputs: Value) -> RunRecord {
        let plan = self.plan(playbook, inputs).await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(plan.denied, Vec::<String>::new());
        self.run_plan(playbook, plan).await
    }

    /// Takes a run back, and holds its journal to its chain.
    pub(crate) async fn rollback(&self, record: &RunRecord) -> RunRecord {
        let by = Identity("tester".to_owned());
        let cancel = CancellationToken::new();
        let record = self.engine.rollback(&record.run, by, Arc::new(()), &cancel).await.unwrap();
        let stored = self.engine.journals.read(&record.run).await.unwrap();
        assert_eq!(verify(&stored.bytes).unwrap().record.steps.len(), record.steps.len());
        record
    }
}

/// How a step ended, and what was observed or went wrong.
pub(crate) fn ended(record: &RunRecord, step: &str) -> (Outcome, String) {
    let step = record.step(step).unwrap_or_else(|| panic!("no step {step}: {record:?}"));
    let text = match &step.proof {
        Some(Proof::Observed(text) | Proof::NotObserved(text)) => text.clone(),
        None => step.message.clone().unwrap_or_default(),
    };
    (step.outcome.unwrap_or(Outcome::Cancelled), text)
}

/// The workload that most tests act on.
pub(crate) const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop, labels: {team: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [""], resources: [configmaps, pods/log], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web-reads, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: ServiceAccount, name: web, namespace: shop}
- {kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-in, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: example.com/web:1
        livenessProbe: {httpGet: {port: 80}, periodSeconds: 5}
"#;
