//! Alerts that are received, on a real API server, and a process that is killed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{Site, turn, until};

const PODS: usize = 20;
const SECRET: &str = "correct horse";
const BOOK: &str = r#"
apiVersion: lifeboat.dev/v1alpha1
kind: Playbook
metadata: {name: isolate}
spec:
  description: Quarantine the pod of an alert.
  inputs:
    namespace: {type: string, required: true}
    pod: {type: string, required: true}
  triggers:
    - name: shell
      source: falco
      when: event.rule == 'Terminal shell in container'
      inputs: {namespace: "${{ event.target.namespace }}", pod: "${{ event.target.pod }}"}
  guards: {maxTargets: 2, protectedNamespaces: [kube-system]}
  steps:
    - id: find
      uses: target.resolve
      with: {kind: Pod, namespace: "${{ inputs.namespace }}", name: "${{ inputs.pod }}"}
    - id: isolate
      uses: pod.isolate
      with: {target: "${{ steps.find.target }}"}
"#;

/// A receiver that runs, and where.
struct Receiver {
    child: Child,
    address: String,
}

impl Receiver {
    async fn start(site: &Site, number: usize) -> Self {
        let log = site.path(format!("receive-{number}.log"));
        let arguments = [
            "--log-format",
            "json",
            "event",
            "receive",
            "--receivers",
            "receivers.yaml",
            "--library",
            "books",
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            "state",
            "--own-namespace",
            "lifeboat",
        ];
        let mut command = site.command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let address = until("receiver that listens", async || {
            let text = std::fs::read_to_string(&log).unwrap();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut said = lines.filter(|line| line["fields"]["message"] == "alerts are received");
            said.next().map(|line| line["fields"]["address"].as_str().unwrap().to_owned())
        })
        .await;
        Self { child, address }
    }

    fn send(&self, token: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "POST /alerts/falco HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Who is refused may not be listened to to the end.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn alert(namespace: &str, pod: &str) -> String {
    json!({
        "uuid": format!("{namespace}-{pod}"), "rule": "Terminal shell in container", "priority": "Warning",
        "output": "a shell", "output_fields": {"k8s.ns.name": namespace, "k8s.pod.name": pod},
    })
    .to_string()
}

fn policies(cluster: &Cluster) -> usize {
    cluster.kubectl(&["get", "networkpolicies", "-A", "-o", "name"]).lines().count()
}

/// The runs of a site that have ended: the pods that they were for.
fn ended(site: &Site) -> Vec<String> {
    let runs = site.json(0, &["run", "list", "--state-dir", "state"]);
    let mut pods = Vec::new();
    for run in runs["runs"].as_array().unwrap() {
        if run["state"] == "unverified" {
            let id = run["run"].as_str().unwrap();
            let shown = site.json(0, &["run", "show", id, "--state-dir", "state"]);
            pods.push(shown["record"]["plan"]["inputs"]["pod"].as_str().unwrap().to_owned());
        }
    }
    pods.sort();
    pods
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_contained_once_although_the_receiver_is_killed() {
    let _turn = turn().await;
    let cluster = Cluster::start().await;
    let mut objects = String::new();
    for namespace in ["shop", "lifeboat"] {
        writeln!(objects, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}").unwrap();
        writeln!(
            objects,
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {namespace}}}"
        )
        .unwrap();
    }
    let pods: Vec<String> = (0..PODS).map(|number| format!("web-{number:02}")).collect();
    for (namespace, name) in pods.iter().map(|pod| ("shop", pod.as_str())).chain([("lifeboat", "own")]) {
        writeln!(
            objects,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
             spec: {{automountServiceAccountToken: false, containers: [{{name: a, image: example.com/a}}]}}"
        )
        .unwrap();
    }
    let file = cluster.temp().join("objects.yaml");
    std::fs::write(&file, objects).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let site = Site::directory(&cluster);
    std::fs::create_dir(site.path("books")).unwrap();
    std::fs::write(site.path("books/isolate.yaml"), BOOK).unwrap();
    std::fs::write(site.path("token"), SECRET).unwrap();
    let receivers =
        "receivers:\n  - {name: falco, source: falco, authentication: {bearer: {tokenFile: token}}, mode: run}\n";
    std::fs::write(site.path("receivers.yaml"), receivers).unwrap();

    let receiver = Receiver::start(&site, 0).await;
    assert_eq!(receiver.send("wrong", &alert("shop", "web-00")), 401);
    for pod in &pods {
        assert_eq!(receiver.send(SECRET, &alert("shop", pod)), 200);
    }
    receiver.kill();

    let receiver = Receiver::start(&site, 1).await;
    // Sent again, as by a sender that did not hear the answer; of no pod; and of the namespace that nothing is done in.
    for pod in &pods {
        assert_eq!(receiver.send(SECRET, &alert("shop", pod)), 200);
    }
    assert_eq!(receiver.send(SECRET, &alert("shop", "no-such-pod")), 200);
    assert_eq!(receiver.send(SECRET, &alert("lifeboat", "own")), 200);
    let waiting = site.path("state/alerts/waiting");
    until("end of all that waits", async || {
        (std::fs::read_dir(&waiting).unwrap().count() == 0 && ended(&site).len() >= PODS).then_some(())
    })
    .await;
    receiver.kill();
    assert_eq!(ended(&site), pods, "each once");
    assert_eq!(policies(&cluster), PODS);
    let labels = ["get", "pods", "-n", "shop", "-o", "jsonpath={.items[*].metadata.labels.app}"];
    assert_eq!(cluster.kubectl(&labels), "", "every pod lost the labels by which anything finds it");
    let own = ["get", "pod", "own", "-n", "lifeboat", "-o", "jsonpath={.metadata.labels.app}"];
    assert_eq!(cluster.kubectl(&own), "own");
}
