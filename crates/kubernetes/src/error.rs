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
        /// Whether the request may have reached it: then what it asked for may have been done.
        sent: bool,
    },

    /// 401, or credentials that could not be obtained: log in anew.
    #[error("the API server does not know this identity: {message}")]
    Unauthorized {
        /// What the API server, or the credential plugin, says.
        message: String,
    },

    /// 403, by the API server's authorization: grant the permission.
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

    /// 404 for the resource itself, which the cluster does not serve, or not at this version: define it first, or ask
    /// for another version.
    #[error("the API server does not serve {resource}: {message}")]
    NotServed {
        /// The resource and the version asked for, such as `boats.shop.example.com at v1`.
        resource: String,
        /// What the API server says.
        message: String,
    },

    /// 404 for the namespace that was to have the object: create it first.
    #[error("there is no namespace '{namespace}' for {object}")]
    NoNamespace {
        /// The object.
        object: String,
        /// The namespace.
        namespace: String,
    },

    /// 403, since the namespace is being deleted: wait until it is gone.
    #[error("namespace '{namespace}' is being deleted and takes no {object}")]
    NamespaceTerminating {
        /// The object.
        object: String,
        /// The namespace.
        namespace: String,
    },

    /// 409: an object of this name is there.
    #[error("{object} exists already")]
    AlreadyExists {
        /// The object.
        object: String,
        /// Whether that one is being deleted, so that there will be room for another.
        terminating: bool,
    },

    /// 409: the object is not as the request expects it: read it again.
    #[error("{object} was changed by somebody else: {message}")]
    Conflict {
        /// The object.
        object: String,
        /// What the API server says.
        message: String,
    },

    /// 422, or 400: the object breaks the rules of its resource: correct it.
    #[error("{object} is not valid: {message}")]
    Invalid {
        /// The object.
        object: String,
        /// What the API server says.
        message: String,
        /// The fields that are wrong, where it names them.
        causes: Vec<FieldCause>,
    },

    /// An admission plugin, policy or webhook refuses the object, or the API server will not let this identity give
    /// away rights that it does not have itself: change the object, or what refuses it.
    #[error("{object} is refused: {message}")]
    Denied {
        /// The object.
        object: String,
        /// The admission webhook that refuses it, where it is one.
        webhook: Option<String>,
        /// What the API server says.
        message: String,
    },

    /// A webhook that has to agree to the write could not be asked: bring it back, or remove its configuration.
    #[error("{object} cannot be written while webhook '{webhook}' cannot be called: {message}")]
    WebhookFailed {
        /// The object.
        object: String,
        /// The webhook.
        webhook: String,
        /// What the API server says.
        message: String,
    },

    /// The object is larger than the API server or etcd take.
    #[error("{object} has {bytes} bytes, which is too large: {message}")]
    ObjectTooLarge {
        /// The object.
        object: String,
        /// Its size as sent.
        bytes: usize,
        /// What the API server says.
        message: String,
    },

    /// Whether a write was done is not known, and could not be found out: read the object.
    #[error("it is not known whether the {verb} of {object} was done")]
    Uncertain {
        /// The object.
        object: String,
        /// The verb, such as `create`.
        verb: &'static str,
        /// What happened last.
        #[source]
        source: Box<Self>,
    },

    /// An object did not become what it was waited for.
    #[error("{object} did not become as expected within {} s", within.as_secs())]
    NotReached {
        /// The object.
        object: String,
        /// How long it was waited for.
        within: Duration,
    },

    /// Somebody else holds a lease: wait for them.
    #[error("{lease} is held by '{holder}' for another {} s unless renewed", left.as_secs())]
    Held {
        /// The lease.
        lease: String,
        /// Who holds it.
        holder: String,
        /// When it expires, if it is not renewed.
        left: Duration,
    },

    /// A lease that was ours is so no more: stop what it protects.
    #[error("{lease} was lost: {message}")]
    LeaseLost {
        /// The lease.
        lease: String,
        /// What became of it.
        message: String,
    },

    /// A list ended without a result, which only a defect of ours brings about.
    #[error("the list of {resource} was interrupted")]
    Interrupted {
        /// What was listed.
        resource: String,
    },
}

/// A field of an object that the API server does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldCause {
    /// The field, such as `spec.ports[0].nodePort`; empty where it is the whole object.
    pub field: String,
    /// What kind of fault it is, such as `FieldValueInvalid`.
    pub reason: String,
    /// What the API server says.
    pub message: String,
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

    /// Whether a request that ended so may have been done all the same.
    pub(crate) fn may_be_done(&self) -> bool {
        match self {
            Self::Unreachable { sent, .. } => *sent,
            Self::Server { status, .. } => *status >= 500,
            Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn decode(resource: &str, source: impl Into<BoxError>) -> Self {
        Self::Decode { resource: resource.to_owned(), source: source.into() }
    }
}
