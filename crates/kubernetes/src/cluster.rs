//! A connection to one API server.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderValue};
use jiff::Timestamp;
use kube::client::Client;
use serde::Deserialize;

use crate::request::{DOCUMENT, Request, date};
use crate::retry::Retry;
use crate::{Error, config};

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The kubeconfig file; without it, what `KUBECONFIG` names, or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; without it, the current one.
    pub context: Option<String>,
    /// Where neither file nor context is named and no kubeconfig is found, use the service account of the pod that we
    /// run in.
    pub in_cluster: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the API server may stay silent, before and within an answer. The API server itself gives up on a list
    /// after 60 s (`--request-timeout` of kube-apiserver).
    pub stall_timeout: Duration,
    /// Trying again, for discovery, lists, and reading and writing objects. Everything else is asked once.
    pub retry: Retry,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            in_cluster: true,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(70),
            retry: Retry::default(),
        }
    }
}

/// An API server, and who we are to it. Clones share their connections.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) stall_timeout: Duration,
    pub(crate) retry: Retry,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Loads the configuration and prepares a client; the API server is first asked by the first request.
    ///
    /// Where the process has no default for rustls' cryptography yet, it becomes ring: kube takes the process' default,
    /// and rustls has none of its own when other crates have brought in a second one.
    pub async fn connect(options: ConnectOptions) -> Result<Self, Error> {
        let mut config = config::load(&options).await?;
        config.connect_timeout = Some(options.connect_timeout);
        // Silence is bounded for each request; a bound on reads would also count a pooled connection's idle time.
        config.read_timeout = None;
        config.default_retry = false;
        // Packing a list costs the API server more time than sending it as it is.
        config.headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error says that another thread was quicker, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let url = config.cluster_url.to_string();
        let client = config::client(config).await?;
        Ok(Self { client, url, stall_timeout: options.stall_timeout, retry: options.retry })
    }

    /// The address of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client, for what this crate does not offer.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The UID of the namespace `kube-system`, which stands for the identity of the cluster: it is made once, lives
    /// as long as the cluster's etcd data, and comes back with it.
    pub async fn cluster_id(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Namespace {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let namespace: Namespace =
            self.get_json("/api/v1/namespaces/kube-system", "namespaces kube-system", "get").await?;
        Ok(namespace.metadata.uid)
    }

    /// The API server's `gitVersion`, such as `v1.36.3`.
    pub async fn version(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        Ok(self.get_json::<Version>("/version", "/version", "get").await?.git_version)
    }

    /// The API server's clock, in whole seconds, from the `Date` of an answer.
    pub async fn server_time(&self) -> Result<Timestamp, Error> {
        let answer = self.send(Request::get("/version", "/version", "get"), DOCUMENT).await?;
        date(&answer.headers).ok_or_else(|| Error::decode("/version", "the answer has no date"))
    }

    async fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        resource: &str,
        verb: &'static str,
    ) -> Result<T, Error> {
        let answer = self.send(Request::get(path, resource, verb), DOCUMENT).await?;
        serde_json::from_slice(&answer.body).map_err(|source| Error::decode(resource, source))
    }
}
