//! Endpoints, connections and what each member says of itself.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::error::{CallFailure, EtcdError};
use crate::stream::SnapshotStream;
use crate::wire;

/// Bytes that the server may send ahead of the reader. Also what one snapshot stream can hold in memory.
const WINDOW: u32 = 4 << 20;

const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How to reach an etcd cluster.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// The client URL of each member, `https://host:port` or `http://host:port`.
    pub endpoints: Vec<String>,
    /// Certificates; required by `https` endpoints.
    pub tls: Option<Tls>,
    /// For the connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// For a status call, and for a snapshot up to its first message.
    pub request_timeout: Duration,
    /// For each further message of a snapshot. Only time spent waiting for the server counts.
    pub message_timeout: Duration,
}

impl EtcdOptions {
    /// Options with time-outs of 5 s to connect, 10 s for a call and 60 s for a message of a snapshot.
    pub fn new(endpoints: Vec<String>, tls: Option<Tls>) -> Self {
        Self {
            endpoints,
            tls,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_mins(1),
        }
    }
}

/// PEM files for `https` endpoints.
#[derive(Clone)]
pub struct Tls {
    /// The certificate authorities that the server's certificate must come from.
    pub ca: Vec<u8>,
    /// The client certificate and its key. etcd of a Kubernetes cluster asks for one.
    pub client: Option<ClientCertificate>,
    /// The name in the server's certificate, where it is not the host of the endpoint.
    pub server_name: Option<String>,
}

/// A client certificate, with what chains it to its authority, and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate chain, PEM.
    pub cert: Vec<u8>,
    /// The private key, PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("client", &self.client.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

/// What one endpoint answered to `Maintenance.Status`.
#[derive(Debug)]
pub struct EndpointStatus {
    /// The endpoint as configured.
    pub endpoint: String,
    /// The member's status, or why there is none.
    pub status: Result<MemberStatus, EtcdError>,
}

/// A member's account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Raft id of the member.
    pub member_id: u64,
    /// Raft id of the cluster.
    pub cluster_id: u64,
    /// Version of the server, such as `3.6.16`.
    pub version: String,
    /// Bytes of the database file.
    pub db_size: u64,
    /// Bytes of it that hold data.
    pub db_size_in_use: u64,
    /// The store's revision.
    pub revision: i64,
    /// Raft term.
    pub raft_term: u64,
    /// Raft log entries committed.
    pub raft_index: u64,
    /// Raft log entries applied to the store.
    pub raft_applied_index: u64,
    /// Does not vote, and may lag far behind.
    pub is_learner: bool,
    /// The leader that this member follows, or is; absent when it knows none.
    pub leader: Option<u64>,
    /// Alarms that are raised, of all members.
    pub alarms: Vec<Alarm>,
    /// Errors that the member reports, alarms among them, as it words them.
    pub errors: Vec<String>,
}

impl MemberStatus {
    /// Whether this member is the leader.
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.member_id)
    }
}

/// The content of a member: what two of the same data agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The newest revision.
    pub revision: i64,
    /// The revision up to which history was compacted.
    pub compact_revision: i64,
    /// etcd's own hash of all keys and values at the newest revision (`HashKV`).
    pub hash: u32,
    /// Keys that exist.
    pub keys: u64,
}

/// A member as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMember {
    /// Its raft id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Does not vote.
    pub is_learner: bool,
}

/// An alarm of etcd (`AlarmType` in rpc.proto).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The member that it concerns.
    pub member_id: u64,
    /// What it is about.
    pub kind: AlarmKind,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// The quota is used up: the cluster refuses writes until it is lifted, and again after a restore.
    NoSpace,
    /// The member's data differ from the others'.
    Corrupt,
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        })
    }
}

struct Member {
    endpoint: String,
    channel: Channel,
}

/// The members of an etcd cluster, each with its own connection.
pub struct Cluster {
    members: Vec<Member>,
    request_timeout: Duration,
    message_timeout: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.endpoint)).finish()
    }
}

impl Cluster {
    /// Prepares a connection to each endpoint; they are made when they are first used. Call it within a tokio runtime.
    pub fn connect(options: &EtcdOptions) -> Result<Self, EtcdError> {
        if options.endpoints.is_empty() {
            return Err(EtcdError::NoEndpoints);
        }
        let members = options
            .endpoints
            .iter()
            .map(|endpoint| Ok(Member { endpoint: endpoint.clone(), channel: channel(endpoint, options)? }))
            .collect::<Result<_, EtcdError>>()?;
        Ok(Self { members, request_timeout: options.request_timeout, message_timeout: options.message_timeout })
    }

    /// Asks every endpoint for its status, all at once, and waits no longer than the time-outs.
    pub async fn members(&self) -> Vec<EndpointStatus> {
        join_all(self.members.iter().map(|member| async {
            EndpointStatus { endpoint: member.endpoint.clone(), status: self.status(member).await }
        }))
        .await
    }

    async fn status(&self, member: &Member) -> Result<MemberStatus, EtcdError> {
        let operation = "asking for the status";
        let answer = tokio::time::timeout(self.request_timeout, wire::status(&member.channel)).await;
        let response = answered(&member.endpoint, operation, self.request_timeout, answer)?;
        Ok(MemberStatus::from(response))
    }

