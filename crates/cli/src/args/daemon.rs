//! Arguments of `daemon`.

use std::path::PathBuf;

use clap::Args;

use super::ClusterArgs;

/// Take backups on schedules, until it is told to stop
///
/// The configuration has the schedules, and so have custom resources. Of several daemons one takes the backups, by a
/// Lease. SIGTERM ends it: what is under way is broken off cleanly, and another daemon may begin at once.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Address and port for metrics and health, instead of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Name of this daemon in the Lease [default: the host's name, and a number of its own]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Folder for what drills unpack and for journals of restores [default: TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
}
