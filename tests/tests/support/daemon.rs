//! The daemon as a process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat_model::Manifest;
use lifeboat_recovery::{Catalog, Context};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Site, Still, memory};

/// How long anything may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// A daemon that runs.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts one, whose log goes to a file of its own.
    pub(crate) fn start(site: &Site, name: &str, number: usize) -> Self {
        let log = site.path(format!("{name}-{number}.log"));
        let mut command = site.command(&["--log-format", "json", "daemon", "--name", name]);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has logged, line by line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for so many lines of that message after the first so many lines, and gives how many lines there are.
    pub(crate) async fn says(&mut self, message: &str, after: usize) -> usize {
        let begun = Instant::now();
        loop {
            let lines = self.lines();
            if let Some(place) = lines.iter().skip(after).position(|line| line["fields"]["message"] == message) {
                return after + place + 1;
            }
            let text = std::fs::read_to_string(&self.log).unwrap();
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended before it said '{message}': {text}");
            assert!(begun.elapsed() < PATIENCE, "it does not say '{message}': {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it as Kubernetes does, and gives its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", std::fs::read_to_string(&self.log).unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds to the configuration that `init` wrote.
pub(crate) fn configure(site: &Site, more: &Value) {
    let path = site.path("lifeboat.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let members = more.as_object().unwrap().iter().map(|(name, value)| format!("{name}: {value}\n"));
    std::fs::write(&path, text + &members.collect::<String>()).unwrap();
}

/// Every manifest in the bucket, the first of the chain first. Anything that cannot be believed fails the test.
pub(crate) async fn chain(site: &Site) -> Vec<Manifest> {
    let key = std::fs::read_to_string(site.path("signing.pub")).unwrap();
    let key = key.lines().find(|line| line.starts_with("RW")).unwrap();
    let context = Context {
        store: Arc::new(memory(&site.place.files().await).await),
        cluster: "prod".parse().unwrap(),
        trusted: Arc::new(lifeboat_archive::TrustedKeys::new(vec![lifeboat_archive::PublicKey::parse(key).unwrap()])),
        clock: Arc::new(Still::now()),
        cancel: CancellationToken::new(),
    };
    let listing = Catalog::open(context).await.unwrap().list().await.unwrap();
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    let mut manifests: Vec<Manifest> = listing.backups.into_iter().map(|entry| entry.manifest).collect();
    manifests.sort_by_key(|manifest| manifest.sequence);
    manifests
}

/// What a daemon serves at `/metrics`.
pub(crate) fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
