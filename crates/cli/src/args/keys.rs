//! Arguments of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lifeboat_recovery::BackupRef;

use super::IdentityArgs;

/// Make, show and prove keys
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    Generate(GenerateArgs),
    Show(ShowKeysArgs),
    Check(CheckArgs),
}

/// Make a key
///
/// A recovery key is an age identity: it opens backups. A signing key is a minisign key without a password: it vouches
/// for them. Nothing is overwritten.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// What kind of key
    pub(crate) kind: KeyKind,
    /// File for the secret part, or - for stdout [default: recovery.key or signing.key]. The public part of a signing
    /// key goes beside it, with the ending .pub
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    Recovery,
    Signing,
}

/// Show the public parts of the keys: recipients, and whose signatures are trusted
#[derive(Debug, Args)]
pub(crate) struct ShowKeysArgs {
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Prove that an identity opens a backup
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The backup
    #[arg(default_value = "latest")]
    pub(crate) backup: BackupRef,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}
