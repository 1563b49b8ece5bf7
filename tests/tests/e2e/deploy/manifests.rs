//! What is rendered is what is checked in, and an API server takes it.

use std::fs;

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::{ADMISSION, NAMESPACE, NEEDED, apply, chart, find, objects, render, tool};
use crate::house::root;
use crate::program::lifeboat;
use crate::support::turn;

/// The overlays, with whether their pods are within `restricted`.
const OVERLAYS: [(&str, bool); 6] =
    [("kubeadm", false), ("k3s", false), ("rke2", false), ("managed", true), ("aws", true), ("minio", true)];

/// Holds a generated file to what it should be, or writes it.
fn generated(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("LIFEBOAT_TEST_UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        return fs::write(file, wanted).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == wanted, "{path} is not up to date: LIFEBOAT_TEST_UPDATE=1 writes it");
}

/// Lines end where their text does.
fn tidy(manifests: &str) -> String {
    let lines: Vec<&str> = manifests.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

fn rendered_with(values: &str, more: &[&str]) -> String {
    let (chart, values) = (chart(), root().join(values));
    let arguments =
        ["template", "lifeboat", chart.to_str().unwrap(), "--namespace", NAMESPACE, "-f", values.to_str().unwrap()];
    tidy(&tool("helm", &[&arguments, more].concat()).unwrap())
}

#[test]
fn the_base_of_kustomize_is_the_chart() {
    generated("deploy/kustomize/base/rendered.yaml", &rendered_with("deploy/kustomize/base/values.yaml", &[]));
    let only = ["--show-only", "templates/monitoring.yaml"];
    let monitoring = rendered_with("deploy/kustomize/components/monitoring/values.yaml", &only);
    generated("deploy/kustomize/components/monitoring/rendered.yaml", &monitoring);
    let only = ["--show-only", "templates/responder.yaml"];
    let responder = rendered_with("deploy/kustomize/components/responder/values.yaml", &only);
    generated("deploy/kustomize/components/responder/rendered.yaml", &responder);
}

#[test]
fn the_rights_of_each_playbook_are_those_of_its_actions() {
    let names = |folder: &str| {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let library = root().join("playbooks");
    for file in names("playbooks") {
        let name = file.trim_end_matches(".yaml");
        let mut command = lifeboat();
        command.args(["playbook", "rbac", name, "--name", &format!("lifeboat-{name}"), "-o", "yaml", "--library"]);
        let output = command.arg(&library).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        generated(&format!("deploy/helm/lifeboat/files/rbac/{file}"), &String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(names("deploy/helm/lifeboat/files/rbac"), names("playbooks"));
}

#[test]
fn definitions_are_those_of_the_types() {
    let mut all = String::new();
    for definition in lifeboat_daemon::definitions() {
        let name = definition.metadata.name.clone().unwrap();
        let text = tidy(&serde_saphyr::to_string(&definition).unwrap());
        generated(&format!("deploy/helm/lifeboat/crds/{name}.yaml"), &text);
        all.extend(["---\n", &text]);
    }
    generated("deploy/kustomize/base/crds.yaml", &all);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let with = |more: &[&str]| render(&[&NEEDED, more].concat());
    with(&[]).unwrap();
    with(&["config.store.objectLock={\"mode\":\"governance\",\"retain\":\"30d\"}"]).unwrap();
    with(&["config.telemetry.otlp.endpoint=\"https://collector.example:4318\""]).unwrap();
    for (wrong, says) in [
        ("replica=3", "replica"),
        ("replicas=\"two\"", "replicas"),
        ("image.digest=\"latest\"", "digest"),
        ("config.store.s4={}", "s4"),
        ("config.kind=\"Config\"", "kind"),
        ("config.store={\"s3\":{},\"directory\":{}}", "store"),
        ("serviceAccount.webIdentity.roleArn=\"lifeboat\"", "roleArn"),
        ("keysSecret=\"\"", "keysSecret"),
        ("rbac.restores.enabled=true", "rbac.restores.rules"),
        ("playbooks.enabled=true", "playbooks.library"),
        ("playbooks={\"enabled\":true,\"library\":[\"not-there\"]}", "not-there"),
    ] {
        let complaint = with(&[wrong]).unwrap_err();
        assert!(complaint.contains(says), "{wrong}: {complaint}");
    }
    for missing in NEEDED {
        let settings: Vec<_> = NEEDED.iter().copied().filter(|setting| *setting != missing).collect();
        assert!(render(&settings).unwrap_err().contains("is needed"), "{missing}");
    }
    let chart = chart();
    let arguments = ["lint", "--strict", chart.to_str().unwrap()];
    let settings: Vec<&str> = NEEDED.iter().flat_map(|setting| ["--set-json", setting]).collect();
    tool("helm", &[&arguments, settings.as_slice()].concat()).unwrap();
}

#[test]
fn rights_are_split() {
    let all = objects(&render(&NEEDED).unwrap());
    let reads = all.iter().find(|object| object["kind"] == "ClusterRole").unwrap();
    for rule in reads["rules"].as_array().unwrap() {
        for verb in rule["verbs"].as_array().unwrap() {
            assert!(verb == "list" || verb == "get", "{rule}");
        }
    }
    let role = find(&all, "Role");
    let secrets = |role: &Value| {
        role["rules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|rule| rule["resources"].as_array().unwrap().contains(&json!("secrets")))
    };
    assert!(!secrets(role), "identities are read for restores alone");
    let rules = "rbac.restores={\"enabled\":true,\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\
        \"verbs\":[\"create\"]}]}";
    let restoring = objects(&render(&[NEEDED.as_slice(), &[rules]].concat()).unwrap());
    assert!(secrets(find(&restoring, "Role")));
    needed(find(&restoring, "Role"), lifeboat_daemon::PERMISSIONS);

    // The responder is somebody else: what it may do changes nothing of the daemon, and it reads no Secret by itself.
    let playbooks = "playbooks={\"enabled\":true,\"library\":[\"contain-node\"]}";
    let both = objects(&render(&[NEEDED.as_slice(), &[playbooks]].concat()).unwrap());
    let is_ours = |object: &&Value| object["metadata"]["name"].as_str().unwrap().starts_with("lifeboat-playbooks");
    let others: Vec<&Value> = both.iter().filter(|object| !is_ours(object)).collect();
    assert_eq!(others, all.iter().collect::<Vec<_>>());
    let ours: Vec<&Value> = both.iter().filter(is_ours).collect();
    let role = ours.iter().find(|object| object["kind"] == "Role").unwrap();
    needed(role, lifeboat_daemon::RESPONDER_PERMISSIONS);
    let account = ours.iter().find(|object| object["kind"] == "ServiceAccount").unwrap();
    for binding in ours.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding")) {
        assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
    }
}

/// What the controllers say they need, and no more, but for the lease.
fn needed(role: &Value, permissions: &[lifeboat_daemon::Permission]) {
    let by_resource = |(group, resource, _): &(String, String, Value)| format!("{group}/{resource}");
    let mut given = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for (group, resource) in pairs(rule) {
            if group != "coordination.k8s.io" {
                given.push((group, resource, rule["verbs"].clone()));
            }
        }
    }
    let mut needed: Vec<_> = permissions
        .iter()
        .map(|permission| (permission.group.to_owned(), permission.resource.to_owned(), json!(permission.verbs)))
        .collect();
    given.sort_by_key(by_resource);
    needed.sort_by_key(by_resource);
    assert_eq!(given, needed);
}

/// Each group with each resource of a rule.
pub(super) fn pairs(rule: &Value) -> Vec<(String, String)> {
    let texts = |name: &str| -> Vec<String> {
        rule[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let resources = texts("resources");
    texts("apiGroups")
        .into_iter()
        .flat_map(|group| resources.iter().map(move |resource| (group.clone(), resource.clone())))
        .collect()
}

/// A pod as the Deployment would make it.
fn pod(manifests: &[Value], name: &str) -> Value {
    let template = &find(manifests, "Deployment")["spec"]["template"];
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = NAMESPACE.into();
    pod
}

/// Asks the API server for that pod, without making it.
fn admitted(cluster: &Cluster, pod: &Value) -> Result<String, String> {
    let file = cluster.temp().join("pod.json");
    fs::write(&file, pod.to_string()).unwrap();
    kubectl(&cluster.kubeconfig(), &["create", "--dry-run=server", "-f", file.to_str().unwrap()])
}

fn enforce(cluster: &Cluster, level: &str) {
    let label = format!("pod-security.kubernetes.io/enforce={level}");
    cluster.kubectl(&["label", "--overwrite", "namespace", NAMESPACE, &label]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_the_chart_and_every_overlay() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(|builder| builder.api_server_arg(ADMISSION)).await;
    let kustomize = |overlay: &str| {
        let folder = root().join("deploy/kustomize").join(overlay);
        tool("kubectl", &["kustomize", folder.to_str().unwrap()]).unwrap_or_else(|error| panic!("{overlay}: {error}"))
    };
    let base = kustomize("base");
    for definition in objects(&base).iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        apply(&cluster, &definition.to_string(), &[]);
        let name = format!("crd/{}", definition["metadata"]["name"].as_str().unwrap());
        cluster.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"]);
    }
    apply(&cluster, &base, &[]);
    for (overlay, restricted) in OVERLAYS {
        let manifests = kustomize(&format!("overlays/{overlay}"));
        apply(&cluster, &manifests, &["--dry-run=server"]);
        apply(&cluster, &manifests, &[]);
        let all = objects(&manifests);
        let pod = pod(&all, overlay);
        admitted(&cluster, &pod).unwrap_or_else(|error| panic!("{overlay}: {error}"));
        let why = find(&all, "Namespace")["metadata"]["annotations"]["lifeboat.dev/why-privileged"].is_string();
        assert_eq!(why, !restricted, "{overlay}");
        for level in ["restricted", "baseline"] {
            enforce(&cluster, level);
            let answer = admitted(&cluster, &pod);
            assert_eq!(answer.is_ok(), restricted, "{overlay}, {level}: {answer:?}");
            assert!(answer.is_ok() || answer.unwrap_err().contains("violates PodSecurity"));
        }
        names_fit(&all);
    }
    chart_is_taken(&cluster);
}

/// What the Deployment mounts by name and is not left to whoever installs it is among the objects.
fn names_fit(all: &[Value]) {
    let config = find(all, "ConfigMap")["metadata"]["name"].clone();
    let volumes = find(all, "Deployment")["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "config").unwrap();
    assert_eq!(volume["configMap"]["name"], config);
}

/// The chart with everything on, in a namespace that enforces `restricted`.
fn chart_is_taken(cluster: &Cluster) {
    enforce(cluster, "restricted");
    let everything = [
        "etcd.secretName=\"lifeboat-etcd\"",
        "storeCredentialsSecret=\"lifeboat-store\"",
        "notifySecret=\"lifeboat-notify\"",
        "caConfigMap=\"lifeboat-ca\"",
        "serviceAccount.webIdentity.roleArn=\"arn:aws:iam::111122223333:role/lifeboat\"",
        "rbac.responder.create=true",
        "playbooks={\"enabled\":true,\"library\":[\"contain-pod\"]}",
        "monitoring={\"podMonitor\":{\"enabled\":true},\"rules\":{\"enabled\":true},\"dashboard\":{\"enabled\":true}}",
    ];
    let manifests = render(&[NEEDED.as_slice(), &everything].concat()).unwrap();
    let (operators, all): (Vec<Value>, Vec<Value>) =
        objects(&manifests).into_iter().partition(|object| object["apiVersion"] == "monitoring.coreos.com/v1");
    assert_eq!(operators.len(), 2);
    let rules = operators.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let file = cluster.temp().join("rules.json");
    fs::write(&file, rules["spec"].to_string()).unwrap();
    tool("promtool", &["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()]).unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
    apply(cluster, &list.to_string(), &["--dry-run=server"]);
    apply(cluster, &list.to_string(), &[]);
    let (playbooks, others): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|object| object["metadata"]["name"] == "lifeboat-playbooks");
    for (all, name) in [(others, "chart"), (playbooks, "playbooks")] {
        admitted(cluster, &pod(&all, name)).unwrap();
    }

    // With the node's certificates the same refusal as of the overlays.
    let host = render(&[NEEDED.as_slice(), &["etcd.host.enabled=true"]].concat()).unwrap();
    let refused = admitted(cluster, &pod(&objects(&host), "host")).unwrap_err();
    assert!(refused.contains("hostPath") && refused.contains("violates PodSecurity"), "{refused}");
    enforce(cluster, "privileged");
    admitted(cluster, &pod(&objects(&host), "host")).unwrap();
}
