//! The crate's one error type.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::Digest;

use crate::offline::SnapshotError;

/// What went wrong with etcd, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The configuration names no endpoint.
    #[error("no etcd endpoint is given")]
    NoEndpoints,
    /// An endpoint is not an `http://` or `https://` URL, or lacks the TLS material that it needs.
    #[error("etcd endpoint '{endpoint}' {problem}")]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate authority, the client certificate or its key cannot be used.
    #[error("cannot use the TLS certificates for etcd endpoint '{endpoint}'")]
    Tls {
        /// The endpoint that they were meant for.
        endpoint: String,
        /// What the TLS library said.
        #[source]
        source: tonic::transport::Error,
    },
    /// A call was not answered: the member is down, or it refused us, or we refused its certificate.
    #[error("{operation} at etcd endpoint '{endpoint}' failed")]
    Call {
        /// The endpoint that was asked.
        endpoint: String,
        /// What it was asked for.
        operation: &'static str,
        /// What the server or the transport said.
        #[source]
        source: CallFailure,
    },
    /// The connection was closed before an answer came. A server that asks for a client certificate does that when it
    /// is shown none, or one of another authority.
    #[error("etcd endpoint '{endpoint}' closed the connection; perhaps it does not accept the client certificate")]
    Closed {
        /// The endpoint that was asked.
        endpoint: String,
        /// What the transport said.
        #[source]
        source: CallFailure,
    },
    /// No answer came in time.
    #[error("{operation} at etcd endpoint '{endpoint}' gave no answer within {} s", .after.as_secs_f32())]
    Timeout {
        /// The endpoint that was asked.
        endpoint: String,
        /// What it was asked for.
        operation: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The member does not know a leader, so that its state may be old.
    #[error("etcd endpoint '{endpoint}' has no leader")]
    NoLeader {
        /// The endpoint that was asked.
        endpoint: String,
    },
    /// The endpoints belong to different clusters.
    #[error("the etcd endpoints belong to different clusters: {}", describe_clusters(.0))]
    MixedClusters(Vec<(String, u64)>),
    /// Not one member can give a snapshot.
    #[error("no etcd member can give a snapshot: {}", list(.0))]
    NoUsableMember(Vec<Unfit>),
    /// The snapshot stream ended before it was complete. Another member can be tried.
    #[error("the snapshot stream from etcd endpoint '{endpoint}' broke after {received} bytes")]
    StreamBroken {
        /// The endpoint that was streaming.
        endpoint: String,
        /// Bytes received until then.
        received: u64,
        /// What the server or the transport said; absent when the stream simply ended.
        #[source]
        source: Option<CallFailure>,
    },
    /// The snapshot that arrived does not have the SHA-256 that the server sent after it. Another try is worth it.
    #[error("the snapshot from etcd endpoint '{endpoint}' has SHA-256 {actual}, but the server announced {announced}")]
    StreamChecksum {
        /// The endpoint that was streaming.
        endpoint: String,
        /// What the server sent.
        announced: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// A snapshot file or a data directory's database is not sound.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file or folder could not be read or written.
    #[error("cannot {action} '{}'", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `etcdutl` cannot rebuild a snapshot of this etcd version.
    #[error("etcdutl {etcdutl} cannot restore a snapshot of etcd {snapshot}: use etcdutl {snapshot}")]
    EtcdutlVersion {
        /// The version of etcdutl.
        etcdutl: crate::Minor,
        /// The version that wrote the snapshot.
        snapshot: crate::Minor,
    },
    /// `etcdutl` gave an answer that cannot be understood, or failed.
    #[error("'{}' failed: {message}", .program.display())]
    Etcdutl {
        /// The program that was run.
        program: PathBuf,
        /// The end of what it printed.
        message: String,
    },
    /// Two folders cannot change places in one step.
    #[error("cannot exchange '{}' and '{}' in one step; is one a mount point, or are they on different filesystems?",
        .new.display(), .target.display())]
    Exchange {
        /// The new folder.
        new: PathBuf,
        /// The one that it is to replace.
        target: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A running etcd holds the data directory.
    #[error("'{}' is in use by a running etcd", .0.display())]
    InUse(PathBuf),
}

/// Why a member was not taken for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The endpoint that leads to it.
    pub endpoint: String,
    /// The reason, to be read by a person.
    pub reason: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.endpoint, self.reason)
    }
}

/// What the server or the transport answered to a call. Its sources lead to the TLS or system error, if there is one.
#[derive(Clone)]
pub struct CallFailure(tonic::Status);

impl CallFailure {
    pub(crate) fn is_no_leader(&self) -> bool {
        self.0.message() == "etcdserver: no leader"
    }

    /// Whether the connection was closed under the call. The transport words that in several ways, by how far it had
    /// come, and its error types do not tell; what a server answers has no source.
    pub(crate) fn is_closed(&self) -> bool {
        const WORDINGS: [&str; 4] = ["connection closed", "broken pipe", "connection reset", "handshake eof"];
        let text = chain(self).to_lowercase();
        std::error::Error::source(self).is_some() && WORDINGS.iter().any(|wording| text.contains(wording))
    }
}

impl From<tonic::Status> for CallFailure {
    fn from(status: tonic::Status) -> Self {
        Self(status)
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0.message();
        if message.is_empty() { f.write_str(self.0.code().description()) } else { f.write_str(message) }
    }
}

impl fmt::Debug for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for CallFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn list(unfit: &[Unfit]) -> String {
    unfit.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn describe_clusters(members: &[(String, u64)]) -> String {
    members.iter().map(|(endpoint, id)| format!("{endpoint} is of cluster {id:x}")).collect::<Vec<_>>().join(", ")
}
