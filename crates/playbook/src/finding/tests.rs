//! Recorded reports of each scanner, and what is hostile.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const REPORTS: [(EventSource, &str, &str); 3] = [
    (EventSource::KubeBench, "kube-bench", include_str!("../../testdata/reports/kube-bench.json")),
    (EventSource::Trivy, "trivy", include_str!("../../testdata/reports/trivy.json")),
    (EventSource::Clair, "clair", include_str!("../../testdata/reports/clair.json")),
];

fn read(body: &str, tool: Option<EventSource>) -> Result<Findings, AlertError> {
    Findings::read(body.as_bytes(), tool, "2026-11-21T21:00:00Z".parse().unwrap())
}

fn recorded(name: &str) -> Value {
    serde_json::from_str(REPORTS.iter().find(|(_, known, _)| *known == name).unwrap().2).unwrap()
}

#[test]
fn recorded_reports_become_findings() {
    for (tool, name, body) in REPORTS {
        let findings = read(body, None).unwrap();
        assert_eq!((findings.tool, &findings.doubts), (tool, &Vec::new()));
        assert_eq!(read(body, Some(tool)).as_ref(), Ok(&findings));
        insta::assert_json_snapshot!(name, findings);
    }
    let bare = recorded("kube-bench")["Controls"].to_string();
    let (bare, whole) = (read(&bare, None).unwrap(), read(REPORTS[0].2, None).unwrap());
    assert_eq!(bare.findings, whole.findings, "without totals");
}

#[test]
fn what_is_new_and_what_is_gone_is_told_by_what_it_is_and_not_by_its_words() {
    let before = read(REPORTS[1].2, None).unwrap();
    let mut report = recorded("trivy");
    let list = report.pointer_mut("/Results/0/Vulnerabilities").unwrap().as_array_mut().unwrap();
    list[0]["Title"] = "another wording".into();
    list[1]["InstalledVersion"] = "2.6.2".into();
    list.push(json!({"VulnerabilityID": "CVE-1", "PkgName": "apt", "InstalledVersion": "2.6.2", "Severity": "HIGH"}));
    let diff = read(&report.to_string(), None).unwrap().since(&before);
    let ids = |findings: &[Finding]| findings.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(
        (ids(&diff.added), ids(&diff.removed), diff.unchanged),
        (vec!["CVE-1".to_owned(), "CVE-2011-3374".to_owned()], vec!["CVE-2011-3374".to_owned()], 2,)
    );
    assert_eq!(before.since(&before), FindingsDiff { unchanged: 3, ..FindingsDiff::default() });
}

#[test]
fn what_no_scanner_writes_is_refused() {
    for (tool, body, wanted) in [
        (None, "{}", "it is not known"),
        (Some(EventSource::Falco), "{}", "only kube-bench, Trivy and Clair"),
        (Some(EventSource::KubeBench), "{}", "it has no 'Controls'"),
        (Some(EventSource::KubeBench), r#"{"Controls": {}}"#, "'Controls' is no list"),
        (Some(EventSource::KubeBench), r#"{"Controls": [1]}"#, "it is no JSON object"),
        (Some(EventSource::Trivy), r#"{"SchemaVersion": 1}"#, "its 'SchemaVersion' is not 2"),
        (Some(EventSource::Trivy), r#"{"SchemaVersion": 2, "Results": [{"Vulnerabilities": "x"}]}"#, "is no list"),
        (Some(EventSource::Clair), r#"{"manifest_hash": "x"}"#, "it has no 'manifest_hash' and"),
        (None, "{", "no JSON that is accepted"),
    ] {
        let error = read(body, tool).unwrap_err().to_string();
        assert!(error.contains(wanted), "{body}: {error}");
    }
    let many = vec![json!({"VulnerabilityID": "x", "Severity": "LOW"}); MAX_FINDINGS + 1];
    let body = json!({"SchemaVersion": 2, "Results": [{"Vulnerabilities": many}]}).to_string();
    assert!(matches!(read(&body, None), Err(AlertError::TooMany { .. })));
}

#[test]
fn what_is_no_id_or_severity_is_told() {
    let mut report = recorded("trivy");
    report["Results"][0]["Vulnerabilities"][0]["Severity"] = 9.into();
    report["Results"][0]["Vulnerabilities"][1]["VulnerabilityID"] = "a\nb".into();
    let findings = read(&report.to_string(), None).unwrap();
    assert_eq!(findings.findings.len(), 2);
    assert_eq!(
        findings.doubts,
        [
            "Severity: no severity that is known",
            "VulnerabilityID: control characters",
            "a finding has no id that is one",
        ]
    );
}

proptest! {
    #[test]
    fn recorded_reports_with_other_values_break_nothing(
        (which, place, value) in (0_usize..3, 0_usize..80, prop_oneof![
            Just(Value::Null), any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from),
            Just(json!([])), Just(json!([1, {"tests": 1}])), Just(json!({"results": [null]})),
        ])
    ) {
        let (tool, _, text) = REPORTS[which];
        let mut body: Value = serde_json::from_str(text).unwrap();
        let mut place = place;
        crate::alert::put(&mut body, &mut place, &value);
        if let Ok(findings) = read(&body.to_string(), Some(tool)) {
            prop_assert!(findings.findings.iter().all(|one| one.severity <= 7 && !one.id.is_empty()));
        }
    }
}
