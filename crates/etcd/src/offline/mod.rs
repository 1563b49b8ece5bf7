//! Reading a snapshot file without etcd: one pass over the bytes, in any pieces, in little memory.

mod bucket;
#[cfg(test)]
mod craft;
mod error;
mod format;
mod keyspace;
mod pages;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::io;

use lifeboat_model::Digest;

use self::format::{META_END, Meta, PAGE_SIZES};
use self::pages::PageReader;
use crate::restore::Minor;
use crate::trailer::{TRAILER, TrailingSha256};

pub use self::error::SnapshotError;
pub use self::keyspace::{KeySpace, read_keys};

/// What to expect at the end of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer {
    /// The SHA-256 of a snapshot file, to be checked.
    Verify,
    /// The SHA-256 of a snapshot file, which somebody else checks: [`crate::SnapshotStream`] does.
    VerifiedElsewhere,
    /// Nothing: the database file of a data directory.
    Absent,
}

/// What a sound snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Bytes read, the trailer included.
    pub bytes: u64,
    /// SHA-256 of the database, which the trailer confirms; absent unless it was checked here.
    pub sha256: Option<Digest>,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u64,
    /// Pages in use.
    pub live_pages: u64,
    /// The last transaction of the database.
    pub txid: u64,
    /// Entries of all buckets. Before version 3.6, `etcdutl snapshot status` calls this `totalKey`; since then it
    /// counts the distinct keys that exist, which takes memory for each.
    pub keys: u64,
    /// Entries of the bucket `key`: every revision of every key that has not been compacted, deletions included.
    pub key_revisions: u64,
    /// The highest revision in the bucket `key`, as `etcdutl snapshot status` tells it.
    pub revision: i64,
    /// The last raft entry that the database has taken in.
    pub consistent_index: Option<u64>,
    /// The raft term of that entry; servers before 3.5 do not keep it.
    pub term: Option<u64>,
    /// Version of the storage format, such as `3.6.0`; servers before 3.6 do not keep it.
    pub storage_version: Option<String>,
    /// Version that the cluster had agreed on, such as `3.5.0`.
    pub cluster_version: Option<String>,
    /// Members of the cluster.
    pub members: u64,
    /// Alarms raised, which come back with a restore.
    pub alarms: u64,
    /// Leases.
    pub leases: u64,
    /// Whether there are Kubernetes objects.
    pub kubernetes: bool,
    /// What objects are encrypted with, such as `aescbc:v1:key1`: the prefixes of stored values, at most 15. The keys
    /// are not in the snapshot.
    pub encryption: Vec<String>,
}

impl SnapshotFacts {
    /// The minor version of etcd that the snapshot is of, which is that of the `etcdutl` to restore it with.
    pub fn minor(&self) -> Option<Minor> {
        self.storage_version.as_deref().or(self.cluster_version.as_deref())?.parse().ok()
    }
}

/// Checks a snapshot and finds out what is in it, while the bytes pass through.
///
/// Besides the trailing SHA-256, which vouches for the transfer, it checks the database itself, since a server sends a
/// damaged database with a matching checksum: both meta pages, and from the root every page in use, with the bounds of
/// its elements, the order of its keys and of the revisions in the bucket `key`, no page missing, out of bounds or used
/// twice. It does not compare the keys of a page with those of its neighbours in other buckets.
///
/// Memory is 20 bytes a page and 4 a branch's child, so 6 MiB for a database of 1 GiB. Old contents of unused pages add
/// to that, within a bound of 32 MiB and 24 bytes a page; beyond it the result is [`SnapshotError::TooFragmented`].
#[derive(Debug)]
pub struct Inspector {
    trailer: Trailer,
    bytes: u64,
    sha256: TrailingSha256,
    /// The beginning of the file until the meta pages are known, then that of a page that is not complete.
    partial: Vec<u8>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Beginning,
    Pages { meta: Meta, reader: Box<PageReader> },
    NotBolt,
}

/// Both meta pages lie within, whatever the page size.
const BEGINNING: usize = 65536 + META_END;

impl Inspector {
    /// An inspector that has not seen any bytes yet.
    pub fn new(trailer: Trailer) -> Self {
        let (sha256, partial) = Default::default();
        Self { trailer, bytes: 0, sha256, partial, stage: Stage::Beginning }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.trailer == Trailer::Verify {
            self.sha256.update(bytes);
        }
        if matches!(self.stage, Stage::Beginning) {
            let wanted = BEGINNING.saturating_sub(self.partial.len());
            let (now, later) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            self.partial.extend_from_slice(now);
            if self.partial.len() == BEGINNING {
                self.begin();
                self.pages(later);
            }
        } else {
            self.pages(bytes);
        }
    }

