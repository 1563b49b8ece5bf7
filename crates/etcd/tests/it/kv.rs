//! Writing to etcd: the few calls of `rpc.proto` that filling a database takes.

use std::fs;

use lifeboat_controlplane::EtcdAccess;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(crate) lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Operation {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Txn {
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteRange {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Compaction {
    #[prost(int64, tag = "1")]
    revision: i64,
    #[prost(bool, tag = "2")]
    physical: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrant {
    #[prost(int64, tag = "1")]
    ttl: i64,
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Alarm {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int32, tag = "3")]
    kind: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

/// A client that writes.
pub(crate) struct Writer(Channel);

impl Writer {
    pub(crate) fn new(access: &EtcdAccess, member: usize) -> Self {
        let read = |path| fs::read(path).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&access.ca_file)))
            .identity(Identity::from_pem(read(&access.cert_file), read(&access.key_file)));
        let endpoint = Endpoint::from_shared(access.endpoints[member].clone()).unwrap();
        Self(endpoint.tls_config(tls).unwrap().connect_lazy())
    }

    async fn call<M: prost::Message + Default + 'static>(&self, path: &'static str, message: M) -> i64 {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<M, Answer>::default();
        let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await.unwrap();
        answer.into_inner().header.unwrap_or_default().revision
    }

    /// Writes keys in one transaction and gives its revision.
    pub(crate) async fn put(&self, puts: Vec<Put>) -> i64 {
        let success = puts.into_iter().map(|put| Operation { put: Some(put) }).collect();
        self.call("/etcdserverpb.KV/Txn", Txn { success }).await
    }

    /// Deletes all keys from `key` until before `end`.
    pub(crate) async fn delete(&self, key: &[u8], end: &[u8]) -> i64 {
        let range = DeleteRange { key: key.to_vec(), range_end: end.to_vec() };
        self.call("/etcdserverpb.KV/DeleteRange", range).await
    }

    pub(crate) async fn compact(&self, revision: i64) {
        self.call("/etcdserverpb.KV/Compact", Compaction { revision, physical: true }).await;
    }

    pub(crate) async fn grant_lease(&self, id: i64) {
        self.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrant { ttl: 100_000, id }).await;
    }

    pub(crate) async fn defragment(&self) {
        self.call("/etcdserverpb.Maintenance/Defragment", Empty {}).await;
    }

    /// Raises an alarm: 1 is NOSPACE, 2 is CORRUPT.
    pub(crate) async fn raise_alarm(&self, member_id: u64, kind: i32) {
        self.call("/etcdserverpb.Maintenance/Alarm", Alarm { action: 1, member_id, kind }).await;
    }
}
