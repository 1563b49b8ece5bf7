//! Errors of recovery, by what the caller can do.

use std::path::PathBuf;

use lifeboat_archive::{ArchiveError, SignatureError};
use lifeboat_etcd::{EtcdError, SnapshotError};
use lifeboat_model::{BackupId, CanonicalError, ClusterName, DocumentError, PartName, PathError};
use lifeboat_store::{KeyError, StoreError};

/// A result of recovery.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an error is: callers choose exit codes and reactions by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something could not be done.
    Failed,
    /// What was asked for makes no sense as it stands.
    Usage,
    /// A signature, a digest or a structure is wrong.
    Integrity,
    /// Not allowed, or refused by a guard.
    Refused,
    /// It is not there.
    NotFound,
}

/// An error of recovery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sealing, opening, signing or a key failed.
    #[error(transparent)]
    Archive(ArchiveError),
    /// etcd failed.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The API server failed.
    #[error(transparent)]
    Kubernetes(#[from] lifeboat_kubernetes::Error),
    /// A process of a drill's control plane.
    #[error(transparent)]
    ControlPlane(#[from] lifeboat_controlplane::Error),
    /// A program that a drill needs is not there in a version that fits.
    #[error("no {name} {wanted} or later in {}{others}", list(looked_in))]
    Program {
        /// The program.
        name: &'static str,
        /// The version that it has to have at least.
        wanted: String,
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
        /// What was found instead, from a colon on; may be empty.
        others: String,
    },
    /// A part of a backup is not what its signed manifest says, or cannot be opened.
    #[error("part '{part}' of backup {backup}")]
    Part {
        /// The backup.
        backup: BackupId,
        /// The part.
        part: PartName,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// A document of the store cannot be believed.
    #[error("'{key}' cannot be trusted")]
    Untrusted {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A document of the store is not valid.
    #[error("'{key}' is not valid")]
    Document {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// A signed document that belongs elsewhere, or contradicts itself.
    #[error("'{key}' {problem}")]
    Mismatch {
        /// Its key.
        key: String,
        /// What does not fit.
        problem: String,
    },
    /// A name that cannot be one in the store.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Content that does not hold together.
    #[error("{0}")]
    Inconsistent(String),
    /// The path of an object is not acceptable.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An object cannot be brought into its canonical form.
    #[error("object '{object}' cannot be compared")]
    Canonical {
        /// The object.
        object: String,
        /// Why.
        #[source]
        source: CanonicalError,
    },
    /// The etcd snapshot is not sound.
    #[error("the etcd snapshot is not sound")]
    Snapshot(#[from] SnapshotError),
    /// The store holds another cluster under this name.
    #[error("the store's '{name}' is cluster {theirs}, and this is cluster {ours}")]
    OtherCluster {
        /// The name.
        name: ClusterName,
        /// The cluster that the store knows by it.
        theirs: String,
        /// The cluster at hand.
        ours: String,
    },
    /// The cluster's identity cannot be learnt.
    #[error(
        "the cluster's id is not known: the API server does not answer, and the store has no record of '{name}' yet"
    )]
    UnknownCluster {
        /// The name.
        name: ClusterName,
        /// Why the API server does not answer.
        #[source]
        source: Option<lifeboat_kubernetes::Error>,
    },
    /// Nothing could be captured at all.
    #[error("nothing could be captured: {0}")]
    NothingCaptured(String),
    /// A backup that may not be committed any more.
    #[error("backup {id} is not committed: {reason}")]
    Superseded {
        /// The backup.
        id: BackupId,
        /// Who was faster.
        reason: String,
    },
    /// No such backup.
    #[error("no backup '{wanted}' of cluster '{cluster}'{}", .hint)]
    NoBackup {
        /// What was asked for.
        wanted: String,
        /// The cluster.
        cluster: ClusterName,
        /// What there is instead, from a comma on; may be empty.
        hint: String,
    },
    /// More than one backup begins like this.
    #[error("'{wanted}' is the beginning of {count} backups: {candidates}")]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        candidates: String,
    },
    /// No such object or resource in the backup.
    #[error("{0}")]
    NoObject(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Usage(String),
    /// A guard says no.
    #[error("{0}")]
    Refused(String),
    /// A local file or folder.
    #[error("cannot {action} '{}'", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A plan or a journal of a restore that is not there.
    #[error("there is no {what} '{}'", .path.display())]
    NoFile {
        /// What it would be.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file that is no plan of a restore, or not any more.
    #[error("'{}' is not a plan: {problem}", .path.display())]
    NoPlan {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A restore that could not be brought to its end; its journal says how far it came.
    #[error("the restore stopped after {done} of {of} objects, as noted in '{}'", .journal.display())]
    Stopped {
        /// Objects that were written.
        done: u64,
        /// Objects that were to be.
        of: u64,
        /// Where what has been done is noted.
        journal: PathBuf,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// Stopped on request. What was begun has been undone.
    #[error("interrupted")]
    Cancelled,
    /// A task of ours ended without a result.
    #[error("'{0}' ended without a result")]
    Lost(&'static str),
}

impl Error {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => store_class(error),
            Self::Archive(error) => archive_class(error),
            Self::Etcd(error) => etcd_class(error),
            Self::Kubernetes(
                lifeboat_kubernetes::Error::Forbidden { .. } | lifeboat_kubernetes::Error::Held { .. },
            )
            | Self::Superseded { .. }
            | Self::Refused(_) => Class::Refused,
            // The signed manifest lists it: that the store lacks it is no matter of what was asked for.
            Self::Part { source, .. } if matches!(**source, Self::Store(StoreError::NotFound { .. })) => {
                Class::Integrity
            }
            Self::Part { source, .. } | Self::Stopped { source, .. } => source.class(),
            Self::Untrusted { .. }
            | Self::Document { .. }
            | Self::Mismatch { .. }
            | Self::Inconsistent(_)
            | Self::NoPlan { .. }
            | Self::Path(_)
            | Self::Canonical { .. }
            | Self::Snapshot(_)
            | Self::OtherCluster { .. } => Class::Integrity,
            Self::NoBackup { .. } | Self::NoObject(_) | Self::NoFile { .. } => Class::NotFound,
            Self::Ambiguous { .. } | Self::Usage(_) | Self::Program { .. } => Class::Usage,
            Self::Kubernetes(_)
            | Self::ControlPlane(_)
            | Self::UnknownCluster { .. }
            | Self::Key(_)
            | Self::NothingCaptured(_)
            | Self::Io { .. }
            | Self::Cancelled
            | Self::Lost(_) => Class::Failed,
        }
    }

    /// Whether nobody knows if what was asked for was done.
    pub fn is_uncertain(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Uncertain { .. }) | Self::Kubernetes(lifeboat_kubernetes::Error::Uncertain { .. })
        )
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn outranked(id: &BackupId, ours: u64, seen: u64) -> Self {
        let reason = format!("a leader of generation {seen} has taken over, and this one is of generation {ours}");
        Self::Superseded { id: id.clone(), reason }
    }

    pub(crate) fn mismatch(key: &impl ToString, problem: impl Into<String>) -> Self {
        Self::Mismatch { key: key.to_string(), problem: problem.into() }
    }
}

impl From<ArchiveError> for Error {
    /// A failure to read from the store, which comes through a sealed part's reader, is one of the store again.
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Io(error) => match error.downcast::<StoreError>() {
                Ok(error) => Self::Store(error),
                Err(error) => Self::Archive(ArchiveError::Io(error)),
            },
            error => Self::Archive(error),
        }
    }
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| format!("'{}'", folder.display())).collect::<Vec<_>>().join(", ")
}

fn store_class(error: &StoreError) -> Class {
    match error {
        StoreError::NotFound { .. } | StoreError::NoSuchBucket { .. } => Class::NotFound,
        StoreError::AccessDenied { .. } | StoreError::BadCredentials { .. } | StoreError::Locked { .. } => {
            Class::Refused
        }
        StoreError::Corrupt { .. } => Class::Integrity,
        _ => Class::Failed,
    }
}

fn archive_class(error: &ArchiveError) -> Class {
    match error {
        ArchiveError::Damaged(_) | ArchiveError::TarPath { .. } => Class::Integrity,
        ArchiveError::WrongIdentity | ArchiveError::IdentityFailed(_) => Class::Refused,
        ArchiveError::NoRecipients
        | ArchiveError::Recipient { .. }
        | ArchiveError::RecipientIsSecret { .. }
        | ArchiveError::Identity { .. }
        | ArchiveError::NoIdentities
        | ArchiveError::KeyTooLarge { .. }
        | ArchiveError::SigningKey { .. }
        | ArchiveError::PasswordNeeded
        | ArchiveError::WrongPassword => Class::Usage,
        _ => Class::Failed,
    }
}

fn etcd_class(error: &EtcdError) -> Class {
    match error {
        EtcdError::Snapshot(_) | EtcdError::StreamChecksum { .. } => Class::Integrity,
        EtcdError::InUse(_) | EtcdError::EtcdutlVersion { .. } => Class::Refused,
        _ => Class::Failed,
    }
}

/// The error and its causes on one line, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
