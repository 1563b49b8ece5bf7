//! The daemon as a process, on a real control plane and a real bucket, while one thing after the other fails.

mod kills;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{Manifest, Reason};
use lifeboat_recovery::{Catalog, Context};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Site, Still, memory};

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// A daemon that runs.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts one, whose log goes to a file of its own.
    fn start(site: &Site, name: &str, number: usize) -> Self {
        let log = site.path(format!("{name}-{number}.log"));
        let mut command = site.command(&["--log-format", "json", "daemon", "--name", name]);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has logged, line by line.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for so many lines of that message after the first so many lines, and gives how many lines there are.
    async fn says(&mut self, message: &str, after: usize) -> usize {
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
    async fn stop(&mut self) -> Option<i32> {
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

    fn kill(&mut self) {
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
fn configure(site: &Site, more: &Value) {
    let path = site.path("lifeboat.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let members = more.as_object().unwrap().iter().map(|(name, value)| format!("{name}: {value}\n"));
    std::fs::write(&path, text + &members.collect::<String>()).unwrap();
}

/// Every manifest in the bucket, the first of the chain first. Anything that cannot be believed fails the test.
async fn chain(site: &Site) -> Vec<Manifest> {
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

/// One chain: each place once, no earlier leader after a later one, and each backup knows the one before it.
fn assert_one_chain(chain: &[Manifest]) {
    for pair in chain.windows(2) {
        let [before, after] = pair else { continue };
        assert!(before.sequence < after.sequence, "a place was given twice: {before:?} {after:?}");
        assert!(before.fence <= after.fence, "an earlier leader came after a later one: {before:?} {after:?}");
        assert_eq!(after.previous.as_ref().map(|previous| &previous.id), Some(&before.id), "{after:?}");
    }
}

/// Each minute in which a schedule of every minute was due has a backup that was begun in it, or was told to have none.
fn assert_no_silent_gap(schedule: &str, chain: &[Manifest], logs: &[Value], until: Timestamp) {
    let ours = |manifest: &&Manifest| matches!(&manifest.reason, Reason::Schedule(name) if name == schedule);
    let starts: Vec<Timestamp> = chain.iter().filter(ours).map(|manifest| manifest.started).collect();
    let minute = SignedDuration::from_mins(1);
    let time = |line: &Value, field: &str| -> Timestamp { line["fields"][field].as_str().unwrap().parse().unwrap() };
    let missed: Vec<(Timestamp, Timestamp)> = logs
        .iter()
        .filter(|line| line["fields"]["message"] == "there is no backup for what was due")
        .filter(|line| line["fields"]["schedule"] == schedule)
        .map(|line| (time(line, "first"), time(line, "last")))
        .collect();
    let first = *starts.iter().min().unwrap_or_else(|| panic!("'{schedule}' has no backup at all"));
    let mut due = Timestamp::from_second(first.as_second() / 60 * 60 + 60).unwrap();
    while due + minute < until {
        let has_backup = starts.iter().any(|start| (due..due + minute).contains(start));
        let is_told = missed.iter().any(|(first, last)| (*first..=*last).contains(&due));
        assert!(has_backup || is_told, "a silent gap of '{schedule}' at {due}: {starts:?} {missed:?}");
        due += minute;
    }
}
