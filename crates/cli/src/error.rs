//! What can go wrong in the command itself, and what to do next about any failure.

use std::path::PathBuf;

use lifeboat_archive::ArchiveError;
use lifeboat_daemon::AlertsError;
use lifeboat_etcd::EtcdError;
use lifeboat_model::{OverrideError, YamlError};
use lifeboat_playbook::{AlertError, EngineError, JournalError, LoadErrors, StorageError};
use lifeboat_recovery::Error as RecoveryError;
use lifeboat_store::StoreError;

use crate::exit::ExitCode;

/// A failure of a command, by what its user can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// No configuration anywhere.
    #[error("no configuration file: looked for {}", list(.0))]
    NoConfig(Vec<PathBuf>),
    /// The configuration file is not valid.
    #[error(transparent)]
    Config(#[from] YamlError),
    /// A variable or a flag overrides what is not there.
    #[error("{origin}")]
    Override {
        /// Where the value came from: a variable or an option.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: OverrideError,
    },
    /// The configuration as a whole makes no sense.
    #[error("{origin} is not valid: {}", .faults.join("; "))]
    Faults {
        /// The file, or the words for settings without one.
        origin: String,
        /// What is wrong, each.
        faults: Vec<String>,
    },
    /// A command needs a setting that is absent.
    #[error("{setting} is not configured")]
    NotConfigured {
        /// The setting's path.
        setting: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// A command needs an identity and was given none.
    #[error("no identity: this opens the backup, and needs the recovery key")]
    NoIdentity,
    /// A key in a file or in the configuration is not usable.
    #[error("cannot use {what}")]
    Key {
        /// Which key: the setting, or the file.
        what: String,
        /// Why not.
        #[source]
        source: ArchiveError,
    },
    /// A file is larger than any file of its kind.
    #[error("'{}' is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// A file or folder.
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
    /// Writing there would overwrite something.
    #[error("{} already there: nothing was written", there(.0))]
    Exists(Vec<PathBuf>),
    /// A program that is needed is not installed.
    #[error("no program '{0}' in PATH")]
    NoProgram(&'static str),
    /// The person said no.
    #[error("not confirmed: nothing was changed")]
    NotConfirmed,
    /// There is no person to ask.
    #[error("nobody is at the terminal to confirm this")]
    NobodyToAsk,
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[source] std::io::Error),
    /// The result cannot be put into the form asked for.
    #[error("cannot put the result into {format}")]
    Form {
        /// The form.
        format: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The asynchronous runtime does not start, or signals cannot be received.
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
    /// The daemon cannot go on.
    #[error(transparent)]
    Daemon(lifeboat_daemon::Error),
    /// A playbook has faults.
    #[error(transparent)]
    Playbook(LoadErrors),
    /// A file is not what a tool sends.
    #[error(transparent)]
    Alert(#[from] AlertError),
    /// Alerts cannot be received.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// The journal of a run cannot be read, or not be believed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A playbook was not planned, run, resumed or taken back.
    #[error(transparent)]
    Engine(EngineError),
    /// No run of that id.
    #[error("no run '{0}'")]
    NoRun(String),
    /// A run asks nobody, or not what was agreed to.
    #[error("{0}")]
    NotAsked(String),
    /// No report of a scanner was imported.
    #[error("no import: {0}")]
    NoImport(String),
    /// No action of that name.
    #[error("{0}")]
    NoAction(String),
    /// The work itself failed.
    #[error(transparent)]
    Recovery(RecoveryError),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn there(paths: &[PathBuf]) -> String {
    format!("{} {}", list(paths), if paths.len() == 1 { "is" } else { "are" })
}

impl From<RecoveryError> for Error {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Cancelled => Self::Interrupted,
            error => Self::Recovery(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        RecoveryError::from(error).into()
    }
}

impl From<EtcdError> for Error {
    fn from(error: EtcdError) -> Self {
        RecoveryError::from(error).into()
    }
}

impl From<lifeboat_kubernetes::Error> for Error {
    fn from(error: lifeboat_kubernetes::Error) -> Self {
        RecoveryError::from(error).into()
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled => Self::Interrupted,
            EngineError::Inputs(faults) => Self::Usage(faults.join("; ")),
            EngineError::Journal(error) => Self::Journal(error),
            EngineError::Load(errors) => Self::Playbook(errors),
            error => Self::Engine(error),
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        JournalError::from(error).into()
    }
}

impl From<lifeboat_daemon::Error> for Error {
    fn from(error: lifeboat_daemon::Error) -> Self {
        match error {
            lifeboat_daemon::Error::Kubernetes(error) => error.into(),
            error => Self::Daemon(error),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// The exit code that stands for it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_)
            | Self::NoConfig(_)
            | Self::Config(_)
            | Self::Override { .. }
            | Self::Faults { .. }
            | Self::NotConfigured { .. }
            | Self::NoIdentity
            | Self::NoProgram(_)
            | Self::Key { .. }
            | Self::Daemon(lifeboat_daemon::Error::Config(_))
            | Self::Playbook(_)
            | Self::Alert(_)
            | Self::Alerts(AlertsError::Document(_) | AlertsError::Mapping { .. } | AlertsError::Tls { .. })
            | Self::TooLarge { .. } => ExitCode::Usage,
            Self::NoRun(_)
            | Self::NoImport(_)
            | Self::NoAction(_)
            | Self::Journal(JournalError::Storage(StorageError::NotFound(_))) => ExitCode::NotFound,
            Self::Journal(JournalError::Altered { .. } | JournalError::Senseless(_)) => ExitCode::Integrity,
            Self::Engine(error) => engine_code(error),
            Self::Exists(_) | Self::NotAsked(_) | Self::NotConfirmed | Self::NobodyToAsk => ExitCode::Refused,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => ExitCode::Refused,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ExitCode::NotFound,
            Self::Io { .. }
            | Self::Output(_)
            | Self::Form { .. }
            | Self::Runtime(_)
            | Self::Interrupted
            | Self::Journal(_)
            | Self::Alerts(_)
            | Self::Daemon(_) => ExitCode::Failed,
            Self::Recovery(error) => error.class().into(),
        }
    }

    /// What to do next, where there is something to say.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoConfig(_) => "run 'lifeboat init' to write one, or name one with --config",
            Self::Override { source: OverrideError::Unknown { .. }, .. } => {
                "'--set' takes the path of a setting, as in store.s3.bucket=backups"
            }
            Self::NotConfigured { setting, purpose } => {
                return Some(format!("{purpose}: set {setting} in the configuration file"));
            }
            Self::NoIdentity => "give the recovery key's file with --identity, or in LIFEBOAT_IDENTITY",
            Self::NoProgram("kind") => "install it, and docker or podman: https://kind.sigs.k8s.io",
            Self::NoProgram(_) => {
                "install it in the minor version of the etcd that was backed up, or name it with --etcdutl"
            }
            Self::Key { source, .. } => return archive_hint(source).map(str::to_owned),
            Self::Exists(_) => "move what is there away, or choose another place",
            Self::NoRun(_) => "'lifeboat run list' shows what there is",
            Self::NoImport(_) => {
                "'lifeboat finding import FILE' keeps one; 'lifeboat finding list' shows what there is"
            }
            Self::NoAction(_) => "'lifeboat playbook actions' shows what there is",
            Self::Journal(JournalError::Altered { .. }) => "somebody changed it after it was written: keep the file",
            Self::NobodyToAsk => "--yes goes ahead without asking",
            Self::Recovery(error) => return recovery_hint(error).map(str::to_owned),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn engine_code(error: &EngineError) -> ExitCode {
    match error {
        EngineError::Step { .. } | EngineError::Expression { .. } => ExitCode::Failed,
        _ => ExitCode::Refused,
    }
}

fn recovery_hint(error: &RecoveryError) -> Option<&'static str> {
    match error {
        RecoveryError::Store(error) => store_hint(error),
        RecoveryError::Archive(error) => archive_hint(error),
        RecoveryError::Etcd(error) => etcd_hint(error),
        RecoveryError::Kubernetes(error) => Some(kubernetes_hint(error)),
        RecoveryError::Part { source, .. } => recovery_hint(source),
        RecoveryError::Stopped { .. } => {
            Some("the same command with --resume, and without a selection, goes on with it")
        }
        RecoveryError::Untrusted { .. } => Some(
            "if its key is one of yours, add the public key to signing.trustedKeys; otherwise somebody else wrote this",
        ),
        RecoveryError::Document { .. } | RecoveryError::Mismatch { .. } | RecoveryError::Inconsistent(_) => {
            Some("take no restore from it; 'lifeboat backup list' shows the others")
        }
        RecoveryError::NoFile { .. } => Some("without --plan and --resume a new plan is made"),
        RecoveryError::NoPlan { .. } => Some("make a new one: 'lifeboat restore objects BACKUP --save-plan FILE'"),
        RecoveryError::OtherCluster { .. } => Some("give this cluster a name of its own: cluster.name"),
        RecoveryError::UnknownCluster { .. } => {
            Some("the first backup of a cluster needs its API server; check --kubeconfig and --context")
        }
        RecoveryError::NothingCaptured(_) => Some("'lifeboat doctor' says what cannot be reached"),
        RecoveryError::NoBackup { .. } => Some("'lifeboat backup list' shows what there is"),
        RecoveryError::Ambiguous { .. } => Some("give more of the id"),
        RecoveryError::Program { name, .. } => Some(program_hint(name)),
        RecoveryError::NoObject(_) => Some("'lifeboat backup objects' shows what is in a backup"),
        _ => None,
    }
}

fn program_hint(name: &str) -> &'static str {
    if name == "kube-apiserver" {
        return "download it from https://dl.k8s.io/vVERSION/bin/linux/amd64/kube-apiserver, or run 'setup-envtest use VERSION', and name its folder with --bin-dir";
    }
    "download etcd from https://github.com/etcd-io/etcd/releases, and name its folder with --bin-dir"
}

fn store_hint(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::NoSuchBucket { .. } => Some("make the bucket, or correct store.s3.bucket, region and endpoint"),
        StoreError::BadCredentials { .. } => Some("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
        StoreError::AccessDenied { .. } => Some("grant the permission named"),
        StoreError::Unreachable { .. } | StoreError::Timeout { .. } => {
            Some("check store.s3.endpoint, the network, and caFile where the server has an authority of its own")
        }
        StoreError::NoSpace { .. } => Some("make room"),
        StoreError::Unsupported { .. } => {
            Some("'lifeboat doctor' tells what the store can do; take what it cannot out of the configuration")
        }
        StoreError::Uncertain { source, .. } => store_hint(source),
        StoreError::NotFound { .. } | StoreError::Other { .. } => {
            Some("'lifeboat doctor' checks the store, step by step")
        }
        _ => None,
    }
}

fn archive_hint(error: &ArchiveError) -> Option<&'static str> {
    match error {
        ArchiveError::NoRecipients => Some("add an age recipient (age1...) to encryption.recipients"),
        ArchiveError::Recipient { .. } => Some("a recipient is an age public key: age1..."),
        ArchiveError::RecipientIsSecret { .. } => Some(
            "take the secret key out of the configuration, and make a new one with 'lifeboat key generate recovery'",
        ),
        ArchiveError::WrongIdentity => Some(
            "'lifeboat backup show' names the recipients of the backup, 'lifeboat key show --identity FILE' that of an identity",
        ),
        ArchiveError::Identity { .. } | ArchiveError::NoIdentities => {
            Some("an identity file has a line AGE-SECRET-KEY-1... or AGE-PLUGIN-...")
        }
        ArchiveError::Plugin { .. } => Some("install the plugin's program, age-plugin-NAME, into PATH"),
        ArchiveError::PasswordNeeded => {
            Some("signing works unattended: use a key without a password, as 'lifeboat key generate signing' makes")
        }
        ArchiveError::Damaged(_) => Some("take no restore from it; 'lifeboat backup list' shows the others"),
        _ => None,
    }
}

fn etcd_hint(error: &EtcdError) -> Option<&'static str> {
    match error {
        EtcdError::InUse(_) => Some("stop that etcd first, and everything that starts it again"),
        EtcdError::EtcdutlVersion { .. } => Some("name a fitting program with --etcdutl"),
        EtcdError::Etcdutl { .. } | EtcdError::Io { action: "run", .. } => {
            Some("install etcdutl in the minor version of the etcd that was backed up, or name it with --etcdutl")
        }
        EtcdError::Call { .. }
        | EtcdError::Timeout { .. }
        | EtcdError::NoLeader { .. }
        | EtcdError::NoUsableMember(_)
        | EtcdError::StreamBroken { .. } => Some("'lifeboat doctor' checks each member of etcd"),
        _ => None,
    }
}

fn kubernetes_hint(error: &lifeboat_kubernetes::Error) -> &'static str {
    match error {
        lifeboat_kubernetes::Error::Config(_) => "name a kubeconfig with --kubeconfig, and a context with --context",
        lifeboat_kubernetes::Error::Unauthorized { .. } => "log in anew, or take another context with --context",
        lifeboat_kubernetes::Error::Forbidden { .. } => "'lifeboat doctor' lists what this identity may not see",
        lifeboat_kubernetes::Error::Held { .. } => "wait until it has ended; the lock of one that was killed expires",
        lifeboat_kubernetes::Error::LeaseLost { .. } => "see who restores into this cluster, then go on with --resume",
        _ => "'lifeboat doctor' checks the API server",
    }
}
