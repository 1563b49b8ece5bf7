use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// What can go wrong with child processes and their files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is in none of the folders: install it, or name another folder.
    #[error(
        "the program '{name}' was not found in {}; run scripts/testbed to build it, or download it ({source_page})",
        list(looked_in)
    )]
    MissingBinary {
        /// The program's file name.
        name: String,
        /// Every folder that was tried, in order.
        looked_in: Vec<PathBuf>,
        /// The page where the program is published.
        source_page: &'static str,
    },
    /// A program is there and does not say which version it is.
    #[error("'{}' did not tell its version: {reason}", program.display())]
    Version {
        /// The program that was asked.
        program: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// The operating system refused to start a program.
    #[error("starting {name} ('{}')", program.display())]
    Spawn {
        /// The process' name.
        name: String,
        /// The program that was to be run.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process ended that should have gone on.
    #[error("{name} ended early ({status}); the end of its log '{}':\n{tail}", log.display())]
    Exited {
        /// The process' name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process runs and does not answer as it should.
    #[error("{name} was not ready after {waited:?} ({reason}); the end of its log '{}':\n{tail}", log.display())]
    NotReady {
        /// The process' name.
        name: String,
        /// How long it had.
        waited: Duration,
        /// What the last attempt to reach it said.
        reason: String,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A request to a process that counts as ready failed.
    #[error("asking {name} for {path}: {reason}")]
    Request {
        /// The process' name.
        name: &'static str,
        /// The request's path.
        path: String,
        /// What came back instead of an answer.
        reason: String,
    },
    /// A file or folder of the control plane cannot be used.
    #[error("{doing} '{}'", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A certificate or key cannot be made, or cannot be read back.
    #[error("making the certificate of '{name}'")]
    Certificate {
        /// Whose certificate or key.
        name: String,
        /// Why it failed.
        #[source]
        source: rcgen::Error,
    },
    /// The options do not fit together, or are not possible in the present state.
    #[error("{0}")]
    Invalid(String),
    /// No loopback port is to be had.
    #[error("finding a free port on 127.0.0.1")]
    NoPort(#[source] io::Error),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether a child lost the race for its port: another try with another port may do.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("address already in use"))
    }
}

fn list(folders: &[PathBuf]) -> String {
    match folders {
        [] => "any folder (none was given)".to_owned(),
        folders => folders.iter().map(|f| format!("'{}'", f.display())).collect::<Vec<_>>().join(", "),
    }
}
