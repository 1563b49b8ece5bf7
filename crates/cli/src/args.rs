//! The arguments, by kubectl's habits: noun then verb, `-o`, `-n`, `-l`, `-A`.
#![expect(clippy::doc_markdown, reason = "these comments are help texts, and printed as they are")]

mod backup;
mod daemon;
mod drill;
mod event;
mod finding;
mod incident;
mod keys;
mod playbook;
mod responder;
mod restore;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use backup::{
    BackupCommand, CreateArgs, DiffArgs, DownloadArgs, GetArgs, HoldArgs, ListArgs, ObjectsArgs, PolicyArgs, PruneArgs,
    ReleaseArgs, SearchArgs, SelectionArgs, ShowArgs, VerifyArgs,
};
pub(crate) use daemon::DaemonArgs;
pub(crate) use drill::{DrillCommand, DrillFiles, DrillListArgs, DrillRunArgs, DrillShowArgs, TargetArg, WayArg};
pub(crate) use event::{EventCommand, EventReceiveArgs, EventTestArgs};
pub(crate) use finding::{FindingCommand, FindingDiffArgs, FindingImportArgs, FindingListArgs, WhichArgs};
pub(crate) use incident::{
    IncidentArgs, PlaybookPlanArgs, PlaybookRbacArgs, PlaybookRunArgs, RunResumeArgs, RunRollbackArgs,
};
pub(crate) use keys::{CheckArgs, GenerateArgs, KeyCommand, KeyKind, ShowKeysArgs};
pub(crate) use playbook::{
    LibraryArgs, PlaybookActionsArgs, PlaybookCommand, PlaybookLintArgs, PlaybookListArgs, PlaybookShowArgs, RunArgs,
    RunCommand, RunListArgs, RunReportArgs, RunVerifyArgs, StateArgs,
};
pub(crate) use responder::{PlaceArgs, ResponderArgs, RunApproveArgs};
pub(crate) use restore::{RestoreCommand, RestoreEtcdArgs, RestoreObjectsArgs};

use crate::exit::ExitCode;

/// Back up, look inside, verify and restore Kubernetes clusters
///
/// Takes sealed, signed and compressed backups of etcd and of every API object, into S3 or a directory, and brings
/// objects or etcd back from them. Opening a backup needs the bucket and the recovery key, and nothing of the cluster.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_long_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(InitArgs),
    Doctor(DoctorArgs),
    #[command(subcommand)]
    Backup(BackupCommand),
    #[command(subcommand)]
    Restore(RestoreCommand),
    #[command(subcommand)]
    Drill(DrillCommand),
    Daemon(DaemonArgs),
    Responder(ResponderArgs),
    #[command(subcommand)]
    Playbook(PlaybookCommand),
    #[command(subcommand)]
    Run(RunCommand),
    #[command(subcommand)]
    Event(EventCommand),
    #[command(subcommand)]
    Finding(FindingCommand),
    #[command(subcommand)]
    Key(KeyCommand),
    Completion(CompletionArgs),
    /// Print the versions of the program and of the backups that it takes
    Version,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Configuration file [default: the first there is of ./lifeboat.yaml, ~/.config/lifeboat/lifeboat.yaml and
    /// /etc/lifeboat/lifeboat.yaml]
    #[arg(long, global = true, value_name = "FILE", env = "LIFEBOAT_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting of the configuration, as in store.s3.bucket=backups
    #[arg(long = "set", global = true, value_name = "SETTING=VALUE", value_parser = parse_override)]
    pub(crate) overrides: Vec<(String, String)>,
    /// Form of the result
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Form of the log
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// When to colour; auto also obeys NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorWhen,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    Auto,
    Always,
    Never,
}

/// Write a configuration and new keys to begin with
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Folder to write into; made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Name of the cluster, under which its backups lie in the store
    #[arg(long, value_name = "NAME", default_value = "my-cluster")]
    pub(crate) cluster: lifeboat_model::ClusterName,
    /// Where backups go: s3://BUCKET/PREFIX, or a directory
    #[arg(long, value_name = "STORE", default_value = "./backups")]
    pub(crate) store: String,
}

/// Check every prerequisite, and say what to do about each that fails
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) etcdutl: EtcdutlArgs,
}

/// How to reach the API server.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file, instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of the configuration's
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// What opens a backup.
#[derive(Debug, Clone, Args)]
pub(crate) struct IdentityArgs {
    /// age identity file that opens the backup: the recovery key
    #[arg(long, short, value_name = "FILE", env = "LIFEBOAT_IDENTITY", hide_env_values = true)]
    pub(crate) identity: Option<PathBuf>,
}

/// The program that rebuilds data directories.
#[derive(Debug, Clone, Args)]
pub(crate) struct EtcdutlArgs {
    /// The etcdutl program [default: etcdutl, as found in PATH]
    #[arg(long, value_name = "PROGRAM", env = "LIFEBOAT_ETCDUTL", hide_env_values = true)]
    pub(crate) etcdutl: Option<PathBuf>,
}

/// Print a shell's completion script
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected SETTING=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

fn after_help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for code in ExitCode::ALL {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {}  {}", code as u8, code.meaning());
    }
    text.push_str(
        "\nBACKUP is an id, a beginning of one that fits no other, `latest`, or `latest-verified`: the newest that a drill has proved.\n\
         Settings of the configuration can be given by variables too: LIFEBOAT_STORE_S3_BUCKET is store.s3.bucket.\n",
    );
    text
}

/// The command by the name under which it was called: a file `kubectl-lifeboat` in PATH is `kubectl lifeboat`.
pub(crate) fn command(called: Option<&OsString>) -> clap::Command {
    let stem = called.and_then(|path| Path::new(path).file_stem());
    let name = if stem.is_some_and(|stem| stem == "kubectl-lifeboat") { "kubectl lifeboat" } else { "lifeboat" };
    Cli::command().bin_name(name)
}

/// Parses the arguments, the program's own name first.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let color = match peek(arguments, "--color", None).as_deref() {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    };
    let mut command = command(arguments.first()).color(color);
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The value of an option among arguments that may not parse: how to report just that must be known before.
pub(crate) fn peek(arguments: &[OsString], long: &str, short: Option<&str>) -> Option<String> {
    let mut texts = arguments.iter().map(|argument| argument.to_string_lossy());
    let mut found = None;
    while let Some(text) = texts.next() {
        if text == "--" {
            break;
        }
        if text == long || short.is_some_and(|short| text == short) {
            found = texts.next().map(std::borrow::Cow::into_owned);
        } else if let Some(value) = text.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            found = Some(value.to_owned());
        } else if let Some(value) = short.and_then(|short| text.strip_prefix(short)) {
            found = Some(value.trim_start_matches('=').to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_option_is_seen_however_it_is_spelt() {
        let seen = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            peek(&arguments, "--output", Some("-o"))
        };
        for line in ["x -o json", "x -ojson", "x -o=json", "x --output json", "x --output=json y", "x -o yaml -o json"]
        {
            assert_eq!(seen(line).as_deref(), Some("json"), "{line}");
        }
        assert_eq!(seen("x -- -o json"), None);
        assert_eq!(seen("x -o"), None);
    }

    #[test]
    fn as_a_plugin_of_kubectl_the_usage_says_so() {
        let usage = command(Some(&"/usr/bin/kubectl-lifeboat".into())).render_usage().to_string();
        assert!(usage.starts_with("Usage: kubectl lifeboat "), "{usage}");
        let usage = command(Some(&"./lifeboat".into())).render_usage().to_string();
        assert!(usage.starts_with("Usage: lifeboat "), "{usage}");
    }
}
