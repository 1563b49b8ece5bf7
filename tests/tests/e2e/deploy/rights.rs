//! The daemon, with the token of the chart's ServiceAccount, does its work, and uses every right that the chart gives it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use lifeboat_controlplane::free_port;
use lifeboat_model::parse_yaml;
use lifeboat_tests::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::manifests::pairs;
use super::{ADMISSION, NAMESPACE, apply, find, objects, render, tool};
use crate::house::{read, root};
use crate::support::{Site, apply as create, shop, turn, until};

const ACCOUNT: &str = "lifeboat";

/// A control plane that writes down what a ServiceAccount does, and where.
pub(super) async fn audited(account: &str) -> (Cluster, PathBuf, TempDir) {
    let folder = TempDir::with_prefix("lifeboat-audit-").unwrap();
    let (policy, log) = (folder.path().join("policy.json"), folder.path().join("audit.log"));
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let rules = json!([{"level": "Metadata", "users": [user]}, {"level": "None"}]);
    let document =
        json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules});
    fs::write(&policy, document.to_string()).unwrap();
    let options = [
        ADMISSION.to_owned(),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
    ];
    let cluster = Cluster::start_with(|builder| {
        options.into_iter().fold(builder, lifeboat_controlplane::Builder::api_server_arg)
    });
    (cluster.await, log, folder)
}

