//! Playbooks from the command line, on a real API server.

mod backups;
mod sealing;

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::Value;

use crate::house;
use crate::support::{Site, turn, until};

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web-looks, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: looks}
subjects: [{kind: ServiceAccount, name: web, namespace: shop}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: looks}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch]}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: "we\u0062"}}
spec: {nodeName: n1, serviceAccountName: web, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
"#;

fn names(cluster: &Cluster, kind: &str) -> String {
    cluster.kubectl(&["get", kind, "-n", "shop", "-o", "name"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_contained_from_the_command_line() {
    let _turn = turn().await;
    let cluster = Cluster::start().await;
    let file = cluster.temp().join("objects.yaml");
    std::fs::write(&file, OBJECTS).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let mut site = Site::directory(&cluster);
    let library = house::root().join("playbooks");
    let library = library.to_str().unwrap();
    let contain = ["contain-pod", "--library", library, "-n", "shop", "-i", "pod=web-1"];
    let with = |verb: &'static [&'static str], more: &'static [&'static str]| [verb, &contain, more].concat();

    // A plan writes nothing, and says what it would.
    let text = site.expect(0, &with(&["playbook", "plan"], &[])).stdout;
    for words in [
        "patch Pod shop/web-1",
        "- metadata.labels.app: web",
        "create NetworkPolicy shop/lifeboat-quarantine-",
        "patch RoleBinding shop/web-looks",
        "nothing owns the pod",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let plan = site.json(0, &with(&["playbook", "plan"], &[]));
    let hash = plan["plan"]["hash"].as_str().unwrap();
    assert!(text.contains(hash), "{text}");
    assert_eq!(names(&cluster, "networkpolicies"), "");
    site.expect(2, &["playbook", "plan", "contain-pod", "--library", library, "-i", "pod=web-1"]);
    site.expect(6, &["playbook", "plan", "no-such", "--library", library]);

    // An alert that means this pod by its name, but another container, would start nothing. One that means it is planned.
    let alert = house::root().join("crates/playbook/testdata/alerts/falco-shell.json");
    let tested = ["event", "test", "--library", library, "-f", alert.to_str().unwrap()];
    let refused = site.expect(5, &tested).stdout;
    assert!(refused.contains("no Pod is what was described"), "{refused}");
    let status = r#"{"status": {"containerStatuses": [{"name": "a", "image": "a", "imageID": "a", "ready": true,
        "restartCount": 0, "containerID": "containerd://3f1b9a7c2d4e5f60718293a4b5c6d7e8"}]}}"#;
    cluster.kubectl(&["patch", "pod", "web-1", "-n", "shop", "--subresource=status", "-p", status]);
    let tested = site.json(0, &tested);
    let playbooks = tested["events"][0]["playbooks"].as_array().unwrap();
    let shell = playbooks.iter().find(|playbook| playbook["playbook"] == "falco-shell").unwrap();
    assert_eq!(shell["plan"]["request"]["trigger"], "shell", "{shell}");
    assert_eq!(shell["plan"]["inputs"]["containerId"], "3f1b9a7c2d4e", "{shell}");
    assert!(shell["plan"]["steps"].to_string().contains("lifeboat-quarantine-"), "{shell}");
    assert_eq!(names(&cluster, "networkpolicies"), "");

    // What is known of the pod is not what it was, and so is the plan.
    site.expect(5, &[&with(&["playbook", "run"], &["--approve"])[..], &[hash]].concat());
    let plan = site.json(0, &with(&["playbook", "plan"], &[]));
    let hash = plan["plan"]["hash"].as_str().unwrap();

    // Nobody is there to be asked, and another plan was agreed to.
    site.expect(5, &with(&["playbook", "run"], &[]));
    let other = "0".repeat(hash.len());
    site.expect(5, &[&with(&["playbook", "run"], &["--approve"])[..], &[&other]].concat());
    assert_eq!(names(&cluster, "networkpolicies"), "");

    // There is no kubelet to ask for logs: that step fails, and the containment goes on.
    let agreed = [&with(&["playbook", "run"], &["--approve"])[..], &[hash]].concat();
    let run = site.json(1, &agreed);
    let outcome = |id: &str| {
        let steps = run["record"]["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == id).unwrap()["outcome"].clone()
    };
    let outcomes = ["find", "objects", "logs", "isolate", "rights"].map(outcome);
    assert_eq!(outcomes, ["success", "success", "failed", "unverified", "success"].map(Value::from), "{run}");
    assert_eq!(run["record"]["plan"]["request"]["requester"], "lifeboat-admin", "{run}");
    assert!(names(&cluster, "networkpolicies").contains("lifeboat-quarantine-"));
    site.expect(0, &["run", "verify", "latest"]);

    // Taken back.
    site.expect(5, &["run", "rollback", "latest"]);
    site.expect(0, &["run", "rollback", "latest", "--yes"]);
    assert_eq!(names(&cluster, "networkpolicies"), "");
    let pod = cluster.kubectl(&["get", "pod", "web-1", "-n", "shop", "-o", "jsonpath={.metadata.labels}"]);
    assert_eq!(pod, r#"{"app":"web"}"#);

    // The role that is printed is enough, and without it the plan says what is missing.
    let role = site.expect(0, &["playbook", "rbac", "contain-pod", "--library", library]).stdout;
    let eve = cluster.kubeconfig_for("eve", &[]).unwrap();
    cluster.kubectl(&["create", "clusterrolebinding", "eve-looks", "--clusterrole=looks", "--user=eve"]);
    let may = |what: &[&str]| kubectl(&eve, &[&["auth", "can-i"], what].concat()).is_ok();
    until("right to look", async || may(&["list", "networkpolicies", "-n", "shop"]).then_some(())).await;
    site.set("KUBECONFIG", eve.to_str().unwrap());
    let text = site.run(&with(&["playbook", "plan"], &[])).stdout;
    assert!(text.contains("not allowed: patch pods in namespace shop") || text.contains("would be refused"), "{text}");
    let file = cluster.temp().join("role.yaml");
    std::fs::write(&file, role).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    cluster.kubectl(&["create", "clusterrolebinding", "eve-acts", "--clusterrole=lifeboat-playbooks", "--user=eve"]);
    cluster.kubectl(&["delete", "clusterrolebinding", "eve-looks"]);
    until("right to act", async || may(&["patch", "pods", "-n", "shop"]).then_some(())).await;
    let text = site.expect(0, &with(&["playbook", "plan"], &[])).stdout;
    assert!(text.contains("asked for by eve") && !text.contains("not allowed"), "{text}");
}
