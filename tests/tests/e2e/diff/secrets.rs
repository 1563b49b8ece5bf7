//! Values of Secrets stay where they are.

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use super::{diff, site};
use crate::support::turn;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_in_every_form_unless_they_are_asked_for() {
    let _turn = turn().await;
    let secret = |name: &str, password: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default",
            "annotations": {"kapp.k14s.io/original": format!("{{\"stringData\":{{\"password\":\"{password}\"}}}}")}},
            "stringData": {"password": password, "same": "unaltered-marker"}})
    };
    let list = |items: &[Value]| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let cluster = Cluster::start().await;
    let file = cluster.temp().join("secrets.json");
    let put = |items: &[Value]| {
        std::fs::write(&file, list(items)).unwrap();
        // This is what leaves the whole object in an annotation.
        cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    };
    put(&[secret("changed", "first-marker"), secret("removed", "removed-marker")]);
    let site = site(&cluster);
    let first = site.create();
    put(&[secret("changed", "second-marker-of-another-length"), secret("added", "added-marker")]);
    cluster.kubectl(&["delete", "secret", "removed"]);
    let second = site.create();
    let words = ["first-marker", "second-marker", "removed-marker", "added-marker", "unaltered-marker"];
    for against in ["--live", &second] {
        for form in ["table", "json", "yaml"] {
            let arguments = ["backup", "diff", &first, against, "-o", form, "-vv"];
            let masked = site.expect(3, &arguments);
            let said = format!("{}{}", masked.stdout, masked.stderr);
            for word in words {
                let encoded = base64(word);
                assert!(!said.contains(word) && !said.contains(&encoded), "{word} in {form}: {said}");
            }
            assert!(masked.stdout.contains("password") || form == "table", "which value differs is told: {masked:?}");
        }
        let told = diff(&site, 3, &[&first, against]);
        let fields = told["changes"].as_array().unwrap().iter().find(|change| change["name"] == "changed").unwrap();
        let fields = fields["fields"].as_array().unwrap();
        let password = fields.iter().find(|field| field["path"] == "/data/password").unwrap();
        assert_eq!((&password["before"], &password["after"]), (&json!("*** (before)"), &json!("*** (after)")));
        assert_eq!(fields.len(), 3, "the password and two annotations: {fields:?}");

        let shown = site.expect(3, &["backup", "diff", &first, against, "-o", "yaml", "--show-secrets"]).stdout;
        for word in ["first-marker", "second-marker-of-another-length", "removed-marker", "added-marker"] {
            assert!(shown.contains(&base64(word)), "{word} in {shown}");
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