/// The chart, for that site, with restores allowed.
fn chart(site: &Site) -> Vec<Value> {
    let config: Value = parse_yaml("lifeboat.yaml", &fs::read_to_string(site.path("lifeboat.yaml")).unwrap()).unwrap();
    let store = json!({"path": site.path("store")});
    let settings = [
        "config.cluster.name=\"prod\"".to_owned(),
        format!("config.store.directory={store}"),
        format!("config.encryption.recipients={}", config["encryption"]["recipients"]),
        format!("config.signing.trustedKeys={}", config["signing"]["trustedKeys"]),
        "rbac.restores={\"enabled\":true,\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\"verbs\":[\"get\"]}]}"
            .to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    objects(&render(&settings).unwrap())
}

/// Installs, as the page on installing says.
fn install(cluster: &Cluster, chart: &[Value]) {
    for definition in fs::read_dir(root().join("deploy/helm/lifeboat/crds")).unwrap() {
        let file = definition.unwrap().path();
        cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/schedules.lifeboat.dev", "--timeout=60s"]);
    let namespace: Vec<Value> = objects(&read("deploy/kustomize/base/namespace.yaml"));
    apply(cluster, &namespace[0].to_string(), &[]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": chart});
    apply(cluster, &list.to_string(), &[]);
}

/// A kubeconfig with a token of the ServiceAccount and nothing else.
fn as_account(cluster: &Cluster, site: &Site) -> PathBuf {
    let token = cluster.kubectl(&["create", "token", ACCOUNT, "-n", NAMESPACE, "--duration=1h"]);
    let view = cluster.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = site.path("account.kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// The running daemon, which ends with this value.
struct Daemon {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Daemon {
    fn start(site: &mut Site, chart: &[Value], kubeconfig: &Path) -> Self {
        let config = find(chart, "ConfigMap")["data"]["lifeboat.yaml"].as_str().unwrap();
        fs::write(site.path("daemon.yaml"), config).unwrap();
        let key = site.path("signing.key");
        site.set("KUBECONFIG", kubeconfig.to_str().unwrap());
        site.set("LIFEBOAT_SIGNING_SECRET_KEY_FILE", key.to_str().unwrap());
        let (port, log) = (free_port().unwrap(), site.path("daemon.log"));
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["daemon", "--config", "daemon.yaml", "--listen", &listen, "--log-format", "json"];
        let mut command = site.command(&arguments);
        command.env("TMPDIR", site.path("")).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), port, log }
    }

    /// Status and body of a path; `None` while nobody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits for something, and shows the log where it does not come.
    async fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        for _ in 0..2 {
            for _ in 0..600 {
                if let Some(found) = ask(self) {
                    return found;
                }
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("the daemon ended with {status} before {what}: {}", self.said());
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        }
        panic!("no {what}: {}", self.said());
    }

    /// Ends it as the kubelet does: it gives its lease up and ends well.
    fn stop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let object = cluster.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"]);
    serde_json::from_str::<Value>(&object).unwrap()["status"].clone()
}

fn ask(cluster: &Cluster, kind: &str, name: &str, spec: &Value) {
    let object = json!({"apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    create(cluster, name, &object);
}

/// Asks for a backup by an object and waits for it; gives its id.
async fn take(cluster: &Cluster, daemon: &mut Daemon, name: &str) -> String {
    ask(cluster, "Backup", name, &json!({}));
    let phase = async |daemon: &mut Daemon| {
        daemon
            .until("backup", |_| {
                let status = status(cluster, "backups.lifeboat.dev", name);
                let phase = status["phase"].as_str().unwrap_or_default().to_owned();
                ["Complete", "Partial", "Failed"].contains(&phase.as_str()).then_some(status)
            })
            .await
    };
    let status = phase(daemon).await;
    assert_eq!(status["phase"], "Complete", "{status:#}\n{}", daemon.said());
    assert!(status["objects"].as_u64().is_none_or(|objects| objects > 0), "{status:#}");
    status["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_does_its_work_with_the_charts_rights_and_uses_each_of_them() {
    let _turn = turn().await;
    let (cluster, audit, _folder) = audited(ACCOUNT).await;
    shop(&cluster);
    let mut site = Site::directory(&cluster);
    let chart = chart(&site);
    install(&cluster, &chart);
    // As its admin, before there is a daemon.
    let old = site.create();
    let kubeconfig = as_account(&cluster, &site);
    let mut daemon = Daemon::start(&mut site, &chart, &kubeconfig);
    daemon.until("readiness", |daemon| daemon.get("/readyz").filter(|(status, _)| *status == 200)).await;
    let shown = |id: &str| {
        let all = cluster.kubectl(&["get", "backups.lifeboat.dev", "-n", NAMESPACE, "-o", "name"]);
        all.contains(&id.to_lowercase())
    };
    daemon.until("object of the old backup", |_| shown(&old).then_some(())).await;

    ask(&cluster, "Schedule", "minutely", &json!({"schedule": "* * * * *", "expectedMaxAge": "1h"}));
    let first = take(&cluster, &mut daemon, "before-the-change").await;
    ask(&cluster, "Drill", "blind", &json!({"tier": 0}));
    ask(&cluster, "Restore", "shop", &json!({"identity": {"secretName": "not-there"}}));
    let finished = |kind: &str, name: &str, phases: &[&str]| {
        let status = status(&cluster, kind, name);
        status["phase"].as_str().filter(|phase| phases.contains(phase)).map(|_| ())
    };
    daemon.until("drill", |_| finished("drills.lifeboat.dev", "blind", &["Passed", "NotPassed", "Failed"])).await;
    daemon.until("restore", |_| finished("restores.lifeboat.dev", "shop", &["Failed", "Blocked"])).await;

    // Somebody else removes old backups.
    let pruned = site.expect(0, &["backup", "prune", "--keep-last", "1", "--yes"]);
    assert!(!site.listed().contains(&old), "{pruned:?}");
    let second = take(&cluster, &mut daemon, "after-the-change").await;
    assert_ne!(first, second);
    daemon.until("end of the old backup's object", |_| (!shown(&old)).then_some(())).await;
    daemon
        .until("run of the schedule", |_| {
            let status = status(&cluster, "schedules.lifeboat.dev", "minutely");
            status["lastSuccess"].is_string().then_some(())
        })
        .await;
    metrics(&daemon);
    daemon.stop();
    judge(&daemon, &chart, &audit).await;
    site.verify(&second);
}

/// What is served is what alerts and dashboard ask for.
fn metrics(daemon: &Daemon) {
    let (status, text) = daemon.get("/metrics").unwrap();
    assert_eq!(status, 200);
    for series in [
        "lifeboat_leader{state=\"leader\"} 1",
        "lifeboat_backup_last_success_timestamp_seconds{schedule=\"minutely\"}",
        "lifeboat_schedule_expected_max_age_seconds{schedule=\"minutely\"} 3600",
        "lifeboat_backups_total{schedule=\"_requested\",outcome=\"complete\"} 2",
        "lifeboat_catalog_newest_complete_timestamp_seconds",
        "lifeboat_store_operation_duration_seconds_count{operation=\"put\"}",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
    // Series that come with what did not happen here.
    let absent = [
        "lifeboat_catalog_newest_verified_timestamp_seconds",
        "lifeboat_drill_last_recovery_seconds",
        "lifeboat_notifications_total",
        "lifeboat_store_failures_total",
    ];
    let asked = read("deploy/helm/lifeboat/files/rules.yaml") + &read("deploy/helm/lifeboat/files/dashboard.json");
    let names: BTreeSet<&str> = asked
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)))
        .filter(|word| word.starts_with("lifeboat_"))
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("\n{name}")) || absent.contains(&name), "{name} is not in\n{text}");
    }
    dashboard();
}

/// Every expression of the dashboard is one.
fn dashboard() {
    let dashboard: Value = serde_json::from_str(&read("deploy/helm/lifeboat/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let expressions = panels.flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| {
        // As Grafana fills them in.
        let text = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$job", "lifeboat");
        json!({"record": "dashboard:expression", "expr": text})
    });
    let rules: Vec<Value> = expressions.collect();
    assert!(rules.len() > 10);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.json");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    tool("promtool", &["check", "rules", "--lint=none", file.to_str().unwrap()]).unwrap();
}

/// A use of the API that was written down.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) verb: String,
    group: String,
    pub(super) resource: String,
    name: String,
    namespace: String,
    pub(super) status: u64,
}

pub(super) fn used(audit: &Path) -> Vec<Used> {
    let text = fs::read_to_string(audit).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about_objects = events.filter(|event| event["objectRef"].is_object());
    about_objects
        .map(|event| {
            let text = |name: &str| event["objectRef"][name].as_str().unwrap_or_default().to_owned();
            let resource = match event["objectRef"]["subresource"].as_str() {
                Some(subresource) => format!("{}/{subresource}", text("resource")),
                None => text("resource"),
            };
            Used {
                verb: event["verb"].as_str().unwrap().to_owned(),
                group: text("apiGroup"),
                resource,
                name: text("name"),
                namespace: text("namespace"),
                status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            }
        })
        .collect()
}

/// Nothing was refused, and nothing is given that was not used.
async fn judge(daemon: &Daemon, chart: &[Value], audit: &Path) {
    let refused: Vec<Used> = used(audit).into_iter().filter(|used| used.status == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}\n{}", daemon.said());
    let roles = chart.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap();
        // What restores may write is the operator's to say.
        (kind == "Role" || kind == "ClusterRole") && object["metadata"]["name"] != "lifeboat-restore"
    });
    all_used(roles, audit).await;
}

/// Waits until every right of the roles was used.
pub(super) async fn all_used<'a>(roles: impl Iterator<Item = &'a Value>, audit: &Path) {
    let mut rights = Vec::new();
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            for verb in rule["verbs"].as_array().unwrap() {
                for (group, resource) in pairs(rule) {
                    rights.push((
                        role["kind"] == "Role",
                        verb.as_str().unwrap(),
                        group,
                        resource,
                        &rule["resourceNames"],
                    ));
                }
            }
        }
    }
    assert!(rights.len() > 10, "{rights:?}");
    for (namespaced, verb, group, resource, names) in rights {
        let what = format!("use of the right to {verb} {resource} of '{group}'");
        // The log may be a moment behind.
        until(&what, async || {
            used(audit).into_iter().find(|used| {
                used.verb == verb
                    && (group == "*" || used.group == group)
                    && (resource == "*" || used.resource == resource)
                    && (!namespaced || used.namespace == NAMESPACE)
                    && names.as_array().is_none_or(|names| names.iter().any(|name| *name == used.name.as_str()))
            })
        })
        .await;
    }
}
