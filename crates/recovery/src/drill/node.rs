//! Tier 3 by etcd: the control plane inside a node of kind gets a data directory that is rebuilt from the snapshot.
//!
//! The node keeps what makes it this node: its certificates, the keys that sign tokens, its kubelet, its network. The
//! control plane is taken down, its data directory is changed, and then etcd and the API server alone are started, so
//! that every object is compared before anything acts on it. What follows from the change is in `settle`.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_model::{FindingCode, parse_yaml};
use serde_json::Value;

use super::account::Account;
use super::etcd::{self, Member, Rebuilt};
use super::kind::{KindCluster, Said, output, words};
use super::objects::{self, Served};
use super::open::Opened;
use super::programs::Programs;
use super::scratch::Scratch;
use super::settle::{self, Systems};
use super::target::Reached;
use super::workloads::POLL;
use super::{Request, checks};
use crate::error::{Error, Result, chain};

/// How long one command in the node may take. Data directories are copied by one.
const COMMAND: Duration = Duration::from_mins(5);
/// How long the control plane and the node may each take until they are ready.
const READY: Duration = Duration::from_mins(3);
/// Where kubelet looks for the pods of the control plane, and where they wait meanwhile.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const ASIDE: &str = "/etc/kubernetes/lifeboat";
/// Where an encryption configuration goes: the API server's pod has this folder.
const ENCRYPTION: &str = "/etc/kubernetes/pki/lifeboat-encryption.yaml";

