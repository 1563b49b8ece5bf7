//! A control plane for scripts: started in the foreground, and gone when the script is.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::iter;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use lifeboat_controlplane::{Binaries, Builder, ControlPlane};
use lifeboat_tests::cluster::testbed_bin;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Starts etcd and kube-apiserver, prints `export` lines for a shell once they are ready, and stays until SIGINT or
/// SIGTERM, or until the other end of a pipe on its standard input is closed.
///
/// Started again with the same --dir, --etcd-port and --api-port, it has the same certificates and addresses, so
/// kubeconfigs stay valid; only --data-dir need differ to boot from a restored etcd.
#[derive(Parser)]
struct Args {
    /// Folder for certificates, logs, the kubeconfig and etcd's data.
    #[arg(long)]
    dir: PathBuf,
    /// Folder with the programs [default: the testbed's].
    #[arg(long)]
    bin: Option<PathBuf>,
    /// An etcd data directory that is there already, such as a restored one.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Members of etcd.
    #[arg(long, default_value_t = 1)]
    members: u16,
    /// etcd alone, without an API server.
    #[arg(long)]
    etcd_only: bool,
    /// Run the controller manager and the scheduler too.
    #[arg(long)]
    controllers: bool,
    /// Nodes played by kwok.
    #[arg(long, default_value_t = 0)]
    nodes: u32,
    /// Port of the first etcd member for clients, the others having the next ones [default: any].
    #[arg(long)]
    etcd_port: Option<u16>,
    /// The API server's port [default: any].
    #[arg(long)]
    api_port: Option<u16>,
    /// Size of etcd's database, in bytes, at which it takes no more writes [default: etcd's].
    #[arg(long)]
    quota: Option<u64>,
    /// Let etcd wait for the disk, as a real one does.
    #[arg(long)]
    fsync: bool,
    /// A file with the configuration of encryption at rest.
    #[arg(long)]
    encryption_config: Option<PathBuf>,
    /// A further argument for kube-apiserver, such as --api-server-arg=--v=4; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    api_server_arg: Vec<String>,
    /// Write the `export` lines to this file too, at once when all is ready, so that a script can wait for it.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl Args {
    fn builder(&self, dir: &Path) -> Builder {
        let bin = self.bin.as_deref().unwrap_or_else(|| testbed_bin());
        let mut builder = ControlPlane::builder(Binaries::new([bin]), dir).etcd_members(self.members);
        if self.etcd_only {
            builder = builder.etcd_only();
        }
        if self.controllers {
            builder = builder.with_controller_manager().with_scheduler();
        }
        if self.fsync {
            builder = builder.with_fsync();
        }
        builder = builder.with_kwok_nodes(self.nodes);
        builder = self.data_dir.iter().fold(builder, Builder::etcd_data_dir);
        builder = self.etcd_port.into_iter().fold(builder, Builder::etcd_port);
        builder = self.api_port.into_iter().fold(builder, Builder::api_port);
        builder = self.quota.into_iter().fold(builder, Builder::etcd_quota);
        builder = self.encryption_config.iter().fold(builder, Builder::encryption_config);
        self.api_server_arg.iter().fold(builder, Builder::api_server_arg)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(e) = run(&Args::parse()).await else { return ExitCode::SUCCESS };
    let causes = iter::successors(Some(&*e), |&e| e.source()).map(ToString::to_string);
    // Nothing can be done if even this cannot be said.
    let _ = writeln!(io::stderr(), "lifeboat-test-cluster: {}", causes.collect::<Vec<_>>().join(": "));
    ExitCode::FAILURE
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut input_closed = input_closed();
    // A file of an earlier run must not be taken for this one's.
    if let Some(file) = args.env_file.as_deref().filter(|file| file.exists()) {
        fs::remove_file(file)?;
    }
    let dir = std::path::absolute(&args.dir)?;
    let plane = tokio::select! {
        plane = args.builder(&dir).start() => plane?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        () = &mut input_closed => return Ok(()),
    };
    let exports = exports(&plane);
    io::stdout().write_all(exports.as_bytes())?;
    io::stdout().flush()?;
    if let Some(file) = &args.env_file {
        let part = file.with_added_extension("part");
        fs::write(&part, &exports)?;
        fs::rename(part, file)?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = input_closed => {}
    }
    plane.stop().await;
    Ok(())
}

/// Ends when standard input is a pipe and its other end is closed.
///
/// Only a pipe says anything about whoever started this program: a shell gives background jobs /dev/null.
fn input_closed() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    let piped = fs::metadata("/dev/stdin").is_ok_and(|meta| meta.file_type().is_fifo() || meta.file_type().is_socket());
    if !piped {
        return Box::pin(std::future::pending());
    }
    let (tell, closed) = oneshot::channel::<()>();
    // A thread of its own, since a read that blocks would hold up the end of the async runtime.
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while io::stdin().read(&mut buffer).is_ok_and(|length| length > 0) {}
        drop(tell);
    });
    Box::pin(async move {
        let _ = closed.await;
    })
}

/// What a shell needs to know: the variables are those of `kubectl` and of Lifeboat's configuration, and some for
/// tests alone.
fn exports(plane: &ControlPlane) -> String {
    let etcd = plane.etcd();
    [
        ("KUBECONFIG", plane.kubeconfig().display().to_string()),
        ("LIFEBOAT_ETCD_ENDPOINTS", etcd.endpoints.join(",")),
        ("LIFEBOAT_ETCD_CA_FILE", etcd.ca_file.display().to_string()),
        ("LIFEBOAT_ETCD_CERT_FILE", etcd.cert_file.display().to_string()),
        ("LIFEBOAT_ETCD_KEY_FILE", etcd.key_file.display().to_string()),
        (
            "LIFEBOAT_TEST_ETCD_DATA_DIR",
            plane.etcd_data_dirs().first().map(|d| d.display().to_string()).unwrap_or_default(),
        ),
        ("LIFEBOAT_TEST_ETCD_PIDS", pids(plane.etcd_pids())),
        ("LIFEBOAT_TEST_API_SERVER_PID", pids([plane.api_server_pid()])),
    ]
    .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
    .concat()
}

fn pids(pids: impl IntoIterator<Item = Option<u32>>) -> String {
    pids.into_iter().flatten().map(|pid| pid.to_string()).collect::<Vec<_>>().join(" ")
}
