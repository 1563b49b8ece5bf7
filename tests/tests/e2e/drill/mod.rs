//! Restore drills: an untouched backup passes, and in the same test each damage fails with the finding that names it.

mod apis;
mod forge;
mod jobs;
mod passing;
mod sabotage;
mod trust;
mod workloads;

use serde_json::Value;

use crate::support::{Run, Site};

/// Runs a drill with the recovery key; gives its exit code and its result.
fn drill(site: &Site, id: &str, more: &[&str]) -> (i32, Value) {
    let arguments = [&["drill", "run", id, "-o", "json", "--identity", "recovery.key"], more].concat();
    let run = site.run(&arguments);
    (run.code.unwrap(), json(&run))
}

fn json(run: &Run) -> Value {
    run.json()
}

/// Runs a drill that must pass.
fn passes(site: &Site, id: &str, more: &[&str]) -> Value {
    let (code, result) = drill(site, id, more);
    assert_eq!((code, &result["passed"]), (0, &true.into()), "{result:#}");
    assert_eq!(result["findings"].as_array().map(Vec::len), Some(0), "{result:#}");
    result
}

/// Runs a drill that must fail with that exit code and find just these: code and object, where the object matters.
fn finds(site: &Site, id: &str, more: &[&str], code: i32, wanted: &[(&str, Option<&str>)]) -> Value {
    let (found, result) = drill(site, id, more);
    assert_eq!((found, &result["passed"]), (code, &false.into()), "{result:#}");
    let findings = result["findings"].as_array().unwrap();
    for (code, object) in wanted {
        let is_it =
            |finding: &&Value| finding["code"] == *code && object.is_none_or(|object| finding["object"] == object);
        assert!(findings.iter().any(|finding| is_it(&finding)), "no {code} {object:?}: {result:#}");
    }
    let known = |finding: &Value| wanted.iter().any(|(code, _)| finding["code"] == *code);
    assert!(findings.iter().all(known), "more than was to be found: {result:#}");
    result
}

/// Whether the backup counts as proved.
fn verified(site: &Site, id: &str) -> bool {
    let listed = site.json(0, &["backup", "list"]);
    let backup = listed["backups"].as_array().unwrap().iter().find(|backup| backup["id"] == id);
    backup.unwrap_or_else(|| panic!("{id} is not listed: {listed}"))["verified"].as_bool().unwrap()
}

/// The folders of drills in the folder that a site's drills work in.
fn left_behind(site: &Site) -> Vec<String> {
    let names = std::fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("lifeboat-drill-")).collect()
}
