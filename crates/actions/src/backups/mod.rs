//! Backups as steps of playbooks: taking one, drilling one, bringing objects back from one.

mod create;
mod drill;
mod restore;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lifeboat_archive::Identities;
use lifeboat_model::Digest;
use lifeboat_playbook::{ActionError, Permit, StepContext};
use lifeboat_recovery::{Backup, BackupRef, Catalog, Class, Context, Error, backup, chain};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub(crate) use create::Create;
pub(crate) use drill::Drill;
pub(crate) use restore::Restore;

use crate::api::refused;

/// What is configured of backups, asked for when a step needs it first: a playbook can be checked without any of it, and
/// most are run without.
#[async_trait]
pub trait Backups: Send + Sync + std::fmt::Debug {
    /// The store, the cluster's name in it, and whose signatures are trusted. `cancel` ends what is under way.
    ///
    /// # Errors
    /// `Denied` when nothing is configured, and what to configure; otherwise when the store cannot be reached.
    async fn context(&self, cancel: CancellationToken) -> Result<Context, ActionError>;

    /// A backup as it is configured, with its recipients and its signer.
    ///
    /// # Errors
    /// `Denied` when something is not configured, or a key cannot be read.
    fn request(&self, sources: Sources) -> Result<backup::Request, ActionError>;

    /// What opens backups.
    ///
    /// # Errors
    /// `Denied` when the file cannot be read, or has no identity in it.
    fn identities(&self, file: &Path) -> Result<Identities, ActionError>;

    /// Where drills are held.
    fn workplace(&self) -> Workplace;
}

/// What goes into a backup of what is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// The snapshot of etcd, where etcd is configured.
    pub etcd: bool,
    /// The objects of the API.
    pub objects: bool,
}

impl Sources {
    /// Neither: what is wanted are the keys.
    pub(crate) const NONE: Self = Self { etcd: false, objects: false };
}

/// Where drills are held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workplace {
    /// Folders with `etcd` and `etcdutl`, in the order of preference.
    pub programs: Vec<PathBuf>,
    /// The folder in which the private folder of a drill is made.
    pub scratch: PathBuf,
}

/// No configuration at all.
#[derive(Debug, Clone, Copy)]
pub struct NoBackups;

impl NoBackups {
    fn denied() -> ActionError {
        ActionError::denied(
            "no store for backups is configured: at the desk 'lifeboat init' writes a configuration and --config names \
             one, and in a cluster playbooks have none",
        )
    }
}

#[async_trait]
impl Backups for NoBackups {
    async fn context(&self, _: CancellationToken) -> Result<Context, ActionError> {
        Err(Self::denied())
    }

    fn request(&self, _: Sources) -> Result<backup::Request, ActionError> {
        Err(Self::denied())
    }

    fn identities(&self, _: &Path) -> Result<Identities, ActionError> {
        Err(Self::denied())
    }

    fn workplace(&self) -> Workplace {
        Workplace::default()
    }
}

/// What an error of recovery means to a step.
pub(crate) fn told(error: Error) -> ActionError {
    match error {
        Error::Cancelled => ActionError::Cancelled,
        Error::Kubernetes(error) => refused(error),
        error if error.is_uncertain() => ActionError::uncertain(chain(&error)),
        error => match error.class() {
            Class::Usage | Class::Refused | Class::NotFound => ActionError::denied(chain(&error)),
            Class::Failed | Class::Integrity => ActionError::failed(chain(&error)),
        },
    }
}

/// Does work of recovery on a thread of its own: the compiler cannot show that it may move between threads. Dropping what
/// this gives does not end the work: cancelling the token of its context does.
pub(crate) async fn apart<T, W>(work: impl FnOnce() -> W + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    W: Future<Output = Result<T, Error>>,
{
    let runtime = Handle::current();
    spawn_blocking(move || runtime.block_on(work())).await.unwrap_or(Err(Error::Lost("a step")))
}

/// What stands for a write in the id of what it adds to the store: by it that is known after a kill.
pub(crate) fn number(permit: &Permit) -> u64 {
    let Digest(bytes) = Digest::of(permit.id().as_bytes());
    bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The catalog of the configured store.
async fn catalog(backups: &dyn Backups, context: &StepContext) -> Result<Catalog, ActionError> {
    let context = backups.context(context.cancelled().clone()).await?;
    apart(move || Catalog::open(context)).await.map_err(told)
}

/// A backup of a catalog.
async fn find(catalog: &Catalog, wanted: BackupRef) -> Result<Backup, Error> {
    let catalog = catalog.clone();
    apart(move || async move { catalog.get(&wanted).await }).await
}
