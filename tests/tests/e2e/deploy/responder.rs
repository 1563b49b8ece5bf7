//! Playbooks as objects: asked for by one person, agreed to by another, and run by a responder that has the chart's rights.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rights::{all_used, audited, used};
use super::{NAMESPACE, NEEDED, apply, objects, render};
use crate::house::{read, root};
use crate::support::{Run, Site, turn, until};

const ACCOUNT: &str = "lifeboat-playbooks";

/// Two nodes, between which somebody has to agree once more.
const PLAYBOOK: &str = r#"
apiVersion: lifeboat.dev/v1alpha1
kind: Playbook
metadata: {name: cordon-two}
spec:
  description: Cordon two nodes.
  inputs:
    first: {type: string, required: true}
    second: {type: string, required: true}
    ask: {type: boolean, default: true}
  guards: {concurrency: "${{ steps.one.target.uid }}"}
  steps:
    - {id: one, uses: target.resolve, with: {kind: Node, name: "${{ inputs.first }}"}}
    - {id: two, uses: target.resolve, with: {kind: Node, name: "${{ inputs.second }}"}}
    - {id: cordon_one, uses: node.cordon, with: {target: "${{ steps.one.target }}"}}
    - {id: sure, uses: approve, if: inputs.ask, with: {text: "Go on?"}, timeout: 1h}
    - {id: cordon_two, uses: node.cordon, with: {target: "${{ steps.two.target }}"}}
"#;

/// A responder as a process.
struct Responder {
    child: Child,
    log: PathBuf,
}

impl Responder {
    fn start(site: &Site, kubeconfig: &Path, name: &str) -> Self {
        let log = site.path(format!("{name}.log"));
        let evidence = site.path("evidence");
        let arguments = [
            "responder",
            "-n",
            NAMESPACE,
            "--lease",
            ACCOUNT,
            "--lease-seconds",
            "6",
            "--name",
            name,
            "--evidence",
            evidence.to_str().unwrap(),
            "--log-format",
            "json",
        ];
        let mut command = site.command(&arguments);
        command.env("KUBECONFIG", kubeconfig).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The people, the cluster and what they see.
struct Scene {
    cluster: Cluster,
    site: Site,
    alice: PathBuf,
    bob: PathBuf,
    carol: PathBuf,
    /// What the responder may do for itself, and what it did.
    role: Value,
    audit: PathBuf,
    _folder: TempDir,
}

impl Scene {
    fn create(&self, who: &Path, object: &Value) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new_in(self.cluster.temp()).unwrap();
        serde_json::to_writer(file.as_file(), object).unwrap();
        kubectl(who, &["create", "-f", file.path().to_str().unwrap()])
    }

    fn ask(&self, who: &Path, name: &str, spec: &Value) -> Result<String, String> {
        self.create(who, &document("PlaybookRun", name, spec))
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.cluster.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"])).unwrap()
    }

    async fn until(&self, kind: &str, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || {
            let object = self.get(kind, name);
            wanted(&object["status"]).then_some(object)
        })
        .await
    }

    async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until("playbookrun", name, &format!("{name}: {phase}"), |status| status["phase"] == phase).await
    }

    fn lifeboat(&self, who: &Path, arguments: &[&str]) -> Run {
        self.site.command(arguments).env("KUBECONFIG", who).output().unwrap().into()
    }

    /// The hash that a run asks for.
    async fn asked(&self, name: &str, other_than: &str) -> (String, String) {
        let run = self
            .until("playbookrun", name, &format!("{name}: a question"), |status| {
                status["waiting"]["hash"].as_str().is_some_and(|hash| hash != other_than)
            })
            .await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&run["status"]["waiting"]["hash"]), text(&run["metadata"]["uid"]))
    }

    fn unschedulable(&self, node: &str) -> bool {
        self.cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.spec.unschedulable}"]) == "true"
    }
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {object:#}"))
}

