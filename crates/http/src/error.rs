use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer. Nothing of it has a URL, a token or a header in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file with a URL, a token, headers or an authority cannot be read.
    #[error("'{}' cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What such a file has in it is not that.
    #[error("'{}' {problem}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What it is not.
        problem: &'static str,
    },
    /// The system's certificate authorities are not there, or TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] std::io::Error),
    /// No connection, or it broke.
    #[error("no connection to the target, or it broke")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
}

impl Error {
    /// Whether the same request may be answered later.
    pub fn is_transient(&self) -> bool {
        match self {
            // A Secret that is mounted anew is away for a moment.
            Self::File { .. } | Self::Content { .. } | Self::Connection(_) | Self::Timeout(_) => true,
            Self::Tls(_) => false,
        }
    }
}
