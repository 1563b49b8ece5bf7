use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat_controlplane::{Error, Process, free_ports};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{eventually, exists, shell};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_early_end_is_noticed_at_once_and_shows_the_logs_end() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("script.log"), "of an earlier run\n").unwrap();
    let script = "for i in $(seq 100); do echo line $i; done; echo boom >&2; exit 3";
    let process = Process::spawn(&shell(dir.path(), script)).unwrap();
    let start = Instant::now();
    let error = process.wait_ready(Duration::from_mins(10), || async { Err::<(), _>("not yet") }).await.unwrap_err();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let text = error.to_string();
    assert!(matches!(error, Error::Exited { .. }), "{text}");
    for part in ["the script", "exit status: 3", "script.log", "line 100", "boom"] {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
    // Twenty lines: the last 19 and "boom".
    assert!(text.contains("line 82") && !text.contains("line 81"), "{text}");
}

#[tokio::test]
async fn the_log_of_an_earlier_process_is_not_shown() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("script.log"), "address already in use\n").unwrap();
    let process = Process::spawn(&shell(dir.path(), "exit 1")).unwrap();
    let error = process.wait_ready(SOON, || async { Err::<(), _>("not yet") }).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("(the log is empty)") && !text.contains("already in use"), "{text}");
}

#[tokio::test]
async fn one_that_never_answers_is_given_up_at_the_deadline() {
    let dir = TempDir::new().unwrap();
    let process = Process::spawn(&shell(dir.path(), "echo still warming up; exec sleep 1000")).unwrap();
    eventually("the script runs", || fs::read_to_string(process.log()).unwrap().contains("warming"));
    let refused = process.wait_ready(Duration::from_millis(300), || async { Err::<(), _>("not yet") });
    let text = refused.await.unwrap_err().to_string();
    for part in ["not ready after 300ms", "(not yet)", "still warming up"] {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
    let silent = process.wait_ready(Duration::from_millis(300), std::future::pending::<Result<(), &str>>);
    let text = silent.await.unwrap_err().to_string();
    assert!(text.contains("(it does not answer)"), "{text}");
}

#[tokio::test]
async fn stop_asks_first_and_kills_after_the_grace() {
    let dir = TempDir::new().unwrap();
    let polite = "trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let process = Process::spawn(&shell(dir.path(), polite)).unwrap();
    eventually("the polite script runs", || fs::read_to_string(process.log()).unwrap().contains("up"));
    process.stop(SOON).await;
    assert!(fs::read_to_string(process.log()).unwrap().contains("goodbye"));
    assert!(process.ended().unwrap().success());

    let dir = TempDir::new().unwrap();
    let stubborn = "trap '' TERM; echo up; exec sleep 1000";
    let process = Process::spawn(&shell(dir.path(), stubborn)).unwrap();
    eventually("the stubborn script runs", || fs::read_to_string(process.log()).unwrap().contains("up"));
    let grace = Duration::from_millis(200);
    let start = Instant::now();
    process.stop(grace).await;
    assert!(start.elapsed() >= grace);
    assert!(!process.ended().unwrap().success());
    // Once more is no harm.
    process.stop(grace).await;
    assert!(!exists(process.id()));
}

#[tokio::test]
async fn dropping_kills_and_reaps() {
    let dir = TempDir::new().unwrap();
    let process = Process::spawn(&shell(dir.path(), "trap '' TERM; exec sleep 1000")).unwrap();
    let pid = process.id();
    assert!(exists(pid));
    drop(process);
    assert!(!exists(pid), "neither running nor a zombie");
}

/// The parent-death signal is sent when the thread that started the child ends, not when the program does.
#[tokio::test]
async fn a_child_outlives_the_thread_that_asked_for_it() {
    let dir = TempDir::new().unwrap();
    let spec = shell(dir.path(), "echo up; exec sleep 1000");
    let (process, thread) = std::thread::spawn(move || {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        let process = Process::spawn(&spec).unwrap();
        eventually("the script runs", || fs::read_to_string(process.log()).unwrap().contains("up"));
        (process, Path::new("/proc").join(thread))
    })
    .join()
    .unwrap();
    eventually("the kernel is done with the thread", || !thread.exists());
    assert!(timeout(Duration::from_millis(500), process.wait()).await.is_err(), "the child died with the thread");
}

#[tokio::test]
async fn children_get_no_environment_but_what_they_are_given() {
    let dir = TempDir::new().unwrap();
    let spec = shell(dir.path(), "echo path=$PATH home=$HOME cargo=$CARGO given=$GIVEN").env("GIVEN", "yes");
    let process = Process::spawn(&spec).unwrap();
    assert!(process.wait().await.success());
    let log = fs::read_to_string(process.log()).unwrap();
    // A shell without a PATH sets one of its own.
    assert!(log.trim_end().ends_with("home= cargo= given=yes"), "{log}");
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_its_own() {
    let dir = TempDir::new().unwrap();
    let spec = lifeboat_controlplane::ProcessSpec::new("nothing", "/nonexistent/program", dir.path().join("log"));
    let error = Process::spawn(&spec).unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/program"), "{error}");
}

#[test]
fn ports_given_together_differ() {
    let mut ports = free_ports::<64>().unwrap();
    ports.sort_unstable();
    assert!(ports.windows(2).all(|pair| pair[0] < pair[1]), "{ports:?}");
}
