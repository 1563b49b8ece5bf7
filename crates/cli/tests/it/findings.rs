//! Reports of scanners: kept, listed, compared, and as gates of a pipeline.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{expect, expect_json};

fn recorded(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).unwrap();
    root.join("crates/playbook/testdata/reports").join(format!("{name}.json")).display().to_string()
}

fn ids(findings: &Value) -> Vec<&str> {
    findings.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn what_is_new_since_the_last_import_stops_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let state = ["--state-dir", "state"];
    let trivy = recorded("trivy");
    let first = [&["finding", "import", &trivy], &state[..]].concat();
    let imported = expect_json(0, at, &first);
    assert_eq!((&imported["earlier"], &imported["diff"]), (&Value::Null, &Value::Null));
    assert_eq!(ids(&imported["report"]["findings"]), ["CVE-2024-45491", "KSV001", "CVE-2011-3374"]);

    // The same again: all of it is bad, and nothing of it is new.
    expect_json(3, at, &[&first[..], &["--fail-on", "critical"]].concat());
    expect_json(0, at, &[&first[..], &["--fail-on", "alert"]].concat());
    let again = expect_json(0, at, &[&first[..], &["--fail-on", "debug", "--new"]].concat());
    assert_eq!(again["diff"], json!({"added": [], "removed": [], "unchanged": 3}));

    let mut report: Value = serde_json::from_str(&std::fs::read_to_string(recorded("trivy")).unwrap()).unwrap();
    report["Results"][0]["Vulnerabilities"][1] =
        json!({"VulnerabilityID": "CVE-2026-1", "PkgName": "apt", "InstalledVersion": "2.6.1", "Severity": "HIGH"});
    std::fs::write(at.join("later.json"), report.to_string()).unwrap();
    let diff = |code: i32, severity: &str| {
        expect_json(code, at, &[&["finding", "diff", "later.json", "--fail-on", severity], &state[..]].concat())
    };
    let found = diff(3, "error");
    assert_eq!(
        (ids(&found["diff"]["added"]), ids(&found["diff"]["removed"])),
        (vec!["CVE-2026-1"], vec!["CVE-2011-3374"])
    );
    diff(0, "critical");
    // It was not kept by that, and is now.
    expect_json(3, at, &[&["finding", "import", "later.json", "--fail-on", "error", "--new"], &state[..]].concat());
    let kept = expect_json(0, at, &[&["finding", "diff"], &state[..]].concat());
    assert_eq!(
        (ids(&kept["diff"]["added"]), &kept["subject"]),
        (vec!["CVE-2026-1"], &json!("registry.example.com/shop/web:1.4"))
    );
    let text = expect(0, at, &[&["finding", "diff"], &state[..]].concat());
    assert!(text.contains("1 new, 1 gone, 2 as before") && text.contains("CVE-2026-1"), "{text}");
}

#[test]
fn the_last_import_of_each_subject_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let state = ["--state-dir", "state"];
    assert_eq!(expect(0, at, &[&["finding", "list"], &state[..]].concat()), "no imports\n");
    let missing = expect_json(6, at, &[&["finding", "diff"], &state[..]].concat());
    assert_eq!(missing["error"]["code"], "notFound");
    for name in ["kube-bench", "trivy", "clair"] {
        expect_json(0, at, &[&["finding", "import", &recorded(name)], &state[..]].concat());
    }
    let node = ["finding", "import", &recorded("kube-bench"), "--subject", "node-7"].map(str::to_owned);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    expect_json(0, at, &[&node[..], &state[..]].concat());
    let listed = |more: &[&str]| -> Vec<(String, usize)> {
        let list = expect_json(0, at, &[&["finding", "list"], &state[..], more].concat());
        let reports = list["reports"].as_array().unwrap().iter();
        reports
            .map(|report| {
                (report["subject"].as_str().unwrap().to_owned(), report["findings"].as_array().unwrap().len())
            })
            .collect()
    };
    let manifest = "sha256:35c102085707f703de2d9eaad8752d6fe1b8f02b5d2149f1d8357c9cc7fb7d0a";
    let all = [(manifest, 2), ("master", 3), ("node-7", 3), ("registry.example.com/shop/web:1.4", 3)];
    assert_eq!(listed(&[]), all.map(|(subject, count)| (subject.to_owned(), count)));
    assert_eq!(
        listed(&["--tool", "kube-bench", "--severity", "error"]),
        [("master".to_owned(), 1), ("node-7".to_owned(), 1)]
    );
    expect_json(2, at, &[&["finding", "diff"], &state[..]].concat());
    expect_json(6, at, &[&["finding", "diff", "--subject", "node-7"], &state[..]].concat());
    expect_json(2, at, &["finding", "import", "none.json", "--fail-on", "bad"]);
    std::fs::write(at.join("none.json"), "{}").unwrap();
    let none = expect_json(2, at, &[&["finding", "import", "none.json"], &state[..]].concat());
    assert_eq!(none["error"]["code"], "usage");
}
