//! Playbooks on real pods: what the testbed, which has no kubelet and no network of pods, cannot prove.

mod cluster;

use std::sync::Arc;
use std::time::Instant;

use lifeboat_playbook::{Identity, Outcome, Plan, Proof, RunRecord};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::cluster::Kind;
use crate::support::{Responder, turn, until};

/// What each of the parts has.
struct Scene {
    kind: Kind,
    responder: Responder,
}

impl Scene {
    async fn plan(&self, target: &Value, uses: &str, with: Value) -> (lifeboat_playbook::Playbook, Plan) {
        let mut with = with;
        with["target"] = json!("${{ steps.find.target }}");
        let steps = json!([
            {"id": "find", "uses": "target.resolve", "with": target},
            {"id": "it", "uses": uses, "with": with, "timeout": "10m"},
        ]);
        let playbook = self.responder.playbook(&steps);
        let plan = self.responder.plan(&playbook).await;
        (playbook, plan)
    }

    async fn run(&self, target: &Value, uses: &str, with: Value) -> RunRecord {
        let began = Instant::now();
        let (playbook, _) = self.plan(target, uses, with).await;
        let record = self.responder.run(&playbook, Arc::new(())).await;
        eprintln!(
            "{uses} of {}: {:?} after {:?}: {}",
            target["name"],
            outcome(&record),
            began.elapsed(),
            said(&record)
        );
        record
    }

    async fn rollback(&self, record: &RunRecord) -> RunRecord {
        let by = Identity("tester".to_owned());
        self.responder.engine.rollback(&record.run, by, Arc::new(()), &CancellationToken::new()).await.unwrap()
    }

    /// What is kept in the file of a step whose name ends so.
    fn evidence(&self, record: &RunRecord, name: &str) -> String {
        let outputs = record.step("it").unwrap().outputs.as_ref().unwrap();
        let items = outputs["evidence"].as_array().unwrap();
        let item = items.iter().find(|item| item["path"].as_str().unwrap().ends_with(name));
        let path = item.unwrap_or_else(|| panic!("no {name} in {outputs:#}"))["path"].as_str().unwrap();
        let bytes = std::fs::read(self.responder.folder.join("evidence").join(path)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn outcome(record: &RunRecord) -> Outcome {
    record.step("it").unwrap().outcome.unwrap()
}

/// What a step says of itself in the end.
fn said(record: &RunRecord) -> String {
    let step = record.step("it").unwrap();
    match &step.proof {
        Some(Proof::Observed(text) | Proof::NotObserved(text)) => text.clone(),
        None => step.message.clone().unwrap_or_default(),
    }
}

fn assert_ended(record: &RunRecord, wanted: Outcome, words: &str) {
    let text = said(record);
    assert!(outcome(record) == wanted && text.contains(words), "{:?}, {wanted:?}: {text}", outcome(record));
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({"kind": "Pod", "namespace": namespace, "name": name})
}

/// A real engine and node image: `LIFEBOAT_TEST_KIND_IMAGE` names the image, `LIFEBOAT_TEST_KIND_CONFIG` a configuration
/// where one is needed, and `LIFEBOAT_TEST_KIND_POD_IMAGE` an image with `BusyBox`; kind is in `PATH`, and the engine is
/// found by its own variables. The network plugin has to enforce network policies.
#[tokio::test(flavor = "multi_thread")]
async fn playbooks_act_on_real_pods() {
    let _turn = turn().await;
    let began = Instant::now();
    let Some(kind) = Kind::start() else { return };
    eprintln!("a cluster of kind after {:?}", began.elapsed());
    let responder = Responder::new(kind.kubeconfig(), kind.folder());
    let [worker, drained] = kind.workers();
    let mut objects = include_str!("objects.yaml").to_owned();
    for (namespace, name) in [("shop", "victim"), ("shop", "visitor"), ("closed", "victim"), ("open", "victim")] {
        objects += &include_str!("pod.yaml").replace("NAMESPACE", namespace).replace("NAME", name);
    }
    let objects = objects.replace("IMAGE", &kind.pod_image).replace("WORKER", &worker).replace("DRAINED", &drained);
    for namespace in ["shop", "closed", "open"] {
        kind.kubectl(&["create", "namespace", namespace]);
        let account = ["get", "serviceaccount", "default", "-n", namespace];
        until("account of a namespace", async || kind.try_kubectl(&account).ok()).await;
    }
    let file = kind.folder().join("objects.yaml");
    std::fs::write(&file, objects).unwrap();
    kind.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    kind.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "-A", "--timeout=300s"]);
    kind.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "-n", "shop", "--timeout=300s"]);
    eprintln!("pods are ready after {:?}", began.elapsed());
    let scene = Scene { kind, responder };
    tokio::join!(
        async {
            a_pod_is_looked_into(&scene).await;
            a_pod_is_cut_off_in_both_directions(&scene).await;
        },
        what_was_cut_before_proves_nothing(&scene),
        what_is_still_open_is_seen(&scene),
        a_revoked_token_is_refused(&scene),
        who_reads_a_secret_is_restarted(&scene),
        a_liveness_probe_takes_evidence_away(&scene),
    );
    // Afterwards, for nothing makes the pods of probes again, and a drain refuses those.
    let probes = ["get", "pods", "-A", "-l", "lifeboat.dev/probe"];
    until("end of the probes", async || scene.kind.names(&probes).is_empty().then_some(())).await;
    a_worker_is_drained(&scene, &drained).await;
    eprintln!("everything after {:?}", began.elapsed());
}