/// Ends the control plane at once, as its data are thrown away. kubelet goes first, and would otherwise start it again.
const TAKE_DOWN: &str = r#"
systemctl stop kubelet
mkdir -p "$2"
mv "$1"/*.yaml "$2"/
while :; do
  left=
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      etcd | kube-apiserver | kube-controller* | kube-scheduler) left=1; kill -KILL "${process#/proc/}" 2>/dev/null || : ;;
    esac
  done
  [ -n "$left" ] || break
  sleep 0.1
done
rm -rf "$3/member"
"#;

/// A node of kind, as its provider reaches it.
struct Node<'a> {
    kind: &'a KindCluster,
    engine: PathBuf,
    name: String,
}

/// What a node says of its etcd.
struct NodeEtcd {
    member: Member,
    data: String,
}

/// Restores etcd inside the node, compares every object, and waits until what was restored runs.
pub(super) async fn restore(
    account: &mut Account,
    opened: &Opened,
    request: &Request,
    programs: &Programs,
    reached: Reached,
    scratch: &Scratch,
) -> Result<()> {
    let (Some(kind), Some(snapshot)) = (&reached.kind, &opened.snapshot) else { return Ok(()) };
    if !objects::can_decrypt(account, opened, request) {
        return Ok(());
    }
    let found = async {
        let node = Node::of(kind).await?;
        let etcd = node.etcd().await?;
        Ok::<_, String>((node, etcd))
    };
    let found = found.await;
    let said = found.as_ref().map(|(node, _)| format!("node '{}'", node.name)).map_err(Clone::clone);
    account.notes.check("node", FindingCode::ClusterNotCreated, said);
    let Ok((node, etcd)) = found else { return Ok(()) };
    let systems = Systems::of(&reached.cluster).await?;

    let rebuilt = etcd::rebuild_data(account, snapshot, etcd.member, programs, scratch).await?;
    let Some(rebuilt) = rebuilt else {
        account.end_phase("rebuild");
        return Ok(());
    };
    let swapped = node.swap(&rebuilt, &etcd.data, request).await;
    let said = swapped.map(|()| format!("data directory of '{}' exchanged", node.name));
    let swapped = account.notes.check("swap", FindingCode::EtcdNotBooted, said);
    std::fs::remove_dir_all(&rebuilt.data).map_err(Error::io("remove", &rebuilt.data))?;
    let cluster_id = &opened.backup.backup().manifest().cluster_id;
    let served = if swapped { Some(node.served(&reached, cluster_id).await) } else { None };
    account.end_phase("rebuild");
    let Some(served) = served else { return Ok(()) };
    let said = served.as_ref().map(|_| format!("serves cluster {cluster_id}")).map_err(Clone::clone);
    account.notes.check("kube-apiserver", FindingCode::ApiServerNotBooted, said);
    let Ok(cluster) = served else { return Ok(()) };

    let restored = Served {
        cluster: cluster.clone(),
        boot: rebuilt.keys.revision.unsigned_abs(),
        deleted: rebuilt.keys.deleted,
        node: Some(node.name.clone()),
    };
    if !objects::compare(account, opened, restored).await? {
        return Ok(());
    }
    let settled = settle::settle(&cluster, &node.name, &systems).await;
    let settled =
        account.notes.try_check("settle", FindingCode::ObjectNotRestored, settled, settle::Settled::describe)?;
    let Some(settled) = settled else { return Ok(()) };
    settled.warnings().into_iter().for_each(|warning| account.notes.warn(warning));
    let ready = node.complete(&cluster).await;
    if account.notes.check("node-ready", FindingCode::CheckFailed, ready) {
        let reached = Reached { cluster, ..reached };
        return checks::run(account, request, &reached).await;
    }
    account.end_phase("check");
    Ok(())
}

impl<'a> Node<'a> {
    /// The only node of the cluster.
    async fn of(kind: &'a KindCluster) -> Said<Self> {
        let nodes = kind.nodes().await?;
        let [name] = nodes.as_slice() else {
            return Err(format!("etcd is restored into a cluster of one node, and there are {}", nodes.len()));
        };
        Ok(Self { kind, engine: engine(kind.environment())?, name: name.clone() })
    }

    /// Runs a script in the node.
    async fn run(&self, script: &str, arguments: &[&str], input: &[u8]) -> Said<String> {
        let mut words = words(["exec", "-i"]);
        words.extend([self.name.as_str(), "sh", "-euc", script, "sh"].map(Into::into));
        words.extend(arguments.iter().map(Into::into));
        output(&self.engine, &words, self.kind.environment(), input, COMMAND).await
    }

    async fn read(&self, path: &str) -> Said<String> {
        self.run(r#"cat "$1""#, &[path], &[]).await
    }

    async fn write(&self, path: &str, content: &[u8]) -> Said<()> {
        self.run(r#"umask 077; cat > "$1""#, &[path], content).await.map(|_| ())
    }

    async fn etcd(&self) -> Said<NodeEtcd> {
        let manifest = self.read(&format!("{MANIFESTS}/etcd.yaml")).await?;
        let flag = |name: &str| {
            let value = manifest.lines().find_map(|line| line.trim().strip_prefix(&format!("- --{name}=")));
            let value = value.filter(|value| !value.contains(',')).map(str::to_owned);
            value.ok_or_else(|| format!("etcd of '{}' has no single --{name}", self.name))
        };
        let member = Member { name: flag("name")?, peer_url: flag("initial-advertise-peer-urls")? };
        Ok(NodeEtcd { member, data: flag("data-dir")? })
    }

    /// Exchanges the data directory, and starts etcd and the API server.
    async fn swap(&self, rebuilt: &Rebuilt, data: &str, request: &Request) -> Said<()> {
        self.run(TAKE_DOWN, &[MANIFESTS, ASIDE, data], &[]).await?;
        let mut copy = words(["cp"]);
        copy.extend([rebuilt.data.join("member").into_os_string(), format!("{}:{data}", self.name).into()]);
        output(&self.engine, &copy, self.kind.environment(), &[], COMMAND).await?;
        let mut more = vec![settle::NO_WEBHOOKS.to_owned()];
        if let Some(config) = &request.encryption_config {
            let content = std::fs::read(config).map_err(|error| format!("'{}': {error}", config.display()))?;
            self.write(ENCRYPTION, &content).await?;
            more.push(format!("--encryption-provider-config={ENCRYPTION}"));
        }
        more.extend(request.api_server_args.iter().cloned());
        let server = self.read(&format!("{ASIDE}/kube-apiserver.yaml")).await?;
        self.write(&format!("{MANIFESTS}/kube-apiserver.yaml"), with_arguments(&server, &more)?.as_bytes()).await?;
        let start = r#"mv "$2/etcd.yaml" "$1"/; rm "$2/kube-apiserver.yaml"; systemctl start kubelet"#;
        self.run(start, &[MANIFESTS, ASIDE], &[]).await.map(|_| ())
    }

    /// The API server, as soon as it serves the cluster of the backup.
    async fn served(&self, reached: &Reached, cluster_id: &str) -> Said<Cluster> {
        let kubeconfig = self.become_admin().await?;
        let options =
            ConnectOptions { kubeconfig: Some(kubeconfig), retry: objects::RETRY, ..ConnectOptions::default() };
        let cluster = Cluster::connect(options).await.map_err(|error| chain(&error))?;
        let begun = Instant::now();
        loop {
            let problem = match cluster.cluster_id().await {
                Ok(id) if id == cluster_id => return Ok(cluster),
                Ok(id) => format!("it serves cluster {id}"),
                Err(error) => chain(&error),
            };
            if begun.elapsed() > READY {
                let log = self.log("kube-apiserver").await;
                return Err(format!("{} is not there within {READY:?}: {problem}; {log}", reached.cluster.url()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes the drill's kubeconfig one of a user whose rights are in no object of the cluster: those of kind's own user
    /// are in an object that the backup need not have. Nodes before 1.29 have no such file, and kind's user has the rights.
    async fn become_admin(&self) -> Said<PathBuf> {
        let path = self.kind.kubeconfig();
        let own = std::fs::read_to_string(path).map_err(|error| format!("'{}': {error}", path.display()))?;
        let find = "cat /etc/kubernetes/super-admin.conf 2>/dev/null || cat /etc/kubernetes/admin.conf";
        let admin = self.run(find, &[], &[]).await?;
        let config = with_server_of(&admin, &own)?;
        let write = || {
            let mut file =
                std::fs::OpenOptions::new().write(true).truncate(true).create(true).mode(0o600).open(path)?;
            std::io::Write::write_all(&mut file, config.as_bytes())
        };
        write().map_err(|error| format!("'{}': {error}", path.display()))?;
        Ok(path.to_owned())
    }

    /// The end of the newest log of a container.
    async fn log(&self, container: &str) -> String {
        let script = r#"tail -n 5 "$(ls -t /var/log/containers/"$1"*.log | head -n 1)""#;
        self.run(script, &[container], &[]).await.map_or_else(|problem| problem, |lines| lines.trim().to_owned())
    }

    /// Starts the rest of the control plane, and waits until the node is ready.
    async fn complete(&self, cluster: &Cluster) -> Said<String> {
        self.run(r#"mv "$2"/*.yaml "$1"/"#, &[MANIFESTS, ASIDE], &[]).await?;
        let begun = Instant::now();
        loop {
            let problem = match settle::is_ready(cluster, &self.name).await {
                Ok(true) => return Ok(format!("'{}' is ready", self.name)),
                Ok(false) => "its condition Ready is not true".to_owned(),
                Err(error) => chain(&error),
            };
            if begun.elapsed() > READY {
                return Err(format!("'{}' is not ready within {READY:?}: {problem}", self.name));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The program of kind's provider: the one that is asked for, or the first that is there, in kind's order.
///
/// Source: `detectExperimentalProvider` and `DetectNodeProvider` of kind (`pkg/cluster/provider.go`,
/// `pkg/internal/runtime/runtime.go`).
fn engine(environment: &[(String, String)]) -> Said<PathBuf> {
    let variable = |wanted: &str| environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let path = variable("PATH").unwrap_or_default();
    let find = |name: &str| std::env::split_paths(path).map(|dir| dir.join(name)).find(|program| program.is_file());
    let names: &[&str] = match variable("KIND_EXPERIMENTAL_PROVIDER") {
        None | Some("") => &["docker", "nerdctl", "finch", "podman"],
        Some(wanted) => &[wanted],
    };
    names.iter().find_map(|name| find(name)).ok_or_else(|| format!("no program {} in PATH", names.join(" or ")))
}

/// The manifest of the API server's pod with further arguments.
fn with_arguments(manifest: &str, more: &[String]) -> Said<String> {
    const PROGRAM: &str = "- kube-apiserver";
    let (mut lines, mut commands) = (Vec::new(), 0);
    for line in manifest.lines() {
        lines.push(line.to_owned());
        if line.trim() == PROGRAM {
            commands += 1;
            let indent = line.strip_suffix(PROGRAM).unwrap_or_default();
            // What is a string in JSON is one in YAML.
            lines.extend(more.iter().map(|argument| format!("{indent}- {}", Value::from(argument.as_str()))));
        }
    }
    lines.push(String::new());
    if commands == 1 {
        Ok(lines.join("\n"))
    } else {
        Err("the API server's manifest is not as kubeadm writes it".to_owned())
    }
}

/// The kubeconfig `admin` with the server of `own`, as JSON.
fn with_server_of(admin: &str, own: &str) -> Said<String> {
    const SERVER: &str = "/clusters/0/cluster/server";
    let parse = |name: &str, text: &str| parse_yaml::<Value>(name, text).map_err(|error| error.to_string());
    let (mut admin, own) = (parse("super-admin.conf", admin)?, parse("kubeconfig", own)?);
    match (admin.pointer_mut(SERVER), own.pointer(SERVER)) {
        (Some(theirs), Some(ours)) => theirs.clone_from(ours),
        _ => return Err("a kubeconfig names no server".to_owned()),
    }
    Ok(admin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_where_the_command_is() {
        let manifest =
            "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --a=b\n    name: kube-apiserver\n";
        let more = ["--x=\"y: z".to_owned(), "--v=2".to_owned()];
        let wanted = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - \"--x=\\\"y: z\"\n    - \"--v=2\"\n    - --a=b\n    name: kube-apiserver\n";
        assert_eq!(with_arguments(manifest, &more).unwrap(), wanted);
        let parsed: Value = parse_yaml("manifest", wanted).unwrap();
        assert_eq!(parsed["spec"]["containers"][0]["command"][1], "--x=\"y: z");
        assert!(with_arguments("spec: {}\n", &more).is_err());
    }

    #[test]
    fn an_admin_of_the_node_is_reached_from_outside() {
        let config = |server: &str, user: &str| {
            format!("apiVersion: v1\nclusters:\n- cluster:\n    server: {server}\n  name: x\nusers:\n- name: {user}\n")
        };
        let joined =
            with_server_of(&config("https://node:6443", "super"), &config("https://127.0.0.1:7", "kind")).unwrap();
        let joined: Value = serde_json::from_str(&joined).unwrap();
        assert_eq!(joined["clusters"][0]["cluster"]["server"], "https://127.0.0.1:7");
        assert_eq!(joined["users"][0]["name"], "super");
        assert!(with_server_of("{}", &config("x", "y")).is_err());
    }

    #[test]
    fn the_engine_is_the_one_that_kind_takes() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = |variables: &[(&str, &str)]| {
            let path = ("PATH", folder.path().to_str().unwrap());
            let all = [&[path], variables].concat();
            let environment: Vec<_> =
                all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            engine(&environment).map(|program| program.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(chosen(&[]), Err("no program docker or nerdctl or finch or podman in PATH".to_owned()));
        std::fs::write(folder.path().join("podman"), "").unwrap();
        assert_eq!(chosen(&[]).as_deref(), Ok("podman"));
        std::fs::write(folder.path().join("docker"), "").unwrap();
        assert_eq!(chosen(&[]).as_deref(), Ok("docker"));
        assert_eq!(chosen(&[("KIND_EXPERIMENTAL_PROVIDER", "podman")]).as_deref(), Ok("podman"));
        assert!(chosen(&[("KIND_EXPERIMENTAL_PROVIDER", "nerdctl")]).is_err());
    }
}
