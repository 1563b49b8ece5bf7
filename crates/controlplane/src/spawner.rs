//! One thread that starts all children and lives as long as the program.
//!
//! The kernel sends a child its parent-death signal when the *thread* that started it ends (prctl(2),
//! `PR_SET_PDEATHSIG`), so no child may be started from a thread that comes and goes, such as an async runtime's.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

struct Job {
    command: Command,
    started: mpsc::SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<Result<mpsc::Sender<Job>, io::ErrorKind>> = LazyLock::new(|| {
    let (jobs, inbox) = mpsc::channel::<Job>();
    let work = move || {
        for mut job in inbox {
            // Whoever asked waits for the answer, so this does not fail.
            let _ = job.started.send(job.command.spawn());
        }
    };
    thread::Builder::new().name("lifeboat-spawner".to_owned()).spawn(work).map_err(|e| e.kind())?;
    Ok(jobs)
});

/// Starts a command from the long-lived thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts processes is gone");
    let jobs = SPAWNER.as_ref().map_err(|kind| io::Error::from(*kind))?;
    let (started, answer) = mpsc::sync_channel(1);
    jobs.send(Job { command, started }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