async fn a_pod_is_looked_into(scene: &Scene) {
    let victim = pod("shop", "victim");
    let record = scene.run(&victim, "evidence.logs", json!({})).await;
    assert_ended(&record, Outcome::Success, "1 files");
    assert!(scene.evidence(&record, "web.log").contains("began"));

    let image = &scene.kind.pod_image;
    let paths = ["/tmp/loot/plan", "/tmp/loot"];
    let record = scene.run(&victim, "evidence.live", json!({"image": image, "paths": paths})).await;
    assert_ended(&record, Outcome::Success, "5 files");
    let processes = scene.evidence(&record, "processes.txt");
    assert!(processes.contains("command: sleep 98765") && processes.contains("command: httpd -f"), "{processes}");
    // 8080 in hexadecimal, listening.
    let sockets = scene.evidence(&record, "sockets.txt");
    assert!(sockets.lines().any(|line| line.contains(":1F90 ") && line.contains(" 0A ")), "{sockets}");
    assert_eq!(scene.evidence(&record, "path-0_tmp_loot_plan"), "the plan\n");
    assert!(scene.evidence(&record, "path-1_tmp_loot").contains(" plan\n"));

    // What is not there, and what leads elsewhere, is named.
    let paths = ["/tmp/link/plan", "/none"];
    let record = scene.run(&victim, "evidence.live", json!({"image": image, "paths": paths})).await;
    assert_ended(&record, Outcome::Unverified, "a symbolic link is part of the path");
    assert!(said(&record).contains("/none of container web: there is no such file"), "{}", said(&record));

    // From within.
    let record = scene.run(&victim, "evidence.live", json!({"command": ["cat", "/tmp/loot/plan"]})).await;
    assert_ended(&record, Outcome::Success, "2 files");
    assert_eq!(scene.evidence(&record, "stdout.txt"), "the plan\n");
    let record = scene.run(&victim, "evidence.live", json!({"command": ["sh", "-c", "echo no >&2; exit 3"]})).await;
    assert_ended(&record, Outcome::Unverified, "it ended with exit code 3");
    assert_eq!(scene.evidence(&record, "stderr.txt"), "no\n");
    let record = scene.run(&victim, "evidence.live", json!({"command": ["sleep", "600"], "within": "2s"})).await;
    assert_ended(&record, Outcome::Unverified, "it had not ended after 2 s");
    let record = scene.run(&victim, "evidence.live", json!({"command": ["yes"], "maxBytes": 1000})).await;
    assert_ended(&record, Outcome::Unverified, "only its first 1000 bytes were read");
    assert_eq!(scene.evidence(&record, "stdout.txt"), "y\n".repeat(500));
    let record = scene.run(&victim, "evidence.live", json!({"command": ["/no/such/program"]})).await;
    assert_ne!(outcome(&record), Outcome::Success);
}

