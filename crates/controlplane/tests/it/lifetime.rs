//! Nothing that was started is left running, however its owner ends.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lifeboat_controlplane::ControlPlane;
use lifeboat_tests::cluster::binaries;
use tempfile::TempDir;

use crate::support::{POLL, eventually, processes_of};

const DIR: &str = "LIFEBOAT_TEST_PARENT_DIR";

/// Not a test: the program that the tests below end. It starts a control plane and waits for its death.
#[tokio::test]
#[ignore = "run by the other tests of this file"]
async fn parent() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    let _plane = ControlPlane::builder(binaries(), dir).start().await.unwrap();
    println!("\nstarted");
    std::future::pending::<()>().await;
}

/// Starts [`parent`] and waits until its control plane runs.
fn start_parent(dir: &Path) -> Child {
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "lifetime::parent", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "started"), "the parent ended early");
    parent
}

fn nothing_is_left_after(signal: &str) {
    let dir = TempDir::new().unwrap();
    let mut parent = start_parent(dir.path());
    let children = processes_of(dir.path());
    assert!(children.len() >= 2, "etcd and kube-apiserver run: {children:?}");
    let sent = Command::new("kill").args(["-s", signal, &parent.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert!(!parent.wait().unwrap().success());
    eventually("every child is gone", || processes_of(dir.path()).is_empty());
}

#[test]
fn when_the_parent_is_killed() {
    nothing_is_left_after("KILL");
}

#[test]
fn when_the_parent_does_not_catch_a_signal() {
    nothing_is_left_after("TERM");
}

#[tokio::test]
async fn when_it_is_dropped_or_stopped() {
    let dir = TempDir::new().unwrap();
    let start = || ControlPlane::builder(binaries(), dir.path()).etcd_only().start();
    let plane = start().await.unwrap();
    assert_eq!(processes_of(dir.path()).len(), 1);
    drop(plane);
    assert!(processes_of(dir.path()).is_empty());
    start().await.unwrap().stop().await;
    assert!(processes_of(dir.path()).is_empty());
}

#[tokio::test]
async fn when_the_start_is_given_up() {
    let dir = TempDir::new().unwrap();
    let mut start = Box::pin(ControlPlane::builder(binaries(), dir.path()).start());
    let both_run = async {
        while processes_of(dir.path()).len() < 2 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        biased;
        () = both_run => {}
        plane = &mut start => panic!("ready before anybody saw it start: {plane:?}"),
    }
    drop(start);
    assert!(processes_of(dir.path()).is_empty());
}
