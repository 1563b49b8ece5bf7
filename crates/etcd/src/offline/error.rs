//! What can be wrong with a snapshot file.

use lifeboat_model::Digest;

/// Why a snapshot file is not one that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Neither meta page is valid: some other file, or an empty one, or its beginning is damaged.
    #[error("not an etcd snapshot: no valid bbolt meta page in {bytes} bytes")]
    NotBolt {
        /// Bytes of the file.
        bytes: u64,
    },
    /// The end is missing.
    #[error("the snapshot is cut off: {actual} bytes of {expected}")]
    Truncated {
        /// Bytes that the meta page promises, with the trailer if there ought to be one.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// There is more than the meta page promises.
    #[error("the snapshot has {actual} bytes, but its meta page says {expected}")]
    TooLong {
        /// Bytes that the meta page promises, with the trailer.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// No SHA-256 at the end: a file copied out of a data directory, perhaps while etcd was writing it.
    #[error("the file has no SHA-256 at its end: it is copied from a data directory and not a snapshot")]
    NoTrailer,
    /// The bytes are not those that the server sent.
    #[error("the snapshot has SHA-256 {actual}, but its trailer says {announced}")]
    Checksum {
        /// What the trailer holds.
        announced: Digest,
        /// What the bytes before it have.
        actual: Digest,
    },
    /// The database is damaged, although it may be what the server sent.
    #[error("page {page} of the database {problem}")]
    Page {
        /// The page's number.
        page: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A bucket that every etcd database has is missing.
    #[error("the database has no bucket '{0}': it is not etcd's")]
    NoBucket(&'static str),
    /// The bytes are right, but so much of the file is unused pages with old contents that one pass in bounded memory
    /// cannot tell which are in use. `etcdctl defrag` cures it.
    #[error("the database is too fragmented to be checked in one pass: {pages} pages")]
    TooFragmented {
        /// Pages of the database.
        pages: u64,
    },
    /// More pages than are supported (2^32, which is 16 TiB at the usual page size).
    #[error("the database is too large: {pages} pages")]
    TooLarge {
        /// Pages that the meta page promises.
        pages: u64,
    },
}

/// What can be wrong with a page, kept as a number in the page table until it is known whether the page is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Problem {
    NotAPage,
    Elements,
    KeyOrder,
    Flags,
    Bucket,
    NestedBucket,
    Child,
    LongRun,
    OpenRuns,
    Budget,
    OutOfBounds,
    Shared,
    NotARevision,
    RevisionOrder,
    Mixed,
}

impl Problem {
    const ALL: [Self; 15] = [
        Self::NotAPage,
        Self::Elements,
        Self::KeyOrder,
        Self::Flags,
        Self::Bucket,
        Self::NestedBucket,
        Self::Child,
        Self::LongRun,
        Self::OpenRuns,
        Self::Budget,
        Self::OutOfBounds,
        Self::Shared,
        Self::NotARevision,
        Self::RevisionOrder,
        Self::Mixed,
    ];

    pub(super) fn code(self) -> u16 {
        self as u16
    }

    pub(super) fn from_code(code: u16) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::NotAPage)
    }

    pub(super) fn at(self, page: u32, pages: u64) -> SnapshotError {
        let problem = match self {
            Self::Budget | Self::OpenRuns => return SnapshotError::TooFragmented { pages },
            Self::NotAPage => "is in use but is neither a branch nor a leaf",
            Self::Elements => "has elements that do not fit into it",
            Self::KeyOrder => "has keys that are not in order",
            Self::Flags => "has an element of an unknown kind",
            Self::Bucket => "has a bucket that cannot be read",
            Self::NestedBucket => "has a bucket within a bucket",
            Self::Child => "refers to a page that cannot be its child",
            Self::LongRun | Self::OutOfBounds => "lies beyond the end of the database",
            Self::Shared => "is in use twice",
            Self::NotARevision => "has a key in the bucket 'key' that is no revision",
            Self::RevisionOrder => "has revisions older than those before it",
            Self::Mixed => "has a key beside the buckets",
        };
        SnapshotError::Page { page: u64::from(page), problem }
    }
}