/// Whether the visitor reaches the victim's web server.
fn reached(kind: &Kind, address: &str) -> bool {
    let request = format!("printf 'GET /plan HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} 8080");
    let answer = kind.try_kubectl(&["exec", "-n", "shop", "visitor", "--", "sh", "-c", &request]);
    answer.is_ok_and(|answer| answer.contains("the plan"))
}

async fn a_pod_is_cut_off_in_both_directions(scene: &Scene) {
    let kind = &scene.kind;
    let before = kind.json(&["get", "pod", "-n", "shop", "victim"]);
    let address = before["status"]["podIP"].as_str().unwrap();
    assert!(reached(kind, address));
    let with = json!({"probe": {"image": kind.pod_image}, "expires": "1h"});
    let (playbook, plan) = scene.plan(&pod("shop", "victim"), "pod.isolate", with).await;
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    let changes: Vec<&str> = step.plan.changes.iter().map(|change| change.id.as_str()).collect();
    assert_eq!(changes, ["peer", "listener", "policy", "labels", "end"]);
    let began = Instant::now();
    let record = scene.responder.run(&playbook, Arc::new(())).await;
    eprintln!("isolated and probed after {:?}: {}", began.elapsed(), said(&record));
    assert_ended(&record, Outcome::Success, "ISOLATED, as far as it was tried");
    assert!(!reached(kind, address), "somebody else sees the same");
    assert_eq!(kind.names(&["get", "pods", "-n", "shop", "-l", "lifeboat.dev/probe"]), Vec::<String>::new());

    let record = scene.rollback(&record).await;
    let writes = &record.step("it").unwrap().writes;
    let undone: Vec<Outcome> = writes.iter().map(|write| write.undone.as_ref().unwrap().outcome).collect();
    let (yes, no) = (Outcome::Success, Outcome::Skipped);
    assert_eq!(undone, [yes, no, yes, yes, no], "peer, listener, policy, labels, end: {record:?}");
    until("the pod can be reached again", async || reached(kind, address).then_some(())).await;
    let after = kind.json(&["get", "pod", "-n", "shop", "victim"]);
    assert_eq!(before["metadata"]["labels"], after["metadata"]["labels"]);
    assert_eq!(kind.names(&["get", "networkpolicies", "-n", "shop"]), Vec::<String>::new());
}

async fn what_was_cut_before_proves_nothing(scene: &Scene) {
    let with = json!({"probe": {"image": scene.kind.pod_image}});
    let record = scene.run(&pod("closed", "victim"), "pod.isolate", with).await;
    assert_ended(&record, Outcome::Unverified, "did not work before either");
    let tried = &record.step("it").unwrap().outputs.as_ref().unwrap()["tried"];
    assert_eq!(tried["before"], json!({"outward": "unknown", "inward": "unknown", "open": "unknown"}), "{tried}");
}

async fn what_is_still_open_is_seen(scene: &Scene) {
    let with = json!({"probe": {"image": scene.kind.pod_image}, "allowResidual": true});
    let record = scene.run(&pod("open", "victim"), "pod.isolate", with).await;
    assert_ended(&record, Outcome::Unverified, "NOT ISOLATED");
    let tried = &record.step("it").unwrap().outputs.as_ref().unwrap()["tried"];
    let works = json!({"outward": "works", "inward": "works", "open": "works"});
    assert_eq!((&tried["before"], &tried["after"]), (&works, &works), "{tried}");
}

