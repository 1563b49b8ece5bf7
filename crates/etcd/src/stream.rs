//! A snapshot as it arrives from a member.

use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::Digest;
use tonic::Streaming;

use crate::error::{CallFailure, EtcdError};
use crate::trailer::{TRAILER, TrailingSha256};
use crate::wire::SnapshotResponse;

/// A snapshot being received: exactly the bytes that `etcdctl snapshot save` writes, the trailing SHA-256 included.
///
/// Call [`SnapshotStream::next`] until it gives `None`, then [`SnapshotStream::finish`]; only the latter says that the
/// bytes are a whole snapshot. Dropping the stream ends the server's read transaction. At most 4 MiB are held here,
/// whatever the size of the database; a slow reader makes the server wait and its database grow.
#[derive(Debug)]
pub struct SnapshotStream {
    endpoint: String,
    messages: Streaming<SnapshotResponse>,
    /// Received to find out whether the server is willing.
    first: Option<SnapshotResponse>,
    message_timeout: Duration,
    sha256: TrailingSha256,
    received: u64,
    total: u64,
    storage_version: Option<String>,
    ended: bool,
}

/// What is known of a snapshot that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Bytes of the file, trailer included.
    pub bytes: u64,
    /// SHA-256 of the database: what the trailer holds.
    pub database: Digest,
    /// SHA-256 of the whole file.
    pub file: Digest,
    /// Version of the storage format, such as `3.6.0`. Servers before 3.6 do not tell.
    pub storage_version: Option<String>,
}

impl SnapshotStream {
    pub(crate) fn new(
        endpoint: String,
        first: Option<SnapshotResponse>,
        messages: Streaming<SnapshotResponse>,
        message_timeout: Duration,
    ) -> Self {
        let content = first.as_ref().map_or(0, |first| first.remaining_bytes.saturating_add(first.blob.len() as u64));
        let storage_version = first.as_ref().map(|first| first.version.clone()).filter(|version| !version.is_empty());
        Self {
            endpoint,
            ended: first.is_none(),
            messages,
            first,
            message_timeout,
            sha256: TrailingSha256::default(),
            received: 0,
            total: content.saturating_add(TRAILER as u64),
            storage_version,
        }
    }

    /// The member that is streaming.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of the whole file, as the server announced them.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next bytes, usually 32 KiB, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EtcdError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(first) = self.first.take() {
            return self.accept(first).map(Some);
        }
        match tokio::time::timeout(self.message_timeout, self.messages.message()).await {
            Ok(Ok(Some(message))) => self.accept(message).map(Some),
            Ok(Ok(None)) => {
                self.ended = true;
                Ok(None)
            }
            Ok(Err(status)) => Err(self.broken(Some(status.into()))),
            Err(_) => Err(EtcdError::Timeout {
                endpoint: self.endpoint.clone(),
                operation: "sending the next part of the snapshot",
                after: self.message_timeout,
            }),
        }
    }

    fn accept(&mut self, message: SnapshotResponse) -> Result<Bytes, EtcdError> {
        self.received = self.received.saturating_add(message.blob.len() as u64);
        // A server whose own copy breaks off would send empty messages for ever.
        let is_stuck = message.blob.is_empty() && message.remaining_bytes > 0;
        if is_stuck || self.received > self.total {
            return Err(self.broken(None));
        }
        self.sha256.update(&message.blob);
        Ok(message.blob)
    }

    /// The verdict over the whole stream, to be asked once [`SnapshotStream::next`] has given `None`.
    pub fn finish(mut self) -> Result<SnapshotInfo, EtcdError> {
        if !self.ended || self.received != self.total {
            return Err(self.broken(None));
        }
        let Some(checked) = std::mem::take(&mut self.sha256).finish() else { return Err(self.broken(None)) };
        if checked.actual != checked.announced {
            let (announced, actual) = (checked.announced, checked.actual);
            return Err(EtcdError::StreamChecksum { endpoint: self.endpoint, announced, actual });
        }
        Ok(SnapshotInfo {
            bytes: self.received,
            database: checked.actual,
            file: checked.file,
            storage_version: self.storage_version,
        })
    }

    fn broken(&self, source: Option<CallFailure>) -> EtcdError {
        if source.as_ref().is_some_and(CallFailure::is_no_leader) {
            return EtcdError::NoLeader { endpoint: self.endpoint.clone() };
        }
        EtcdError::StreamBroken { endpoint: self.endpoint.clone(), received: self.received, source }
    }
}
