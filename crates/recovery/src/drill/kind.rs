//! A cluster of kind that is made for a drill, and deleted after it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifeboat_model::Manifest;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a cluster of kind may take until its node is ready, and until it is deleted.
const CREATE: Duration = Duration::from_mins(5);
const DELETE: Duration = Duration::from_mins(2);
/// How long kind may take to name nodes.
const ASK: Duration = Duration::from_mins(1);
/// Characters of a program's complaint that a finding carries.
const COMPLAINT: usize = 2_000;

/// A result that a finding tells in words.
pub(super) type Said<T> = Result<T, String>;

/// How tier 3 brings a backup into a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Its objects are created by the API server.
    Objects,
    /// etcd of the control plane's node gets a data directory that is rebuilt from its snapshot.
    Etcd,
}

/// How to make a cluster of kind.
#[derive(Debug, Clone)]
pub struct KindOptions {
    /// The program.
    pub program: PathBuf,
    /// The image of its node; without it, kind's own for the version of the backup.
    pub image: Option<String>,
    /// A configuration of kind's.
    pub config: Option<PathBuf>,
    /// The variables that kind and its provider see: `PATH`, and those that the provider needs.
    pub environment: Vec<(String, String)>,
    /// How the backup gets into it.
    pub way: Way,
}

/// A cluster of kind that has to be deleted.
#[derive(Debug, Clone)]
pub(super) struct KindCluster {
    name: String,
    options: KindOptions,
    kubeconfig: PathBuf,
}

/// The cluster of a drill, remembered outside of its work, which may be dropped at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Made(Arc<Mutex<Option<KindCluster>>>);

impl Made {
    pub(super) fn remember(&self, cluster: KindCluster) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
    }

    /// Whoever takes it has to delete it.
    pub(super) fn take(&self) -> Option<KindCluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl KindCluster {
    /// A cluster that is yet to be made.
    pub(super) fn new(name: String, options: KindOptions, kubeconfig: PathBuf) -> Self {
        Self { name, options, kubeconfig }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(super) fn environment(&self) -> &[(String, String)] {
        &self.options.environment
    }

    pub(super) async fn create(&self, manifest: &Manifest) -> Said<()> {
        let version =
            manifest.kubernetes_version.as_deref().map(|version| version.split('+').next().unwrap_or(version));
        let image = self.options.image.clone().or_else(|| Some(format!("kindest/node:{}", version?)));
        let mut arguments = words(["create", "cluster", "--wait", "120s"]);
        arguments.extend(image.into_iter().flat_map(|image| ["--image".into(), image.into()]));
        if let Some(config) = &self.options.config {
            arguments.extend(["--config".into(), config.as_os_str().to_owned()]);
        }
        self.run_with_kubeconfig(arguments, CREATE).await
    }

    /// The names of its nodes.
    pub(super) async fn nodes(&self) -> Said<Vec<String>> {
        let mut arguments = words(["get", "nodes", "--name"]);
        arguments.push((&self.name).into());
        let said = output(&self.options.program, &arguments, &self.options.environment, &[], ASK).await?;
        Ok(said.split_whitespace().map(str::to_owned).collect())
    }

    /// Deletes it, with everything in it.
    pub(super) async fn delete(self) {
        tracing::info!(cluster = self.name, "deleting the drill's cluster");
        if let Err(error) = self.try_delete().await {
            let name = &self.name;
            tracing::error!(error, "the drill's cluster is left: run 'kind delete cluster --name {name}'");
        }
    }

    /// The folder of the drill may be gone, and kind would make it again to take the cluster out of its kubeconfig: it
    /// gets another one.
    async fn try_delete(&self) -> Said<()> {
        let beside = self.kubeconfig.parent().and_then(Path::parent).unwrap_or(Path::new("/tmp"));
        let folder = tempfile::Builder::new().prefix("lifeboat-kind-").tempdir_in(beside).map_err(|e| e.to_string())?;
        let elsewhere = Self { kubeconfig: folder.path().join("kubeconfig"), ..self.clone() };
        elsewhere.run_with_kubeconfig(words(["delete", "cluster"]), DELETE).await
    }

    async fn run_with_kubeconfig(&self, mut arguments: Vec<OsString>, deadline: Duration) -> Said<()> {
        arguments.extend(["--name".into(), (&self.name).into()]);
        arguments.extend(["--kubeconfig".into(), self.kubeconfig.as_os_str().to_owned()]);
        output(&self.options.program, &arguments, &self.options.environment, &[], deadline).await.map(|_| ())
    }
}

/// Words as arguments.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

/// What a program prints that gets `input`; or what it complains of.
pub(super) async fn output(
    program: &Path,
    arguments: &[OsString],
    environment: &[(String, String)],
    input: &[u8],
    deadline: Duration,
) -> Said<String> {
    let name = program.file_name().unwrap_or(OsStr::new("the program")).to_string_lossy();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read it to the end says why.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(deadline, run).await;
    let output = output.map_err(|_| format!("{name} did not end within {deadline:?}"))?.map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let surplus = text.chars().count().saturating_sub(COMPLAINT);
    Err(format!("{name} ended with {}: {}", output.status, text.chars().skip(surplus).collect::<String>().trim()))
}
