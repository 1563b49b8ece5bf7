//! `backup diff`: a backup against another one, and against the cluster as it is.

mod lists;
mod partial;
mod secrets;

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{Run, Site, boot, shop, turn};

const NAMESPACE: &str = "zwieback-quarters";

/// A site that can open its backups.
fn site(cluster: &Cluster) -> Site {
    let mut site = Site::directory(cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    site
}

/// Changes the boat of the shop.
fn reload(cluster: &Cluster) {
    let boat = ["patch", "boats.shop.example.com/flying-dutchman", "-n", NAMESPACE];
    cluster.kubectl(&[&boat[..], &["--type=merge", "-p", r#"{"cargo":[3]}"#]].concat());
}

fn diff(site: &Site, code: i32, arguments: &[&str]) -> Value {
    let told = site.json(code, &[&["backup", "diff"], arguments].concat());
    assert_eq!(told["same"] == true, code == 0, "{told}");
    told
}

/// Each difference on a line, without what every run has anew.
fn lines(told: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |change: &Value| {
        let fields = change["fields"].as_array().unwrap().iter().map(|field| text(&field["path"]));
        let fields: Vec<String> = fields.collect();
        let words = ["change", "resource", "namespace", "name"].map(|member| text(&change[member]));
        format!("{} {}", words.join(" "), fields.join(" ")).trim_end().to_owned()
    };
    told["changes"].as_array().unwrap().iter().map(line).collect()
}

fn uncompared(told: &Value) -> Vec<String> {
    let lines = told["uncompared"].as_array().unwrap().iter();
    lines.map(|line| format!("{} {}", line["resource"].as_str().unwrap(), line["objects"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_did_is_told_and_nothing_else() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let first = site.create();
    let same = diff(&site, 0, &[&first, "--live"]);
    assert_eq!((lines(&same), uncompared(&same)), (vec![], vec![]), "{same}");
    assert_eq!((&same["against"], &same["otherCluster"]), (&json!("live"), &Value::Null));
    let objects = site.json(0, &["backup", "objects", &first])["count"].clone();
    assert_eq!(same["unchanged"], objects, "every object was compared");

    // Besides what shows: things that are no matter of anybody's.
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5", "-n", NAMESPACE]);
    cluster.kubectl(&["label", "configmap/item-07", "shelf=upper", "-n", NAMESPACE]);
    cluster.kubectl(&["create", "configmap", "a-new-one", "--from-literal=x=1", "-n", NAMESPACE]);
    reload(&cluster);
    cluster.kubectl(&["annotate", "configmap/item-08", "lifeboat.dev/restored-from=x", "-n", NAMESPACE]);
    let expected = [
        "added configmaps zwieback-quarters a-new-one",
        "changed configmaps zwieback-quarters item-07 /metadata/labels/shelf",
        "removed secrets zwieback-quarters kielholen-secret",
        "changed deployments zwieback-quarters web /spec/replicas",
        "changed boats zwieback-quarters flying-dutchman /cargo",
    ];
    let live = diff(&site, 3, &[&first, "--live"]);
    assert_eq!(lines(&live), expected, "{live}");
    let counts = ["added", "removed", "changed", "unchanged"].map(|count| live[count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 3, objects.as_u64().unwrap() - 4], "{live}");
    let replicas = &live["changes"][3]["fields"][0];
    assert_eq!(replicas, &json!({"path": "/spec/replicas", "before": 2, "after": 5}));

    // Another backup tells the same, and the way back is the other way round.
    let second = site.create();
    diff(&site, 0, &[&second, "--live"]);
    let backups = diff(&site, 3, &[&first, &second]);
    assert_eq!((lines(&backups), &backups["against"]), (expected.map(str::to_owned).to_vec(), &json!(second)));
    let back = diff(&site, 3, &[&second, &first]);
    assert_eq!((&back["added"], &back["removed"], &back["changed"]), (&json!(1), &json!(1), &json!(3)), "{back}");
    diff(&site, 0, &[&second, &second]);
    selections(&site, &first);
    forms(&site, &first, &second);
}

fn selections(site: &Site, first: &str) {
    let selected = |code, arguments: &[&str]| lines(&diff(site, code, &[&[first, "--live"], arguments].concat()));
    assert_eq!(selected(3, &["--kind", "deploy"]), ["changed deployments zwieback-quarters web /spec/replicas"]);
    assert_eq!(
        selected(3, &["-n", NAMESPACE, "--kind", "secrets"]),
        ["removed secrets zwieback-quarters kielholen-secret"]
    );
    assert_eq!(selected(0, &["-n", "default"]), Vec::<String>::new());
    assert_eq!(selected(3, &["-n", NAMESPACE]).len(), 5);
    // By the labels that it had, and by those that it has.
    assert_eq!(selected(3, &["-l", "shelf"]), ["changed configmaps zwieback-quarters item-07 /metadata/labels/shelf"]);
    assert_eq!(selected(3, &["-l", "app=web,!shelf"]).len(), 4);
    assert_eq!(selected(0, &["-l", "app=nothing"]), Vec::<String>::new());
    let unknown = site.json(6, &["backup", "diff", first, "--live", "--kind", "secret.apps"]);
    assert!(
        unknown["error"]["message"].as_str().unwrap().contains("neither side has a resource 'secret.apps'"),
        "{unknown}"
    );
    let left_out = site.json(6, &["backup", "diff", first, "--live", "--kind", "events"]);
    assert!(left_out["error"]["message"].as_str().unwrap().contains("left out"), "{left_out}");
    site.expect(2, &["backup", "diff", first]);
    site.expect(2, &["backup", "diff", first, first, "--live"]);
}

fn forms(site: &Site, first: &str, second: &str) {
    let steady = |run: Run| run.stdout.replace(first, "[first]").replace(second, "[second]");
    let table = steady(site.expect(3, &["backup", "diff", first, second, "-n", NAMESPACE]));
    let diff = steady(site.expect(3, &["backup", "diff", first, second, "-n", NAMESPACE, "-o", "yaml"]));
    let live = steady(site.expect(3, &["backup", "diff", first, "--live", "-n", NAMESPACE, "-o", "yaml"]));
    assert_eq!(live, diff.replace("[second]", "live"));
    insta::assert_snapshot!("diff-table", table);
    insta::assert_snapshot!("diff-yaml", diff);
    let same = steady(site.expect(0, &["backup", "diff", second, second]));
    assert!(same.starts_with("0 added, 0 removed, 0 changed, "), "{same}");
    assert_eq!(steady(site.expect(0, &["backup", "diff", second, second, "-o", "yaml"])), "");
}
