//! Spans of backups reach a collector, and a collector that is not there is in nobody's way.

use serde_json::json;

use crate::support::{Collector, Daemon, Site, attribute, configure, small};

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_backup_reach_a_collector() {
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    let collector = Collector::start().await;
    std::fs::write(site.path("ca.crt"), &collector.authority).unwrap();
    std::fs::write(site.path("headers"), "Authorization: Bearer s3cr3t\n").unwrap();
    site.set("LIFEBOAT_TELEMETRY_OTLP_ENDPOINT", format!("https://{}/", collector.address));
    site.set("LIFEBOAT_TELEMETRY_OTLP_HEADERS_FILE", "headers");

    // Whom the system does not trust is told nothing, and the backup is none the worse.
    let created = site.expect(0, &["-o", "json", "backup", "create"]);
    assert_eq!(created.stderr.matches("spans do not reach the collector").count(), 1, "{created:?}");
    assert!(created.stderr.contains("certificate") && !created.stderr.contains("s3cr3t"), "{created:?}");
    assert!(collector.requests().is_empty());

    site.set("LIFEBOAT_TELEMETRY_OTLP_CA_FILE", "ca.crt");
    // Nothing of the log decides what is sent.
    let created = site.expect(0, &["-q", "-o", "json", "backup", "create"]);
    assert_eq!(created.stderr, "");
    let roots = collector.spans("backup");
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(attribute(&roots[0].attributes, "id").as_deref(), created.json()["id"].as_str());
    let below = collector.below(&roots[0]);
    let part = |name: &str| format!("backup/{name}/part");
    assert_eq!(
        below,
        [
            "backup/claim".to_owned(),
            "backup/commit".to_owned(),
            "backup/etcd".to_owned(),
            part("etcd"),
            "backup/objects".to_owned(),
            part("objects"),
            part("objects"),
            "backup/part".to_owned(),
            "backup/part".to_owned(),
        ]
    );
    let mut parts: Vec<_> =
        collector.spans("part").iter().map(|span| attribute(&span.attributes, "name").unwrap()).collect();
    parts.sort();
    let stored = created.json()["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap().to_owned())
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(parts, Vec::from_iter(stored));
    let facts = collector.facts();
    for fact in
        [("service.name", "lifeboat"), ("service.version", env!("CARGO_PKG_VERSION")), ("k8s.cluster.name", "prod")]
    {
        assert!(facts.iter().any(|(name, value)| (name.as_str(), value.as_str()) == fact), "{fact:?} in {facts:?}");
    }
    let requests = collector.requests();
    assert!(requests.iter().all(|line| line == "POST /v1/traces application/x-protobuf Bearer s3cr3t"), "{requests:?}");

    // The daemon's: the run on its schedule, and the backup in it.
    configure(&site, &json!({"schedules": [{"name": "often", "spec": {"schedule": "* * * * *"}}]}));
    let mut daemon = Daemon::start(&site, "only", 0);
    let line = daemon.says("a backup is complete", 0).await;
    let id = daemon.lines()[line - 1]["fields"]["backup"].as_str().unwrap().to_owned();
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());
    let runs = collector.spans("run");
    let run = runs.iter().find(|run| attribute(&run.attributes, "backup").as_ref() == Some(&id)).unwrap();
    assert!(collector.below(run).contains(&"run/backup/commit".to_owned()), "{:?}", collector.below(run));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_is_in_nobodys_way() {
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    // It takes connections, and that is all.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    site.set("LIFEBOAT_TELEMETRY_OTLP_ENDPOINT", format!("http://{}", deaf.local_addr().unwrap()));
    site.expect(0, &["backup", "create"]);
    // What cannot even be begun is said, and is no reason to fail.
    site.set("LIFEBOAT_TELEMETRY_OTLP_HEADERS_FILE", "missing");
    let created = site.expect(0, &["backup", "create"]);
    assert!(created.stderr.contains("no spans are sent") && created.stderr.contains("'missing'"), "{created:?}");
    site.set("LIFEBOAT_TELEMETRY_OTLP_ENDPOINT", "collector:4318");
    let refused = site.expect(2, &["backup", "create"]);
    assert!(refused.stderr.contains("telemetry.otlp.endpoint: 'collector:4318'"), "{refused:?}");
}
