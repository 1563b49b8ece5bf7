//! The members of the control plane's etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::Options;
use crate::client::Client;
use crate::pki::{Credentials, Pki};
use crate::{Error, Process, Result};

/// How long a member may take to leave its data in order before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// What a client of etcd needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdAccess {
    /// The client URL of each member, `https://127.0.0.1:PORT`.
    pub endpoints: Vec<String>,
    /// The authority that signed the members' certificates.
    pub ca_file: PathBuf,
    /// The client's certificate.
    pub cert_file: PathBuf,
    /// The client's key.
    pub key_file: PathBuf,
}

/// One member: where it lies, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) process: Option<Process>,
}

impl Member {
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client_port)
    }

    fn peer_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.peer_port)
    }

    /// Starts the member's process; `cluster` is what `--initial-cluster` wants.
    pub(crate) fn spawn(&mut self, options: &Options, pki: &Pki, cluster: &str) -> Result<()> {
        let ca = pki.ca();
        let (cert, key) = (pki.certificate("etcd-server"), pki.key("etcd-server"));
        let mut spec = options
            .process(&self.name, "etcd")?
            .flag("name", &self.name)
            .flag("data-dir", &self.data_dir)
            .flag("listen-client-urls", self.url())
            .flag("advertise-client-urls", self.url())
            .flag("listen-peer-urls", self.peer_url())
            .flag("initial-advertise-peer-urls", self.peer_url())
            .flag("initial-cluster", cluster)
            .arg("--initial-cluster-state=new")
            .arg("--client-cert-auth")
            .flag("trusted-ca-file", &ca)
            .flag("cert-file", &cert)
            .flag("key-file", &key)
            .arg("--peer-client-cert-auth")
            .flag("peer-trusted-ca-file", &ca)
            .flag("peer-cert-file", &cert)
            .flag("peer-key-file", &key);
        if options.unsafe_no_fsync {
            spec = spec.arg("--unsafe-no-fsync");
        }
        if let Some(quota) = options.quota_bytes {
            spec = spec.flag("quota-backend-bytes", quota.to_string());
        }
        self.process = Some(Process::spawn(&spec.args(&options.etcd_args))?);
        Ok(())
    }

    /// Waits until the member answers and has a leader, which is what etcd's `/health` asks.
    pub(crate) async fn wait_ready(&self, pki: &Pki, deadline: Duration) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let (cert, key) = pki.etcd_client();
        let credentials = Credentials { certificate: Pki::read(&cert)?, key: Pki::read(&key)? };
        let client = Client::new("etcd", self.client_port, &Pki::read(&pki.ca())?, &credentials)?;
        let health = || async {
            let answer = client.get("/health").await?;
            if answer.status == 200 && answer.body.contains(r#""health":"true""#) {
                return Ok(());
            }
            Err(client.error("/health", answer.body))
        };
        process.wait_ready(deadline, health).await
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ended().is_none())
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop(GRACE).await;
        }
    }
}

/// Refuses a folder that is no data directory: etcd would take it for a new and empty one.
pub(crate) fn holds_data(dir: &Path) -> Result<()> {
    if dir.join("member").is_dir() {
        return Ok(());
    }
    Err(Error::Invalid(format!("'{}' is no etcd data directory: it has no folder 'member'", dir.display())))
}

/// The value of `--initial-cluster`.
pub(crate) fn initial_cluster(members: &[Member]) -> String {
    members.iter().map(|m| format!("{}={}", m.name, m.peer_url())).collect::<Vec<_>>().join(",")
}
