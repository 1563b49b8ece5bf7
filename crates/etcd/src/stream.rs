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
/// bytes are a whole snapshot. Dropping the stream ends the server's read transaction. At most 4 MiB wait here to be
/// read, whatever the size of the database; a slow reader makes the server wait and its database grow.
#[derive(Debug)]
pub struct SnapshotStream {
    messages: Streaming<SnapshotResponse>,
    /// Received already, to find out whether the server is willing.
    first: Option<SnapshotResponse>,
    message_timeout: Duration,
    ended: bool,
    received: Received,
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
        let received = Received::new(endpoint, first.as_ref());
        Self { messages, ended: first.is_none(), first, message_timeout, received }
    }

    /// The member that is streaming.
    pub fn endpoint(&self) -> &str {
        &self.received.endpoint
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.bytes
    }

    /// Bytes of the whole file, as the server announced them.
    pub fn total(&self) -> u64 {
        self.received.total
    }

    /// The next bytes, usually 32 KiB, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EtcdError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(first) = self.first.take() {
            return self.received.accept(first).map(Some);
        }
        match tokio::time::timeout(self.message_timeout, self.messages.message()).await {
            Ok(Ok(Some(message))) => self.received.accept(message).map(Some),
            Ok(Ok(None)) => {
                self.ended = true;
                Ok(None)
            }
            Ok(Err(status)) => Err(self.received.broken(Some(status.into()))),
            Err(_) => Err(EtcdError::Timeout {
                endpoint: self.received.endpoint.clone(),
                operation: "sending the next part of the snapshot",
                after: self.message_timeout,
            }),
        }
    }

    /// The verdict over the whole stream, to be asked once [`SnapshotStream::next`] has given `None`.
    pub fn finish(self) -> Result<SnapshotInfo, EtcdError> {
        if !self.ended {
            return Err(self.received.broken(None));
        }
        self.received.finish()
    }
}

/// The account of what has come.
#[derive(Debug)]
struct Received {
    endpoint: String,
    sha256: TrailingSha256,
    bytes: u64,
    total: u64,
    storage_version: Option<String>,
}

impl Received {
    /// The first message tells how much is to come; it is not accepted yet.
    fn new(endpoint: String, first: Option<&SnapshotResponse>) -> Self {
        let database = first.map_or(0, |first| first.remaining_bytes.saturating_add(first.blob.len() as u64));
        Self {
            endpoint,
            sha256: TrailingSha256::default(),
            bytes: 0,
            total: database.saturating_add(TRAILER as u64),
            storage_version: first.map(|first| first.version.clone()).filter(|version| !version.is_empty()),
        }
    }

    fn accept(&mut self, message: SnapshotResponse) -> Result<Bytes, EtcdError> {
        self.bytes = self.bytes.saturating_add(message.blob.len() as u64);
        // A server whose own copy breaks off would send empty messages for ever.
        let is_stuck = message.blob.is_empty() && message.remaining_bytes > 0;
        if is_stuck || self.bytes > self.total {
            return Err(self.broken(None));
        }
        self.sha256.update(&message.blob);
        Ok(message.blob)
    }

    fn finish(mut self) -> Result<SnapshotInfo, EtcdError> {
        if self.bytes != self.total {
            return Err(self.broken(None));
        }
        let Some(checked) = std::mem::take(&mut self.sha256).finish() else { return Err(self.broken(None)) };
        if checked.actual != checked.announced {
            let (announced, actual) = (checked.announced, checked.actual);
            return Err(EtcdError::StreamChecksum { endpoint: self.endpoint, announced, actual });
        }
        Ok(SnapshotInfo {
            bytes: self.bytes,
            database: checked.actual,
            file: checked.file,
            storage_version: self.storage_version,
        })
    }

    fn broken(&self, source: Option<CallFailure>) -> EtcdError {
        if source.as_ref().is_some_and(CallFailure::is_no_leader) {
            return EtcdError::NoLeader { endpoint: self.endpoint.clone() };
        }
        EtcdError::StreamBroken { endpoint: self.endpoint.clone(), received: self.bytes, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: [&[u8]; 3] = [&[1; 4096], &[2; 4096], &[3; 1024]];

    /// The messages that a server sends for [`DATABASE`].
    fn messages() -> Vec<SnapshotResponse> {
        let mut remaining: u64 = DATABASE.iter().map(|part| part.len() as u64).sum();
        let message = |blob: &[u8], remaining_bytes| SnapshotResponse {
            remaining_bytes,
            blob: Bytes::copy_from_slice(blob),
            version: "3.6.0".to_owned(),
        };
        let mut messages = Vec::new();
        for part in DATABASE {
            remaining -= part.len() as u64;
            messages.push(message(part, remaining));
        }
        messages.push(message(&Digest::of(&DATABASE.concat()).0, 0));
        messages
    }

    fn receive(messages: Vec<SnapshotResponse>) -> Result<SnapshotInfo, EtcdError> {
        let mut received = Received::new("https://one".to_owned(), messages.first());
        for message in messages {
            received.accept(message)?;
        }
        received.finish()
    }

    #[test]
    fn a_whole_stream_is_accepted() {
        let info = receive(messages()).unwrap();
        assert_eq!((info.bytes, info.database), (9216 + 32, Digest::of(&DATABASE.concat())));
        assert_eq!(info.storage_version.as_deref(), Some("3.6.0"));
    }

    #[test]
    fn altered_bytes_are_found() {
        for place in 0..4 {
            let mut messages = messages();
            let mut altered = messages[place].blob.to_vec();
            altered[7] ^= 1;
            messages[place].blob = altered.into();
            let error = receive(messages).unwrap_err();
            assert!(matches!(error, EtcdError::StreamChecksum { .. }), "message {place}: {error:?}");
        }
        let mut swapped = messages();
        swapped.swap(0, 1);
        swapped[0].remaining_bytes = 9216 - 4096;
        assert!(matches!(receive(swapped), Err(EtcdError::StreamChecksum { .. })));
    }

    #[test]
    fn too_little_and_too_much_are_found() {
        for missing in 1..4 {
            let mut messages = messages();
            messages.remove(missing);
            assert!(matches!(receive(messages), Err(EtcdError::StreamBroken { .. })), "message {missing}");
        }
        // The first one tells how much there is, so that only the checksum shows that it is missing.
        assert!(matches!(receive(messages().split_off(1)), Err(EtcdError::StreamChecksum { .. })));
        let mut endless = messages();
        endless.extend(messages());
        assert!(matches!(receive(endless), Err(EtcdError::StreamBroken { received: 13_344, .. })));
        let mut stuck = messages();
        stuck[1].blob = Bytes::new();
        assert!(matches!(receive(stuck), Err(EtcdError::StreamBroken { received: 4096, .. })));
        assert!(matches!(receive(Vec::new()), Err(EtcdError::StreamBroken { .. })));
    }
}
