//! Counting and hashing the stored side of a part while it passes.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifeboat_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::{Damage, Side};

/// Counts and hashes what goes into the sink. After a failed write it refuses all others: age has moved on to its next
/// chunk by then, so that going on would leave a hole that only a reader finds.
pub(crate) struct MeteredWriter<W> {
    sink: W,
    hasher: Sha256,
    bytes: Arc<AtomicU64>,
    failed: bool,
}

impl<W> MeteredWriter<W> {
    /// The writer, and its count: age's writer never shows what it writes to.
    pub(crate) fn new(sink: W) -> (Self, Arc<AtomicU64>) {
        let bytes = Arc::new(AtomicU64::new(0));
        (Self { sink, hasher: Sha256::new(), bytes: Arc::clone(&bytes), failed: false }, bytes)
    }

    pub(crate) fn finish(self) -> (W, Digest) {
        (self.sink, self.hasher.into())
    }
}

impl<W: Write> Write for MeteredWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this part failed"));
        }
        match self.sink.write(bytes) {
            Ok(written) => {
                self.hasher.update(bytes.get(..written).unwrap_or(bytes));
                self.bytes.fetch_add(written as u64, Ordering::Relaxed);
                Ok(written)
            }
            Err(error) => {
                self.failed = error.kind() != io::ErrorKind::Interrupted;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Counts and hashes what comes out of the source, and stops at a limit.
pub(crate) struct MeteredReader<R> {
    source: R,
    meter: Meter,
}

/// The other end of a [`MeteredReader`], which vanishes into age's reader for good.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Mutex<Reading>>);

pub(crate) struct Reading {
    pub(crate) hasher: Sha256,
    pub(crate) bytes: u64,
    /// Bytes that may be read; one more is an error.
    pub(crate) limit: u64,
    /// The source itself failed, so that the part is not to blame.
    pub(crate) source_failed: bool,
}

impl Meter {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> MeteredReader<R> {
    pub(crate) fn new(source: R, limit: u64) -> (Self, Meter) {
        let reading = Reading { hasher: Sha256::new(), bytes: 0, limit, source_failed: false };
        let meter = Meter(Arc::new(Mutex::new(reading)));
        (Self { source, meter: meter.clone() }, meter)
    }
}

impl<R: Read> Read for MeteredReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut reading = self.meter.lock();
        let allowed = usize::try_from(reading.limit - reading.bytes).unwrap_or(usize::MAX);
        let mut probe = [0];
        let at_limit = allowed == 0 && !buffer.is_empty();
        let buffer = if at_limit {
            &mut probe[..]
        } else {
            let wanted = buffer.len().min(allowed);
            buffer.split_at_mut(wanted).0
        };
        match self.source.read(buffer) {
            Ok(0) => Ok(0),
            Ok(_) if at_limit => Err(Damage::TooLong { side: Side::Stored, expected: reading.limit }.into()),
            Ok(read) => {
                reading.hasher.update(buffer.get(..read).unwrap_or(buffer));
                reading.bytes += read as u64;
                Ok(read)
            }
            Err(error) => {
                reading.source_failed |= error.kind() != io::ErrorKind::Interrupted;
                Err(error)
            }
        }
    }
}