/// A kubeconfig with a token of a ServiceAccount, and nothing else.
fn with_token(cluster: &Cluster, account: &str) -> PathBuf {
    let token = cluster.kubectl(&["create", "token", account, "-n", NAMESPACE, "--duration=2h"]);
    let view = cluster.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = cluster.temp().join(format!("{account}.kubeconfig"));
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// Everything but the admission policies, which come back apart.
async fn scene() -> (Scene, PathBuf, String) {
    let (cluster, audit, folder) = audited(ACCOUNT).await;
    for definition in fs::read_dir(root().join("deploy/helm/lifeboat/crds")).unwrap() {
        let file = definition.unwrap().path();
        cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"]);
    apply(&cluster, &objects(&read("deploy/kustomize/base/namespace.yaml"))[0].to_string(), &[]);
    // That a definition is established is known a little before it is served.
    let kinds = "playbooks,playbookruns,playbookapprovals,playbookjournals";
    let served = async || kubectl(&cluster.kubeconfig(), &["get", kinds, "-n", NAMESPACE]).ok();
    until("kinds that are served", served).await;
    let rules = "playbooks={\"enabled\":true,\"library\":[\"contain-node\"]}";
    let all = objects(&render(&[NEEDED.as_slice(), &[rules]].concat()).unwrap());
    let ours = all.into_iter().filter(|object| object["metadata"]["name"].as_str().unwrap().starts_with(ACCOUNT));
    let (policies, rest): (Vec<Value>, Vec<Value>) =
        ours.partition(|object| object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy"));
    assert_eq!(policies.len(), 4);
    let role = rest.iter().find(|object| object["kind"] == "Role").unwrap().clone();
    let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    apply(&cluster, &list(rest), &[]);
    for node in ["n1", "n2"] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        apply(&cluster, &node.to_string(), &[]);
    }
    apply(&cluster, PLAYBOOK, &["-n", NAMESPACE]);
    let bind = |name: &str, role: &str, subject: &str| {
        let role = format!("--clusterrole={ACCOUNT}-{role}");
        cluster.kubectl(&["create", "rolebinding", name, "-n", NAMESPACE, &role, subject]);
    };
    // She may do both, and yet not agree to what she asked for herself.
    bind("alice-asks", "requester", "--user=alice");
    bind("alice-agrees", "approver", "--user=alice");
    cluster.kubectl(&["create", "serviceaccount", "bob", "-n", NAMESPACE]);
    bind("bob-agrees", "approver", &format!("--serviceaccount={NAMESPACE}:bob"));
    bind("carol-asks", "requester", "--user=carol");
    let verbs = "--verb=create,get,list";
    cluster.kubectl(&["create", "role", "says", "-n", NAMESPACE, verbs, "--resource=playbookapprovals.lifeboat.dev"]);
    cluster.kubectl(&["create", "rolebinding", "carol-says", "-n", NAMESPACE, "--role=says", "--user=carol"]);
    let (alice, carol) = (cluster.kubeconfig_for("alice", &[]).unwrap(), cluster.kubeconfig_for("carol", &[]).unwrap());
    let (bob, responder) = (with_token(&cluster, "bob"), with_token(&cluster, ACCOUNT));
    let site = Site::directory(&cluster);
    let scene = Scene { cluster, site, alice, bob, carol, role, audit, _folder: folder };
    (scene, responder, list(policies))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_asked_for_agreed_to_by_others_survives_a_kill_and_is_taken_back() {
    let _turn = turn().await;
    let (scene, account, policies) = scene().await;
    let inputs = json!({"first": "n1", "second": "n2"});
    let spec = |who: &str| json!({"playbook": "cordon-two", "requester": who, "inputs": inputs});
    let mut responder = Responder::start(&scene.site, &account, "first");
    examples(&scene.cluster);
    faults(&scene).await;

    // As long as anybody can pretend to be somebody else, nothing is begun.
    scene.ask(&scene.carol, "forged", &spec("alice")).unwrap();
    let never = scene.phase("forged", "NotRun").await;
    assert_eq!(condition(&never, "Failed")["reason"], "NotGuarded", "{never:#}");
    apply(&scene.cluster, &policies, &[]);
    let forged = json!({"playbook": "not-there", "requester": "alice"});
    let in_force = async || {
        let refused = scene.ask(&scene.carol, "forged-again", &forged).err();
        if refused.is_none() {
            scene.cluster.kubectl(&["delete", "playbookrun", "forged-again", "-n", NAMESPACE]);
        }
        refused
    };
    let refused = until("policy", in_force).await;
    assert!(refused.contains("has to be whoever creates the run: carol"), "{refused}");
    let mut auto = spec("alice");
    auto["approval"] = "auto".into();
    let refused = scene.ask(&scene.alice, "auto", &auto).unwrap_err();
    assert!(refused.contains("autoapprove"), "{refused}");

    // Planned, and shown; nothing is done.
    scene.ask(&scene.alice, "two", &spec("alice")).unwrap();
    let (hash, uid) = scene.asked("two", "").await;
    let shown = scene.get("playbookrun", "two");
    assert_eq!(shown["status"]["phase"], "Waiting", "{shown:#}");
    let changes = shown["status"]["plan"]["changes"].as_array().unwrap();
    assert_eq!(changes.iter().map(|change| &change["what"]).collect::<Vec<_>>(), ["patch Node n1", "patch Node n2"]);
    void(&scene, &hash, &uid).await;
    assert!(!scene.unschedulable("n1"));

    // Somebody else agrees, from the command line: the first half is done, and the next question is asked.
    scene.lifeboat(&scene.alice, &["run", "approve", "two", "-n", NAMESPACE, "--yes"]).refused();
    scene.lifeboat(&scene.bob, &["run", "approve", "two", "-n", NAMESPACE, "--approve", &"0".repeat(64)]).refused();
    scene.lifeboat(&scene.bob, &["run", "approve", "two", "-n", NAMESPACE]).refused();
    scene.lifeboat(&scene.bob, &["run", "approve", "two", "-n", NAMESPACE, "--approve", &hash]).fine();
    let (second, _) = scene.asked("two", &hash).await;
    assert!(scene.unschedulable("n1") && !scene.unschedulable("n2"), "{}", responder.said());

    // The target is taken, a run under way is not deleted, and a kill ends nothing.
    scene.ask(&scene.alice, "same", &spec("alice")).unwrap();
    let refused = scene.phase("same", "NotRun").await;
    assert_eq!(condition(&refused, "Failed")["reason"], "OtherRun", "{refused:#}");
    responder.kill();
    let mut responder = Responder::start(&scene.site, &account, "second");
    resumed(&scene).await;
    let bound = json!({"run": "two", "runUid": uid, "hash": second, "approve": true,
        "approver": format!("system:serviceaccount:{NAMESPACE}:bob")});
    scene.create(&scene.bob, &document("PlaybookApproval", "go-on", &bound)).unwrap();
    let ended = scene.phase("two", "Ended").await;
    assert_eq!(ended["status"]["outcome"], "success", "{ended:#}\n{}", responder.said());
    assert!(condition(&ended, "Approved")["message"].as_str().unwrap().contains("bob"), "{ended:#}");
    assert!(scene.unschedulable("n1") && scene.unschedulable("n2"));

    seen_and_taken_back(&scene).await;
    changed(&scene, &spec("alice")).await;
    ended_by_people(&scene, &spec("alice")).await;
    responder.kill();
    rights(&scene).await;
}

/// Who asked says otherwise, in her own name alone; or somebody else says no.
async fn ended_by_people(scene: &Scene, spec: &Value) {
    scene.ask(&scene.alice, "withdrawn", spec).unwrap();
    scene.asked("withdrawn", "").await;
    let cancel = |who: &Path| {
        let patch = json!({"spec": {"cancelledBy": "alice"}}).to_string();
        kubectl(who, &["patch", "playbookrun", "withdrawn", "-n", NAMESPACE, "--type=merge", "-p", &patch])
    };
    let refused = cancel(&scene.carol).unwrap_err();
    assert!(refused.contains("has to be whoever writes it: carol"), "{refused}");
    cancel(&scene.alice).unwrap();
    let ended = scene.phase("withdrawn", "Ended").await;
    assert!(condition(&ended, "Failed")["message"].as_str().unwrap().contains("cancelled"), "{ended:#}");

    scene.ask(&scene.alice, "unwanted", spec).unwrap();
    let (hash, _) = scene.asked("unwanted", "").await;
    let no = ["run", "approve", "unwanted", "-n", NAMESPACE, "--deny", "--approve", &hash];
    scene.lifeboat(&scene.bob, &no).fine();
    let ended = scene.phase("unwanted", "Ended").await;
    assert_eq!(ended["status"]["outcome"], "denied", "{ended:#}");
    assert!(condition(&ended, "Failed")["message"].as_str().unwrap().contains("did not approve"), "{ended:#}");
    assert!(!scene.unschedulable("n1") && !scene.unschedulable("n2"));
}

/// The responder was refused nothing but its own lies, and has no right in its namespace of which there was no use.
async fn rights(scene: &Scene) {
    let lie = |resource: &str| ["playbookruns", "playbookapprovals"].contains(&resource);
    let refused = used(&scene.audit).into_iter().filter(|used| used.status == 403);
    let refused: Vec<_> = refused.filter(|used| !(used.verb == "create" && lie(&used.resource))).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let mut role = scene.role.clone();
    for rule in role["rules"].as_array_mut().unwrap() {
        // Only after an answer that was lost.
        if rule["resources"] == json!(["playbookjournals"]) {
            rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != "get");
        }
    }
    all_used([&role].into_iter(), &scene.audit).await;
}

/// Every object that the page shows is accepted, as long as it matters to nobody who creates it.
fn examples(cluster: &Cluster) {
    let page = read("docs/src/playbooks-in-cluster.md");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut kinds = Vec::new();
    for block in blocks.filter(|block| block.starts_with("apiVersion: lifeboat.dev/")) {
        let file = cluster.temp().join("example.yaml");
        fs::write(&file, block).unwrap();
        let created = cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        kinds.push(created.split('.').next().unwrap().to_owned());
    }
    assert_eq!(kinds, ["playbookrun", "playbookapproval"]);
}

/// A playbook that cannot be run says everything that is wrong with it, and where.
async fn faults(scene: &Scene) {
    let spec = json!({"description": "x", "steps": [
        {"id": "a", "uses": "node.cordn", "with": {"target": 1}},
        {"id": "b", "uses": "wait.time", "with": {"for": "${{ steps.c.x }}"}},
    ]});
    apply(&scene.cluster, &document("Playbook", "faulty", &spec).to_string(), &[]);
    let faulty = scene.until("playbook", "faulty", "faults", |status| status["faults"].is_array()).await;
    assert_eq!(condition(&faulty, "Ready")["status"], "False");
    let faults = faulty["status"]["faults"].as_array().unwrap();
    let paths: Vec<&str> = faults.iter().map(|fault| fault["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["spec.steps[0].uses", "spec.steps[1].with.for"], "{faulty:#}");
    assert!(faults.iter().all(|fault| fault["line"].as_u64() > Some(0)), "{faulty:#}");
    let good = scene.until("playbook", "cordon-two", "readiness", |status| status["steps"] == 5).await;
    assert_eq!(condition(&good, "Ready")["status"], "True", "{good:#}");
}

/// What does not count: of the requester, on another plan, by who may not, in another's name.
async fn void(scene: &Scene, hash: &str, uid: &str) {
    let answer = |approver: &str, hash: &str| json!({"run": "two", "runUid": uid, "hash": hash, "approver": approver, "approve": true});
    let bob = format!("system:serviceaccount:{NAMESPACE}:bob");
    let say = |who: &Path, name: &str, answer: &Value| scene.create(who, &document("PlaybookApproval", name, answer));
    let refused = say(&scene.carol, "carols", &answer("carol", hash)).unwrap_err();
    assert!(refused.contains("no right to 'approve'"), "{refused}");
    let refused = say(&scene.bob, "forged", &answer("carol", hash)).unwrap_err();
    assert!(refused.contains("has to be whoever creates the approval"), "{refused}");
    say(&scene.alice, "her-own", &answer("alice", hash)).unwrap();
    say(&scene.bob, "other", &answer(&bob, &"1".repeat(64))).unwrap();
    for (name, reason) in [("her-own", "OwnRun"), ("other", "OtherPlan")] {
        let judged = scene.until("playbookapproval", name, name, |status| status["conditions"].is_array()).await;
        assert_eq!(condition(&judged, "Counted")["reason"], reason, "{judged:#}");
        assert_eq!(condition(&judged, "Counted")["status"], "False");
    }
    assert_eq!(scene.get("playbookrun", "two")["status"]["phase"], "Waiting");
}

async fn resumed(scene: &Scene) {
    until("event of the resumed run", async || {
        let of = "--field-selector=regarding.name=two";
        let events = scene.cluster.kubectl(&["get", "events.events.k8s.io", "-n", NAMESPACE, of, "-o", "json"]);
        let events: Value = serde_json::from_str(&events).unwrap();
        events["items"].as_array().unwrap().iter().any(|event| event["reason"] == "Resumed").then_some(())
    })
    .await;
    let refused = kubectl(&scene.cluster.kubeconfig(), &["delete", "playbookrun", "two", "-n", NAMESPACE]).unwrap_err();
    assert!(refused.contains("cancel it first"), "{refused}");
}

async fn seen_and_taken_back(scene: &Scene) {
    let at = ["-n", NAMESPACE];
    let say = |what: &[&str]| scene.lifeboat(&scene.alice, &[what, &at].concat());
    let listed = say(&["run", "list"]);
    assert!(listed.stdout.contains("cordon-two") && listed.stdout.contains("success"), "{listed:?}");
    let shown = say(&["run", "show", "two"]);
    assert!(shown.stdout.contains("cordon_two") && shown.stdout.contains("unschedulable"), "{shown:?}");
    say(&["run", "verify", "two"]).fine();
    assert!(say(&["run", "report", "two"]).stdout.contains("alice"));
    say(&["run", "rollback", "two"]).refused();
    say(&["run", "rollback", "two", "--yes"]).fine();
    assert!(!scene.unschedulable("n1") && !scene.unschedulable("n2"));
    let back = scene.phase("two", "RolledBack").await;
    assert_eq!(back["status"]["rollback"]["by"], "alice", "{back:#}");
    assert_eq!(condition(&back, "RolledBack")["status"], "True");
    // It goes, and its journal with it, now that nothing is under way.
    scene.cluster.kubectl(&["delete", "playbookrun", "same", "-n", NAMESPACE]);
}

/// What was agreed to is another target by now: nothing is done.
async fn changed(scene: &Scene, spec: &Value) {
    scene.ask(&scene.alice, "changed", spec).unwrap();
    let (hash, _) = scene.asked("changed", "").await;
    scene.cluster.kubectl(&["delete", "node", "n2"]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}});
    apply(&scene.cluster, &node.to_string(), &[]);
    scene.lifeboat(&scene.bob, &["run", "approve", "changed", "-n", NAMESPACE, "--approve", &hash]).fine();
    let ended = scene.phase("changed", "Ended").await;
    assert_eq!(ended["status"]["outcome"], "denied", "{ended:#}");
    assert!(condition(&ended, "Failed")["message"].as_str().unwrap().contains("not what would be done"), "{ended:#}");
    assert!(!scene.unschedulable("n1") && !scene.unschedulable("n2"));
}

trait Judged {
    fn fine(self);
    fn refused(self);
}

impl Judged for Run {
    fn fine(self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    fn refused(self) {
        assert_eq!(self.code, Some(5), "{self:?}");
    }
}