    /// Reads the meta pages, and then what has been kept until now.
    fn begin(&mut self) {
        let beginning = std::mem::take(&mut self.partial);
        let Some(meta) = meta(&beginning) else {
            self.stage = Stage::NotBolt;
            return;
        };
        self.stage = Stage::Pages { meta, reader: Box::new(PageReader::new(meta)) };
        self.pages(&beginning);
    }

    fn pages(&mut self, mut bytes: &[u8]) {
        let Stage::Pages { meta, reader } = &mut self.stage else { return };
        let page_size = meta.page_size as usize;
        if !self.partial.is_empty() {
            let missing = page_size - self.partial.len();
            let Some((now, later)) = bytes.split_at_checked(missing) else {
                self.partial.extend_from_slice(bytes);
                return;
            };
            self.partial.extend_from_slice(now);
            reader.read(&self.partial);
            self.partial.clear();
            bytes = later;
        }
        let whole = bytes.chunks_exact(page_size);
        self.partial.extend_from_slice(whole.remainder());
        whole.for_each(|page| reader.read(page));
    }

    /// The verdict over all bytes: first whether they are all there, then the checksum, then the database itself.
    pub fn finish(mut self) -> Result<SnapshotFacts, SnapshotError> {
        if matches!(self.stage, Stage::Beginning) {
            self.begin();
        }
        let Stage::Pages { meta, reader } = self.stage else {
            return Err(SnapshotError::NotBolt { bytes: self.bytes });
        };
        check_length(self.trailer, meta, self.bytes)?;
        let sha256 = self.sha256.finish().filter(|_| self.trailer == Trailer::Verify);
        if let Some(sha256) = sha256
            && sha256.actual != sha256.announced
        {
            return Err(SnapshotError::Checksum { announced: sha256.announced, actual: sha256.actual });
        }
        if meta.pages > u64::from(u32::MAX) {
            return Err(SnapshotError::TooLarge { pages: meta.pages });
        }
        let PageReader { table, prefixes, .. } = *reader;
        let totals = tree::walk(&table, meta.root, meta.pages)?;
        Ok(SnapshotFacts {
            bytes: self.bytes,
            sha256: sha256.map(|checked| checked.actual),
            page_size: meta.page_size,
            pages: meta.pages,
            live_pages: totals.live_pages,
            txid: meta.txid,
            keys: totals.keys,
            key_revisions: totals.key_revisions,
            revision: totals.revision,
            consistent_index: totals.details.consistent_index,
            term: totals.details.term,
            storage_version: totals.details.storage_version,
            cluster_version: totals.details.cluster_version,
            members: totals.members,
            alarms: totals.alarms,
            leases: totals.leases,
            kubernetes: totals.marks.has_kubernetes(),
            encryption: prefixes.named_by(totals.marks),
        })
    }
}

impl io::Write for Inspector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The valid meta page with the highest transaction, as bbolt takes it.
fn meta(beginning: &[u8]) -> Option<Meta> {
    let at = |offset: u32| beginning.get(offset as usize..).and_then(Meta::parse);
    let first = at(0);
    let second = match first {
        Some(first) => at(first.page_size),
        None => PAGE_SIZES.iter().find_map(|size| at(*size).filter(|meta| meta.page_size == *size)),
    };
    let second = second.filter(|second| first.is_none_or(|first| first.page_size == second.page_size));
    [first, second].into_iter().flatten().max_by_key(|meta| meta.txid)
}

/// A snapshot has exactly the pages that its meta page says; the file of a data directory has unused ones after them.
fn check_length(trailer: Trailer, meta: Meta, actual: u64) -> Result<(), SnapshotError> {
    let database = meta.pages.saturating_mul(u64::from(meta.page_size));
    if trailer == Trailer::Absent {
        let expected = database;
        return if actual < expected { Err(SnapshotError::Truncated { expected, actual }) } else { Ok(()) };
    }
    let expected = database.saturating_add(TRAILER as u64);
    if actual >= database && actual.is_multiple_of(u64::from(meta.page_size)) {
        Err(SnapshotError::NoTrailer)
    } else if actual < expected {
        Err(SnapshotError::Truncated { expected, actual })
    } else if actual > expected {
        Err(SnapshotError::TooLong { expected, actual })
    } else {
        Ok(())
    }
}
