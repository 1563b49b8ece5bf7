//! Running the official `etcdutl`, which alone knows the layout of each version's data directory.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::version::Minor;
use crate::error::EtcdError;

/// Characters of a program's output that an error carries.
const MESSAGE: usize = 2_000;

/// What to rebuild, and as which member.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The program.
    pub etcdutl: PathBuf,
    /// The snapshot file, its SHA-256 trailer included.
    pub snapshot: PathBuf,
    /// The version that the snapshot is of, as [`crate::SnapshotFacts::minor`] tells it.
    pub minor: Option<Minor>,
    /// The data directory to make. It must not exist.
    pub data_dir: PathBuf,
    /// The member's name.
    pub name: String,
    /// All members of the new cluster, `name=peer-url,...`.
    pub initial_cluster: String,
    /// Tells this cluster from others.
    pub initial_cluster_token: String,
    /// The member's own peer URLs.
    pub initial_advertise_peer_urls: Vec<String>,
    /// What to add to the revision, and mark as compacted, so that watchers notice the restore and list anew; 0 leaves
    /// the revision alone.
    pub bump_revision: u64,
}

/// The version that `etcdutl version` tells.
pub async fn etcdutl_minor(etcdutl: &Path) -> Result<Minor, EtcdError> {
    let output = run(etcdutl, Command::new(etcdutl).arg("version")).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("etcdutl version:"));
    version
        .and_then(|version| version.trim().parse().ok())
        .ok_or_else(|| failed(etcdutl, format!("'version' printed '{}'", tail(&output.stdout))))
}

/// Makes a data directory out of a snapshot by `etcdutl snapshot restore`, and gives the version of `etcdutl`, which is
/// the one that the directory is for.
///
/// A snapshot of an older minor version is fine. One of a newer version is refused: etcdutl 3.6 restores a snapshot of
/// 3.7 without complaint, but etcd 3.6 then does not start from it.
pub async fn rebuild(rebuild: &Rebuild) -> Result<Minor, EtcdError> {
    let etcdutl = etcdutl_minor(&rebuild.etcdutl).await?;
    if let Some(snapshot) = rebuild.minor.filter(|snapshot| *snapshot > etcdutl) {
        return Err(EtcdError::EtcdutlVersion { etcdutl, snapshot });
    }
    let mut command = Command::new(&rebuild.etcdutl);
    command.args(["snapshot", "restore"]).arg(&rebuild.snapshot);
    command.arg("--data-dir").arg(&rebuild.data_dir);
    command.args(["--name", &rebuild.name]);
    command.args(["--initial-cluster", &rebuild.initial_cluster]);
    command.args(["--initial-cluster-token", &rebuild.initial_cluster_token]);
    command.args(["--initial-advertise-peer-urls", &rebuild.initial_advertise_peer_urls.join(",")]);
    if rebuild.bump_revision > 0 {
        command.args(["--bump-revision", &rebuild.bump_revision.to_string(), "--mark-compacted"]);
    }
    run(&rebuild.etcdutl, &mut command).await?;
    Ok(etcdutl)
}

/// Runs a command without input and environment; dropping the future ends it.
async fn run(program: &Path, command: &mut Command) -> Result<Output, EtcdError> {
    let output = command.env_clear().stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|source| EtcdError::Io { action: "run", path: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(failed(program, format!("{}: {}", output.status, tail(&output.stderr))))
}

fn failed(program: &Path, message: String) -> EtcdError {
    EtcdError::Etcdutl { program: program.to_owned(), message }
}

fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    let surplus = text.chars().count().saturating_sub(MESSAGE);
    text.chars().skip(surplus).collect()
}
