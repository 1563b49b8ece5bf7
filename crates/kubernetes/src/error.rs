//! What can go wrong between us and the API server, by what the caller can do about it.

use std::time::Duration;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error of the Kubernetes API or on the way to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig, or the pod's own credentials, cannot be used: correct the configuration.
    #[error("failed to load the configuration for the API server")]
    Config(#[source] BoxError),

    /// No answer, or a connection that broke or stalled: check network, address and certificate, or try again.
    #[error("no answer from the API server {url}")]
    Unreachable {
        /// The address of the API server.
        url: String,
        /// The cause.
        #[source]
        source: BoxError,
    },

    /// 401, or credentials that could not be obtained: log in anew.
    #[error("the API server does not know this identity: {message}")]
    Unauthorized {
        /// What the API server, or the credential plugin, says.
        message: String,
    },

    /// 403: grant the permission.
    #[error("not allowed to {verb} {resource}: {message}")]
    Forbidden {
        /// What was asked for: a resource such as `deployments.apps`, or a path.
        resource: String,
        /// The verb, such as `list`.
        verb: &'static str,
        /// What the API server says; it names the user.
        message: String,
    },

    /// 404: the resource or object is not there, or not any more.
    #[error("{resource} not found: {message}")]
    NotFound {
        /// What was asked for.
        resource: String,
        /// What the API server says.
        message: String,
    },

    /// 410: the snapshot which a continue token stands for was compacted: begin the list again.
    #[error("the list of {resource} has expired: {message}")]
    Expired {
        /// What was listed.
        resource: String,
        /// What the API server says.
        message: String,
    },

    /// 429: come back later.
    #[error("the API server asks to come back later for {resource}: {message}")]
    Throttled {
        /// What was asked for.
        resource: String,
        /// How long the API server wants us to wait.
        retry_after: Option<Duration>,
        /// What the API server says.
        message: String,
    },

    /// Any other status that is not a success.
    #[error("the API server answered {status} {reason} for {resource}: {message}")]
    Server {
        /// What was asked for.
        resource: String,
        /// The HTTP status.
        status: u16,
        /// The machine-readable reason, such as `InternalError`; without one, HTTP's words for the status.
        reason: String,
        /// What the API server says.
        message: String,
    },

    /// An answer that is not what the API promises.
    #[error("the API server's answer for {resource} is not valid")]
    Decode {
        /// What was asked for.
        resource: String,
        /// The cause.
        #[source]
        source: BoxError,
    },

    /// An answer larger than the bound on it.
    #[error("the API server's answer for {resource} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        resource: String,
        /// The bound, in bytes.
        limit: usize,
    },

    /// A list ended without a result, which only a defect of ours brings about.
    #[error("the list of {resource} was interrupted")]
    Interrupted {
        /// What was listed.
        resource: String,
    },
}

impl Error {
    /// Whether the same request may succeed if it is sent again after a while: 429, 5xx, and lost connections.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Throttled { .. } => true,
            // 501 Not Implemented is an answer for good.
            Self::Server { status, .. } => *status >= 500 && *status != 501,
            _ => false,
        }
    }

    pub(crate) fn decode(resource: &str, source: impl Into<BoxError>) -> Self {
        Self::Decode { resource: resource.to_owned(), source: source.into() }
    }
}