    /// Asks the member at `endpoint`, one of the configured ones, what it holds. It should not be written to meanwhile:
    /// these are two questions.
    pub async fn content(&self, endpoint: &str) -> Result<Content, EtcdError> {
        let member = self.member(endpoint)?;
        let both = async { tokio::try_join!(wire::hash_kv(&member.channel), wire::count(&member.channel)) };
        // etcd reads all of its data for this.
        let answer = tokio::time::timeout(self.message_timeout, both).await;
        let (hashed, keys) = answered(endpoint, "asking for the content", self.message_timeout, answer)?;
        Ok(Content {
            revision: hashed.header.unwrap_or_default().revision,
            compact_revision: hashed.compact_revision,
            hash: hashed.hash,
            keys,
        })
    }

    /// The members of the cluster, by the member at `endpoint`.
    pub async fn listed_members(&self, endpoint: &str) -> Result<Vec<ListedMember>, EtcdError> {
        let member = self.member(endpoint)?;
        let answer = tokio::time::timeout(self.request_timeout, wire::member_list(&member.channel)).await;
        let listed = answered(endpoint, "asking for the members", self.request_timeout, answer)?.members.into_iter();
        Ok(listed.map(|m| ListedMember { id: m.id, name: m.name, is_learner: m.is_learner }).collect())
    }

    fn member(&self, endpoint: &str) -> Result<&Member, EtcdError> {
        let found = self.members.iter().find(|member| member.endpoint == endpoint);
        found.ok_or_else(|| EtcdError::Endpoint {
            endpoint: endpoint.to_owned(),
            problem: "is not one of the cluster's",
        })
    }

    /// Starts a snapshot of the member at `endpoint`, one of the configured ones. It has everything that was written
    /// before this was called, by whichever member.
    pub async fn snapshot(&self, endpoint: &str) -> Result<SnapshotStream, EtcdError> {
        let member = self.member(endpoint)?;
        // A refusal may come with the first message only.
        let start = async {
            wire::catch_up(&member.channel).await?;
            let mut messages = wire::snapshot(&member.channel).await?;
            Ok((messages.message().await?, messages))
        };
        let answer = tokio::time::timeout(self.request_timeout, start).await;
        let (first, messages) = answered(endpoint, "starting a snapshot", self.request_timeout, answer)?;
        Ok(SnapshotStream::new(endpoint.to_owned(), first, messages, self.message_timeout))
    }
}

fn answered<T>(
    endpoint: &str,
    operation: &'static str,
    after: Duration,
    answer: Result<Result<T, tonic::Status>, tokio::time::error::Elapsed>,
) -> Result<T, EtcdError> {
    let endpoint = endpoint.to_owned();
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => {
            let source = CallFailure::from(status);
            if source.is_no_leader() {
                return Err(EtcdError::NoLeader { endpoint });
            }
            if source.is_closed() {
                return Err(EtcdError::Closed { endpoint, source });
            }
            Err(EtcdError::Call { endpoint, operation, source })
        }
        Err(_) => Err(EtcdError::Timeout { endpoint, operation, after }),
    }
}

fn channel(url: &str, options: &EtcdOptions) -> Result<Channel, EtcdError> {
    let problem = |problem| EtcdError::Endpoint { endpoint: url.to_owned(), problem };
    let is_https = match url.split_once("://") {
        Some(("https", _)) => true,
        Some(("http", _)) => false,
        _ => return Err(problem("does not begin with https:// or http://")),
    };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| problem("is not a URL"))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(problem("names no host"));
    }
    let mut endpoint = endpoint
        .connect_timeout(options.connect_timeout)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    if is_https {
        let Some(tls) = &options.tls else { return Err(problem("needs TLS certificates")) };
        // An authority without any certificate would be taken for one that trusts nobody.
        if !tls.ca.windows(PEM_CERTIFICATE.len()).any(|text| text == PEM_CERTIFICATE) {
            return Err(problem("needs the certificate of its authority in PEM form"));
        }
        endpoint = endpoint
            .tls_config(tls_config(tls))
            .map_err(|source| EtcdError::Tls { endpoint: url.to_owned(), source })?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some(client) = &tls.client {
        config = config.identity(Identity::from_pem(&client.cert, &client.key));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    config
}

impl From<wire::StatusResponse> for MemberStatus {
    fn from(response: wire::StatusResponse) -> Self {
        let header = response.header.unwrap_or_default();
        Self {
            member_id: header.member_id,
            cluster_id: header.cluster_id,
            version: response.version,
            db_size: u64::try_from(response.db_size).unwrap_or(0),
            db_size_in_use: u64::try_from(response.db_size_in_use).unwrap_or(0),
            revision: header.revision,
            raft_term: response.raft_term,
            raft_index: response.raft_index,
            raft_applied_index: response.raft_applied_index,
            is_learner: response.is_learner,
            leader: (response.leader != 0).then_some(response.leader),
            alarms: response.errors.iter().filter_map(|text| alarm(text)).collect(),
            errors: response.errors,
        }
    }
}

/// An alarm out of a status' errors, where etcd prints it as protobuf text: `memberID:8211f1d0 alarm:NOSPACE`. Asking
/// `Maintenance.Alarm` instead would put an entry into the raft log, and hang without a leader.
fn alarm(text: &str) -> Option<Alarm> {
    let mut member_id = None;
    let mut kind = None;
    for word in text.split_whitespace() {
        match word.split_once(':') {
            Some(("memberID", id)) => member_id = id.parse().ok(),
            Some(("alarm", "NOSPACE")) => kind = Some(AlarmKind::NoSpace),
            Some(("alarm", "CORRUPT")) => kind = Some(AlarmKind::Corrupt),
            _ => {}
        }
    }
    Some(Alarm { member_id: member_id?, kind: kind? })
}
