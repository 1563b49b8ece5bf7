//! The few calls of etcd that a backup and a drill need, written out by hand from `api/etcdserverpb/rpc.proto`: a
//! generated client would need `protoc` on every machine that builds this, and the ready-made ones copy each snapshot
//! message and fix the HTTP/2 windows.

use bytes::Bytes;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// A snapshot message carries 32 KiB (`snapshotSendBufferSize` in etcd's maintenance.go); this leaves ample room.
const MAX_MESSAGE: usize = 4 << 20;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) raft_term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(int64, tag = "3")]
    pub(crate) db_size: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) raft_term: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raft_applied_index: u64,
    #[prost(string, repeated, tag = "8")]
    pub(crate) errors: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(crate) db_size_in_use: i64,
    #[prost(bool, tag = "10")]
    pub(crate) is_learner: bool,
    #[prost(string, tag = "11")]
    pub(crate) storage_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotResponse {
    #[prost(uint64, tag = "2")]
    pub(crate) remaining_bytes: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) blob: Bytes,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HashKvRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HashKvResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(uint32, tag = "2")]
    pub(crate) hash: u32,
    #[prost(int64, tag = "3")]
    pub(crate) compact_revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(bool, tag = "9")]
    count_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberListRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberListResponse {
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<ListedMember>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListedMember {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(bool, tag = "5")]
    pub(crate) is_learner: bool,
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(grpc)
}

pub(crate) async fn status(channel: &Channel) -> Result<StatusResponse, Status> {
    unary(channel, "/etcdserverpb.Maintenance/Status", Request::new(StatusRequest {})).await
}

/// Asked with a leader, so that a member that has lost its own refuses (etcd's `newStreamInterceptor`) instead of handing
/// out an old state.
pub(crate) async fn snapshot(channel: &Channel) -> Result<Streaming<SnapshotResponse>, Status> {
    let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
    let codec = ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
    Ok(ready(channel).await?.server_streaming(with_leader(SnapshotRequest {}), path, codec).await?.into_inner())
}

/// Waits until the member has applied what the cluster had committed when it was asked: a linearizable read (etcd's
/// `linearizableReadNotify`), of a key that nobody has.
pub(crate) async fn catch_up(channel: &Channel) -> Result<(), Status> {
    let nothing = with_leader(RangeRequest { key: vec![0], range_end: Vec::new(), count_only: true });
    let _: RangeResponse = unary(channel, "/etcdserverpb.KV/Range", nothing).await?;
    Ok(())
}

/// A request that a member refuses which has lost its leader.
fn with_leader<Q>(message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// Asks for one answer.
async fn unary<Q, A>(channel: &Channel, path: &'static str, request: Request<Q>) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    Ok(ready(channel).await?.unary(request, path, codec).await?.into_inner())
}

/// The hash of all keys and values at the newest revision.
pub(crate) async fn hash_kv(channel: &Channel) -> Result<HashKvResponse, Status> {
    unary(channel, "/etcdserverpb.Maintenance/HashKV", Request::new(HashKvRequest { revision: 0 })).await
}

/// How many keys there are. The key of one zero byte stands for the first there can be, and for no end.
pub(crate) async fn count(channel: &Channel) -> Result<u64, Status> {
    let everything = RangeRequest { key: vec![0], range_end: vec![0], count_only: true };
    let answer: RangeResponse = unary(channel, "/etcdserverpb.KV/Range", Request::new(everything)).await?;
    Ok(u64::try_from(answer.count).unwrap_or_default())
}

pub(crate) async fn member_list(channel: &Channel) -> Result<MemberListResponse, Status> {
    unary(channel, "/etcdserverpb.Cluster/MemberList", Request::new(MemberListRequest {})).await
}
