//! Where journals are kept.

use async_trait::async_trait;

use crate::RunId;

/// A journal that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such run.
    #[error("no run '{0}'")]
    NotFound(RunId),
    /// There is one of this id.
    #[error("there is a run '{0}' already")]
    Exists(RunId),
    /// Another process is at it.
    #[error("run '{0}' is under way in another process")]
    Held(RunId),
    /// Longer than anything that this program writes.
    #[error("the journal of run '{0}' is too long")]
    TooLong(RunId),
    /// It cannot be read or written.
    #[error("{what}")]
    Io {
        /// What was done to which file or object.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where journals are kept: the state directory, or objects of a cluster.
#[async_trait]
pub trait Journals: Send + Sync + std::fmt::Debug {
    /// Begins the journal of a new run, which nobody else can hold until it is dropped.
    ///
    /// # Errors
    /// `Exists`, or when it cannot be made.
    async fn create(&self, run: &RunId) -> Result<Box<dyn JournalFile>, StorageError>;

    /// Takes hold of a journal, and reads it.
    ///
    /// # Errors
    /// `NotFound`, `Held`, `TooLong`, or when it cannot be read.
    async fn open(&self, run: &RunId) -> Result<(Box<dyn JournalFile>, Vec<u8>), StorageError>;

    /// Reads a journal, which somebody may be writing.
    ///
    /// # Errors
    /// `NotFound`, `TooLong`, or when it cannot be read.
    async fn read(&self, run: &RunId) -> Result<Stored, StorageError>;

    /// Takes a key for a run: nobody else can have it until what is answered is dropped, or this process ends.
    ///
    /// # Errors
    /// When nobody can say whether it is free.
    async fn claim(&self, key: &str, run: &RunId) -> Result<Claim, StorageError>;

    /// The runs, oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    async fn list(&self) -> Result<Vec<RunId>, StorageError>;
}

/// Whether a key was free.
pub enum Claim {
    /// It was, and is taken for as long as this lives.
    Taken(Box<dyn std::any::Any + Send + Sync>),
    /// Another run has it.
    Held(RunId),
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken(_) => f.write_str("Taken"),
            Self::Held(run) => f.debug_tuple("Held").field(run).finish(),
        }
    }
}

/// A journal as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes; the last line may be torn.
    pub bytes: Vec<u8>,
    /// Whether somebody is writing it.
    pub held: bool,
}

/// A journal that is held for writing.
#[async_trait]
pub trait JournalFile: Send {
    /// Adds a line. It is durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written; nothing more is then.
    async fn append(&mut self, line: Vec<u8>) -> Result<(), StorageError>;

    /// Cuts what is behind the first `length` bytes, which is a torn line.
    ///
    /// # Errors
    /// When it cannot be cut.
    async fn cut(&mut self, length: u64) -> Result<(), StorageError>;
}
