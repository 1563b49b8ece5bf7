//! stdout and stderr: who gets what, and what happens when nobody listens.

use std::io::Read as _;
use std::process::Stdio;

use crate::program::{expect_json, lifeboat, run};

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = lifeboat(folder.path())
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn as_json_every_failure_is_one_document_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["backup", "list"][..], &["backup", "lists"], &["backup", "get", "x"], &["init", "--store", "gs://x"]]
    {
        let failure = expect_json(2, folder.path(), arguments);
        let error = failure["error"].as_object().unwrap();
        assert_eq!(error["code"], "usage", "{arguments:?}");
        assert!(error["message"].is_string() && error["causes"].is_array() && error.contains_key("hint"));
        let output = run(folder.path(), &[arguments, &["-ojson"]].concat());
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn colour_comes_only_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let stderr = |arguments: &[&str]| String::from_utf8(run(folder.path(), arguments).stderr).unwrap();
    assert!(stderr(&["backup", "list", "--color", "always"]).contains("\u{1b}["));
    assert!(!stderr(&["backup", "list"]).contains('\u{1b}'));
    assert!(stderr(&["nonsense", "--color", "always"]).contains("\u{1b}["));
    assert!(!stderr(&["nonsense", "--color", "never"]).contains('\u{1b}'));
}
