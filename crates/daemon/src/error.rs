//! Why the daemon ends.

/// What ends the daemon. Failures of backups, stores and servers do not: they are events.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A schedule or setting that makes no sense.
    #[error("{0}")]
    Config(String),
    /// A task that runs as long as the daemon has ended.
    #[error("'{0}' ended, which it never should")]
    Ended(&'static str),
    /// The API server's client cannot be set up.
    #[error(transparent)]
    Kubernetes(#[from] lifeboat_kubernetes::Error),
    /// The address for metrics and health.
    #[error("cannot serve at '{address}'")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}
