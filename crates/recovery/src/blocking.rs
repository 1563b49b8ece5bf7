//! Between blocking readers and writers, which seal and parse, and the store, which is asynchronous.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use lifeboat_archive::Sealed;
use lifeboat_store::{Body, Key, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::progress::Track;

/// Bytes handed over at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that may wait.
const QUEUE: usize = 4;
/// Bytes fetched at a time when a part is read by ranges from one end to the other.
const READ_AHEAD: u64 = 4 * 1024 * 1024;

enum Message {
    Chunk(Bytes),
    End,
}

/// The writing end of an upload. Unless [`Sink::close`] is called the upload fails, and leaves nothing.
pub(crate) struct Sink {
    queue: mpsc::Sender<Message>,
    buffer: BytesMut,
    track: Track,
}

/// A pair of a blocking writer and the body of an upload.
pub(crate) fn sink(track: Track) -> (Sink, Body) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    (Sink { queue, buffer: BytesMut::with_capacity(CHUNK), track }, Box::pin(SinkBody { receiver, ended: false }))
}

impl Sink {
    fn send(&mut self, message: Message) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended early");
        self.queue.blocking_send(message).map_err(gone)
    }

    fn send_buffer(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        self.track.add_stored(chunk.len());
        self.send(Message::Chunk(chunk))
    }

    /// Marks the end of what was written. Only then is it stored.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.send_buffer()?;
        self.send(Message::End)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.buffer.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() == CHUNK {
            self.send_buffer()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct SinkBody {
    receiver: mpsc::Receiver<Message>,
    ended: bool,
}

impl Stream for SinkBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = std::task::ready!(self.receiver.poll_recv(cx));
        self.ended = !matches!(message, Some(Message::Chunk(_)));
        Poll::Ready(match message {
            Some(Message::Chunk(chunk)) => Some(Ok(chunk)),
            Some(Message::End) => None,
            None => Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the writer has given up"))),
        })
    }
}

/// Reads a stored object back and compares it with what was written.
pub(crate) async fn reread(store: &dyn Store, key: &Key, sealed: &Sealed) -> Result<()> {
    let (length, digest) = lifeboat_store::digest(store, key).await?;
    if length == sealed.stored_bytes && digest == sealed.stored_sha256 {
        return Ok(());
    }
    Err(Error::mismatch(
        key,
        format!(
            "reads back as {length} bytes with SHA-256 {digest}, but {} bytes with SHA-256 {} were written",
            sealed.stored_bytes, sealed.stored_sha256
        ),
    ))
}

/// A stored object as a blocking stream, from its first byte to its last.
pub(crate) struct ObjectReader {
    handle: Handle,
    body: Body,
    chunk: Bytes,
}

impl ObjectReader {
    /// Opens an object. Must be called outside of asynchronous code, on a thread that may block.
    pub(crate) fn open(handle: &Handle, store: &dyn Store, key: &Key) -> Result<Self> {
        let object = handle.block_on(store.get(key))?;
        Ok(Self { handle: handle.clone(), body: object.body, chunk: Bytes::new() })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.body.next()) {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let read = self.chunk.as_ref().read(buffer)?;
        self.chunk.advance(read);
        Ok(read)
    }
}

/// A stored object by ranges: each range that is asked for is one request, and reading on fetches ahead.
pub(crate) struct RangeReader {
    handle: Handle,
    store: Arc<dyn Store>,
    key: Key,
    size: u64,
    position: u64,
    window_start: u64,
    window: Bytes,
    read_ahead: bool,
}

impl RangeReader {
    pub(crate) fn new(handle: Handle, store: Arc<dyn Store>, key: Key, size: u64) -> Self {
        Self { handle, store, key, size, position: 0, window_start: 0, window: Bytes::new(), read_ahead: false }
    }

    /// Whether following ranges are likely to be read too.
    pub(crate) fn set_read_ahead(&mut self, on: bool) {
        self.read_ahead = on;
    }

    fn windowed(&self) -> Option<Bytes> {
        let start = usize::try_from(self.position.checked_sub(self.window_start)?).ok()?;
        (start < self.window.len()).then(|| self.window.slice(start..))
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.windowed().is_none() {
            let wanted = buffer.len() as u64;
            let length = if self.read_ahead { wanted.max(READ_AHEAD) } else { wanted };
            let end = self.position.saturating_add(length).min(self.size);
            let range = self.position..end;
            let fetched = self.handle.block_on(self.store.get_range(&self.key, range));
            self.window = fetched.map_err(|error| io::Error::other(too_short(error)))?;
            self.window_start = self.position;
        }
        let Some(bytes) = self.windowed() else {
            return Ok(0);
        };
        let read = bytes.as_ref().read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            SeekFrom::End(delta) => self.size.checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// A range that the signed size allows and the object does not have: the object is not what was signed.
fn too_short(error: StoreError) -> StoreError {
    match error {
        StoreError::BadRange { key, reason, .. } => StoreError::Corrupt { key, reason },
        error => error,
    }
}

/// Runs blocking work; its panic or loss is an error and not a silence.
pub(crate) async fn run_blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Lost(name))?
}
