//! Progress that somebody may watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of work under way, cheap to update from any thread and to read at any time.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The etcd snapshot.
    pub etcd: Track,
    /// The objects.
    pub resources: Track,
}

/// Counters of one line of work.
#[derive(Debug, Clone, Default)]
pub struct Track(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    total_bytes: AtomicU64,
    objects: AtomicU64,
    stored_bytes: AtomicU64,
}

/// The state of a [`Track`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Plain bytes done.
    pub bytes: u64,
    /// Plain bytes to do; 0 while it is not known.
    pub total_bytes: u64,
    /// Objects done.
    pub objects: u64,
    /// Bytes handed to the store.
    pub stored_bytes: u64,
}

impl Track {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            bytes: self.0.bytes.load(Ordering::Relaxed),
            total_bytes: self.0.total_bytes.load(Ordering::Relaxed),
            objects: self.0.objects.load(Ordering::Relaxed),
            stored_bytes: self.0.stored_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_stored(&self, bytes: usize) {
        self.0.stored_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_objects(&self, objects: usize) {
        self.0.objects.fetch_add(objects as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_total(&self, bytes: u64) {
        self.0.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Back to the beginning, as when another member takes over.
    pub(crate) fn reset(&self) {
        for counter in [&self.0.bytes, &self.0.total_bytes, &self.0.objects, &self.0.stored_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
