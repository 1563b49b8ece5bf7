use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::files::{at, open_log, tail};
use crate::{Error, Result, spawner};

/// How often a process is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// How long one question may take before it is asked again.
const PROBE: Duration = Duration::from_secs(5);
/// Where util-linux' `setpriv` lies on most systems, apart from the folders that were given.
const SYSTEM_DIRS: [&str; 2] = ["/usr/bin", "/bin"];

/// What to start: a program, its arguments and its log.
///
/// The child starts with an empty environment but for [`ProcessSpec::env`], so that variables of the caller
/// (`ETCD_DATA_DIR`, proxies) do not reach it.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    log: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    search: Vec<PathBuf>,
}

impl ProcessSpec {
    /// A program to run, under a name for messages, with its output added to `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            log: log.into(),
            args: Vec::new(),
            env: Vec::new(),
            search: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds `--name=value`.
    #[must_use]
    pub fn flag(self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut arg = OsString::from(format!("--{name}="));
        arg.push(value);
        self.arg(arg)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the child's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Folders where `setpriv` is looked for, before `/usr/bin` and `/bin`.
    #[must_use]
    pub fn search<D: Into<PathBuf>>(mut self, dirs: impl IntoIterator<Item = D>) -> Self {
        self.search.extend(dirs.into_iter().map(Into::into));
        self
    }

    /// The command, wrapped so that the kernel kills the child when the spawning thread, and so the program, dies.
    fn command(&self) -> Command {
        let setpriv = self
            .search
            .iter()
            .map(PathBuf::as_path)
            .chain(SYSTEM_DIRS.map(Path::new))
            .map(|dir| dir.join("setpriv"))
            .find(|program| program.is_file());
        let mut command = if let Some(setpriv) = setpriv {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
            command
        } else {
            tracing::warn!(
                process = %self.name,
                "setpriv (util-linux) was not found: the process outlives this program if it is killed"
            );
            Command::new(&self.program)
        };
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }
}

/// A running child process, its output in a log file.
///
/// It dies with this value: dropping it kills the child and waits for its end.
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    /// How long the log was before this process wrote to it.
    log_start: u64,
    child: Arc<Mutex<Child>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts a program. It is started, not yet ready: see [`Process::wait_ready`].
    pub fn spawn(spec: &ProcessSpec) -> Result<Self> {
        let failed = |source| Error::Spawn { name: spec.name.clone(), program: spec.program.clone(), source };
        // Through `setpriv` a missing program would only show in the log.
        if !spec.program.is_file() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let log = open_log(&spec.log)?;
        let log_start = log.metadata().map_err(at("reading", &spec.log))?.len();
        let stderr = log.try_clone().map_err(at("opening the log", &spec.log))?;
        let mut command = spec.command();
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        // A group of its own, so that Ctrl-C in a terminal reaches this program alone, which then stops the child.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = spawner::spawn(command).map_err(failed)?;
        let pid = Pid::from_child(&child);
        let child = Arc::new(Mutex::new(child));
        let (tell, ended) = watch::channel(None);
        let process =
            Self { name: spec.name.clone(), pid, log: spec.log.clone(), log_start, child: Arc::clone(&child), ended };
        thread::Builder::new()
            .name(format!("wait-{pid}"))
            .spawn(move || {
                // WNOWAIT leaves the child a zombie, so its number is not used again while somebody may signal it;
                // it is reaped under the lock.
                let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
                let status = lock(&child).wait();
                tell.send_replace(status.ok());
            })
            .map_err(failed)?;
        tracing::debug!(process = %process.name, pid = process.id(), log = %process.log.display(), "started");
        Ok(process)
    }

    /// The name that messages use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file with the process' output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How the process ended; `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().ok().flatten()
    }

    /// Waits until the process ends by itself.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        // The waiting thread tells the status before it ends; only wait(2) failing on our own child leaves none.
        status.unwrap_or_default()
    }

    /// Asks `probe` again and again until it succeeds, the process ends, or `deadline` has passed.
    pub async fn wait_ready<P, F, E>(&self, deadline: Duration, mut probe: P) -> Result<()>
    where
        P: FnMut() -> F,
        F: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let end = Instant::now() + deadline;
        let mut reason = "it was not asked yet".to_owned();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.not_ready(deadline, reason));
            }
            tokio::select! {
                biased;
                status = self.wait() => return Err(self.exited(status)),
                answer = timeout(left.min(PROBE), probe()) => match answer {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(e)) => reason = e.to_string(),
                    Err(_) => "it does not answer".clone_into(&mut reason),
                },
            }
            sleep(POLL).await;
        }
    }

    /// Asks the process to end (SIGTERM), and kills it if it is still there after `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.signal(Signal::TERM);
        if timeout(grace, self.wait()).await.is_err() {
            tracing::warn!(process = %self.name, ?grace, "did not stop when asked; killing it");
            self.signal(Signal::KILL);
            self.wait().await;
        }
        tracing::debug!(process = %self.name, pid = self.id(), "stopped");
    }

    /// Kills the process (SIGKILL), as a power failure would, and waits for its end.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait().await;
    }

    fn signal(&self, signal: Signal) {
        let mut child = lock(&self.child);
        // A reaped child's number may belong to another process.
        if matches!(child.try_wait(), Ok(None)) {
            // It is ours and not reaped, so this does not fail.
            let _ = kill_process(self.pid, signal);
        }
    }

    fn exited(&self, status: ExitStatus) -> Error {
        Error::Exited { name: self.name.clone(), status, log: self.log.clone(), tail: tail(&self.log, self.log_start) }
    }

    fn not_ready(&self, waited: Duration, reason: String) -> Error {
        let tail = tail(&self.log, self.log_start);
        Error::NotReady { name: self.name.clone(), waited, reason, log: self.log.clone(), tail }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.id()).finish_non_exhaustive()
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
