//! Promise 5: the same ceiling of memory, however much there is; nothing is spooled to disk during a backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;

use crate::support::{Place, Run, Site, ballast, boot, turn};

/// What a backup may take at most, in KiB. Without optimisation the program's code alone is some 30 MiB larger.
const CEILING: u64 = if cfg!(debug_assertions) { 128 * 1024 } else { 96 * 1024 };

/// What was seen of a run from outside.
#[derive(Debug)]
struct Seen {
    run: Run,
    /// The most memory that was resident at a time, in KiB.
    peak: u64,
    /// Files that were open for writing.
    written: BTreeSet<PathBuf>,
}

/// Takes a backup and looks at the process while it runs.
fn watched(site: &Site, arguments: &[&str]) -> Seen {
    let mut command = site.command(&[&["backup", "create", "-o", "json"], arguments].concat());
    // Whoever wants a temporary file finds no place for it.
    let mut child = command.env("TMPDIR", "/nonexistent").spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut peak, mut written) = (0, BTreeSet::new());
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_of(&process).unwrap_or_default());
        written.extend(files_written(&process));
        std::thread::yield_now();
    }
    Seen { run: child.wait_with_output().unwrap().into(), peak, written }
}

/// The process' peak of resident memory until now (`proc_pid_status(5)`).
fn peak_of(process: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Regular files that the process has open for writing (`proc_pid_fd(5)`, `proc_pid_fdinfo(5)`).
fn files_written(process: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return Vec::new() };
    let written = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let info = std::fs::read_to_string(process.join("fdinfo").join(entry.file_name())).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let writes = u32::from_str_radix(flags.trim(), 8).ok()? & 3 != 0;
        (writes && target.is_absolute() && !target.starts_with("/dev")).then_some(target)
    });
    written.collect()
}

/// The least of three peaks: how late memory is given back is not the same in each run.
fn peak(site: &Site, state: &str, arguments: &[&str]) -> u64 {
    let mut peaks = Vec::new();
    for _ in 0..3 {
        let before = outside_of_the_store(site);
        let seen = watched(site, arguments);
        assert_eq!(seen.run.code, Some(0), "{seen:?}");
        assert!(seen.peak > 0);
        match &site.place {
            Place::Directory(store) => {
                assert!(seen.written.iter().all(|path| path.starts_with(store)), "{:?}", seen.written);
            }
            Place::S3(_) => assert_eq!(seen.written, BTreeSet::new()),
        }
        assert_eq!(outside_of_the_store(site), before, "files were left");
        peaks.push(seen.peak);
    }
    println!("{state}: peaks of {peaks:?} KiB");
    *peaks.iter().min().unwrap()
}

/// The files in the folder of the site, which is also the program's home and its working directory.
fn outside_of_the_store(site: &Site) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(site.path("")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("store")).collect()
}

/// Adds namespaces of 500 objects.
fn load(cluster: &Cluster, first: usize, namespaces: usize) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeboat-test-load"))
        .args(["--first", &first.to_string(), "--namespaces", &namespaces.to_string()])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Buffers are bounded: windows of connections, and in S3 the parts of uploads. A small backup does not fill them. However
/// much larger another is, that is all it adds.
fn assert_bounded(smaller: u64, larger: u64, buffers: u64) {
    assert!(smaller.max(larger) <= CEILING, "{smaller} or {larger} KiB are more than the ceiling of {CEILING} KiB");
    assert!(larger <= smaller + buffers, "from {smaller} KiB to {larger} KiB is more than buffers explain");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_objects() {
    let _turn = turn().await;
    let cluster = boot(|_| {}).await;
    let sites = [Site::directory(&cluster), Site::s3(&cluster, S3Server::versitygw().await)];
    // The first backup learns the cluster's id.
    for site in &sites {
        site.create();
    }
    let mut peaks = Vec::new();
    let mut loaded = 0;
    for namespaces in [6, 40] {
        load(&cluster, loaded, namespaces - loaded);
        loaded = namespaces;
        let created = sites[0].json(0, &["backup", "create", "--no-etcd"]);
        let state = format!("{} objects", created["objects"]);
        assert!(created["objects"].as_u64().unwrap() >= 500 * namespaces as u64, "{created}");
        peaks.push(sites.each_ref().map(|site| peak(site, &state, &["--no-etcd"])));
    }
    let [few, many] = peaks[..] else { unreachable!() };
    assert_bounded(few[1], many[1], 48 * 1024);
    assert_bounded(few[0], many[0], few[0] / 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_large_etcd_is() {
    let _turn = turn().await;
    let cluster = boot(|cluster| ballast(cluster, 4)).await;
    let sites = [Site::directory(&cluster), Site::s3(&cluster, S3Server::versitygw().await)];
    // The first backup learns the cluster's id.
    for site in &sites {
        site.create();
    }
    let small = sites.each_ref().map(|site| peak(site, "4 MB of etcd", &["--no-resources"]));
    ballast(&cluster, 64);
    let large = sites.each_ref().map(|site| peak(site, "64 MB of etcd", &["--no-resources"]));
    assert_bounded(small[0], large[0], 24 * 1024);
    assert_bounded(small[1], large[1], 48 * 1024);
}
