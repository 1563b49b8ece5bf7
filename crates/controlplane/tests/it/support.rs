use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lifeboat_controlplane::{EtcdAccess, ProcessSpec};
use lifeboat_tests::cluster::testbed_bin;

/// How often a condition is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A shell script as a process whose log lies in `dir`.
pub(crate) fn shell(dir: &Path, script: &str) -> ProcessSpec {
    ProcessSpec::new("the script", "/bin/sh", dir.join("script.log")).arg("-c").arg(script)
}

/// Polls until a condition holds; fails after a minute.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "not in time: {what}");
        std::thread::sleep(POLL);
    }
}

/// Whether a process of that id exists, be it a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The processes, other than this one, whose command line mentions a path.
pub(crate) fn processes_of(path: &Path) -> Vec<u32> {
    let path = path.to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mentions = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(path)
    };
    pids.filter(|&pid| pid != std::process::id()).filter(mentions).collect()
}

/// Runs `etcdctl` with exactly these arguments.
pub(crate) fn etcdctl(args: &[&str]) -> Output {
    Command::new(testbed_bin().join("etcdctl")).args(args).output().unwrap()
}

/// Runs `etcdctl` as a client of that etcd, and gives what it printed.
pub(crate) fn etcdctl_as(access: &EtcdAccess, args: &[&str]) -> String {
    let output = Command::new(testbed_bin().join("etcdctl"))
        .arg("--endpoints")
        .arg(access.endpoints.join(","))
        .arg("--cacert")
        .arg(&access.ca_file)
        .arg("--cert")
        .arg(&access.cert_file)
        .arg("--key")
        .arg(&access.key_file)
        // A machine may be slow; of a flag given twice the last counts.
        .args(["--dial-timeout=60s", "--command-timeout=60s"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