async fn a_revoked_token_is_refused(scene: &Scene) {
    let kind = &scene.kind;
    let log = || kind.kubectl(&["logs", "-n", "shop", "caller", "--tail=2"]);
    until("the pod's calls are answered", async || log().contains("APIVersions").then_some(())).await;
    let account = json!({"kind": "ServiceAccount", "namespace": "shop", "name": "caller"});
    let record = scene.run(&account, "serviceaccount.revoke", json!({"mode": "recreate"})).await;
    assert_ended(&record, Outcome::Success, "");
    until("the pod's calls are refused", async || {
        let log = log();
        (log.lines().count() == 2 && log.lines().all(|line| line == "Unauthorized")).then_some(())
    })
    .await;
}

async fn who_reads_a_secret_is_restarted(scene: &Scene) {
    let kind = &scene.kind;
    // A pod may go just then.
    let logs = || kind.try_kubectl(&["logs", "-n", "shop", "-l", "app=reader", "--tail=-1"]).unwrap_or_default();
    until("both pods have the old value", async || (logs() == "password stolen\n".repeat(2)).then_some(())).await;
    let steps = json!([{"id": "it", "uses": "secret.rotate", "timeout": "10m", "with": {
        "namespace": "shop", "name": "db", "keys": [{"key": "password", "length": 24}], "restart": true,
    }}]);
    let record = scene.responder.run(&scene.responder.playbook(&steps), Arc::new(())).await;
    eprintln!("secret.rotate: {:?}: {}", outcome(&record), said(&record));
    assert_ended(&record, Outcome::Success, "");
    until("every pod has the new value", async || {
        let logs = logs();
        let is_new = |line: &str| line.strip_prefix("password ").is_some_and(|value| value.len() == 24);
        (logs.lines().count() == 2 && logs.lines().all(is_new)).then_some(())
    })
    .await;
}

async fn a_worker_is_drained(scene: &Scene, worker: &str) {
    let kind = &scene.kind;
    let on_it = || kind.names(&["get", "pods", "-n", "shop", "--field-selector", &format!("spec.nodeName={worker}")]);
    assert!(!on_it().is_empty(), "nothing is there to be drained");
    let node = json!({"kind": "Node", "name": worker});
    let record = scene.run(&node, "node.drain", json!({})).await;
    assert_ended(&record, Outcome::Success, "");
    assert_eq!(on_it(), Vec::<String>::new());
    kind.kubectl(&["wait", "--for=condition=Available", "deployment", "moved", "-n", "shop", "--timeout=300s"]);
    scene.rollback(&record).await;
    assert!(kind.json(&["get", "node", worker])["spec"]["unschedulable"].is_null());
}

async fn a_liveness_probe_takes_evidence_away(scene: &Scene) {
    let kind = &scene.kind;
    let probed = pod("shop", "probed");
    let (_, plan) = scene.plan(&probed, "pod.isolate", json!({})).await;
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    let clock = step.plan.evidence.iter().find(|clock| clock.what.contains("liveness probe restarts container web"));
    assert_eq!(clock.and_then(|clock| clock.seconds), Some(4), "{:?}", step.plan.evidence);
    let loot = json!({"command": ["cat", "/tmp/loot"]});
    let record = scene.run(&probed, "evidence.live", loot).await;
    assert_eq!(scene.evidence(&record, "stdout.txt"), "loot\n");
    let began = Instant::now();
    kind.kubectl(&["exec", "-n", "shop", "probed", "--", "sh", "-c", "echo two >/tmp/loot; killall httpd"]);
    until("the container is restarted", async || {
        let pod = kind.json(&["get", "pod", "-n", "shop", "probed"]);
        (pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0)).then_some(())
    })
    .await;
    eprintln!("restarted by its liveness probe after {:?}", began.elapsed());
    kind.kubectl(&["wait", "--for=condition=Ready", "pod", "probed", "-n", "shop", "--timeout=300s"]);
    let record = scene.run(&probed, "evidence.logs", json!({})).await;
    assert_ended(&record, Outcome::Success, "2 files");
    assert!(scene.evidence(&record, "web.previous.log").contains("one life"));
    // What it had written is gone: the file is that of the new container.
    let record = scene.run(&probed, "evidence.live", json!({"command": ["cat", "/tmp/loot"]})).await;
    assert_eq!(scene.evidence(&record, "stdout.txt"), "loot\n");
}
