//! Clusters for tests: a control plane in a temporary folder, of the testbed's programs.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test whose cluster does not start has failed")]

use std::env;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use lifeboat_controlplane::{Binaries, Builder, ControlPlane};
use tempfile::TempDir;

/// What tests of clusters and of their deployment need of the testbed; the S3 servers are others.
const TOOLS: [&str; 10] = [
    "etcd",
    "etcdutl",
    "etcdctl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "helm",
    "promtool",
];

static TESTBED: LazyLock<PathBuf> =
    LazyLock::new(|| env::var_os("LIFEBOAT_TESTBED_BIN").map_or_else(run_testbed, PathBuf::from));

/// The folder with the testbed's programs: `LIFEBOAT_TESTBED_BIN`, or what `scripts/testbed` makes.
pub fn testbed_bin() -> &'static Path {
    &TESTBED
}

fn run_testbed() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join("testbed");
    let output = Command::new(&script).args(TOOLS).stderr(Stdio::inherit()).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim_end().into(),
        Ok(output) => panic!("{} ended with {}", script.display(), output.status),
        Err(e) => panic!("{}: {e}", script.display()),
    }
}

/// The testbed's programs.
pub fn binaries() -> Binaries {
    Binaries::new([testbed_bin()])
}

/// A control plane whose folder goes with it.
#[derive(Debug)]
pub struct Cluster {
    // First, so that the processes end before their folder is deleted.
    control_plane: ControlPlane,
    dir: TempDir,
}

impl Cluster {
    /// etcd and an API server.
    pub async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    /// etcd alone.
    pub async fn start_etcd(members: u16) -> Self {
        Self::start_with(|builder| builder.etcd_only().etcd_members(members)).await
    }

    /// A control plane with options.
    pub async fn start_with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let dir = TempDir::with_prefix("lifeboat-cluster-").unwrap_or_else(|e| panic!("a temporary folder: {e}"));
        let builder = ControlPlane::builder(binaries(), dir.path().join("controlplane"));
        let control_plane = options(builder).start().await.unwrap_or_else(|e| panic!("{e}"));
        Self { control_plane, dir }
    }

    /// A folder for the test's own files.
    pub fn temp(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `kubectl` as the cluster's admin and gives its output.
    pub fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&self.kubeconfig(), args).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.control_plane
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }
}

/// Runs `kubectl` with a kubeconfig: its output, or what it complained of.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(testbed_bin().join("kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(args)
        // Ports come again, and what another cluster served there must not be remembered.
        .env("KUBECACHEDIR", kubeconfig.with_added_extension("cache"))
        .output()
        .map_err(|e| format!("kubectl: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
