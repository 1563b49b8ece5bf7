//! Backups of clusters whose API is not the one of the API server that the drill has: other versions of Kubernetes, APIs
//! that are switched off or not installed, and those of other servers.

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use super::forge::Forge;
use super::{finds, passes, verified};
use crate::support::{Files, Keys, Site, apply, boot, shop, small, turn};

/// The backup as if it had been taken of these versions.
fn taken_of(files: &Files, keys: &Keys, id: &str, kubernetes: &str, etcd: Option<&str>) -> Files {
    let mut files = files.clone();
    let mut manifest = Keys::manifest(&files, id);
    manifest.kubernetes_version = Some(kubernetes.to_owned());
    if let (Some(other), lifeboat_model::EtcdRecord::Captured { version, .. }) = (etcd, &mut manifest.etcd) {
        other.clone_into(version);
    }
    Keys::put_manifest(&keys.signer, &mut files, id, &manifest);
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_another_minor_version() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let (whole, keys) = (site.place.files().await, Keys::of(&site));
    let same = passes(&site, &id, &[]);
    assert!(!same["warnings"].to_string().contains("stands in"), "{same:#}");
    let [major, minor] = {
        let version = same["versions"]["kubernetes"].as_str().unwrap().trim_start_matches('v').to_owned();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
        [numbers.next().unwrap(), numbers.next().unwrap()]
    };

    // An older one: the next later API server stands in for it, and says so; what is true stays true.
    let older = format!("v{major}.{}.7", minor - 1);
    site.place.replace(&taken_of(&whole, &keys, &id, &older, Some("3.5.21")));
    let result = passes(&site, &id, &[]);
    let warnings = result["warnings"].to_string();
    for stands_in in [format!(" stands in for {major}.{}", minor - 1), " stands in for 3.5".to_owned()] {
        assert!(warnings.contains(&stands_in), "{warnings}");
    }
    assert!(verified(&site, &id));
    // A newer one: what its objects mean is not known to any program that is there.
    let newer = format!("v{major}.{}.0", minor + 1);
    site.place.replace(&taken_of(&whole, &keys, &id, &newer, None));
    let refused = site.expect(2, &["drill", "run", &id, "-i", "recovery.key"]);
    assert!(refused.stderr.contains(&format!("no kube-apiserver {major}.{}", minor + 1)), "{refused:?}");
    site.place.replace(&taken_of(&whole, &keys, &id, &older, Some("3.99.0")));
    let refused = site.expect(2, &["drill", "run", &id, "--tier", "1", "-i", "recovery.key"]);
    assert!(refused.stderr.contains("no etcdutl 3.99"), "{refused:?}");
    site.place.replace(&whole);
    passes(&site, &id, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn apis_that_are_switched_off() {
    let _turn = turn().await;
    let cluster = boot(|cluster| {
        apply(cluster, "scaler", &scaler());
        apply(cluster, "cron", &cron());
    })
    .await;
    let site = Site::directory(&cluster);
    let id = site.create();
    passes(&site, &id, &[]);

    // A kind that is not installed, and one that is served at another version only. The API server removes what it had
    // registered for them.
    let off = |what: &str| format!("--api-server-arg=--runtime-config={what}=false");
    let gone = ("object-missing", Some("apiservices.apiregistration.k8s.io/v1.batch"));
    finds(&site, &id, &[&off("batch/v1")], 4, &[("resource-not-served", Some("cronjobs.batch")), gone]);
    let gone = ("object-missing", Some("apiservices.apiregistration.k8s.io/v2.autoscaling"));
    let unreadable = ("resource-unreadable", Some("horizontalpodautoscalers.autoscaling"));
    finds(&site, &id, &[&off("autoscaling/v2")], 4, &[unreadable, gone]);
    passes(&site, &id, &[]);
}

/// A second API server, with an etcd of its own, behind an `APIService` of the first: as metrics and extension servers are.
/// It lets in whom the first one lets in.
async fn aggregated(first: &Cluster) -> Cluster {
    let ca = first.pki().ca().with_file_name("front-proxy-ca.crt");
    let trust = format!("--requestheader-client-ca-file={}", ca.display());
    let second = Cluster::start_with(|builder| builder.api_server_arg(trust)).await;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tides.weather.example.com"},
        "spec": {"group": "weather.example.com", "scope": "Namespaced",
            "names": {"plural": "tides", "singular": "tide", "kind": "Tide"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    apply(&second, "tides", &definition);
    second.kubectl(&["wait", "--for=condition=Established", "crd/tides.weather.example.com", "--timeout=60s"]);

    let port: u16 = second.url().rsplit(':').next().unwrap().parse().unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "weather", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    apply(first, "weather", &service);
    let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.weather.example.com"},
        "spec": {"group": "weather.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "weather", "namespace": "default", "port": port}}});
    apply(first, "api", &api);
    first.kubectl(&["wait", "--for=condition=Available", "apiservice/v1.weather.example.com", "--timeout=180s"]);
    let tide = json!({"apiVersion": "weather.example.com/v1", "kind": "Tide",
        "metadata": {"name": "spring", "namespace": "default"}, "metres": 7});
    apply(first, "tide", &tide);
    second
}

/// What another server keeps is in the backup's objects and not in its etcd. A drill compares everything else, and says by
/// name what it could not compare; it asks no server but its own.
#[tokio::test(flavor = "multi_thread")]
async fn apis_of_another_server() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let second = aggregated(&cluster).await;
    let mut site = Site::directory(&cluster);
    let id = site.create();
    let get = ["backup", "get", &id, "tides.weather.example.com/spring", "-n", "default", "-i", "recovery.key"];
    assert_eq!(site.json(0, &get)["metres"], 7);

    let not_compared = "another server keeps them and not this etcd: tides.weather.example.com";
    let result = passes(&site, &id, &[]);
    assert!(result["warnings"].to_string().contains(not_compared), "{result:#}");
    let is_compared = |result: &Value, name: &str| {
        result["checks"].as_array().unwrap().iter().any(|check| check["name"] == name && check["ok"] == true)
    };
    assert!(!is_compared(&result, "tides.weather.example.com"), "{result:#}");
    assert!(is_compared(&result, "boats.shop.example.com"), "{result:#}");
    assert!(verified(&site, &id), "everything that etcd has comes back");

    // Were there no APIService that says so, they would have to come from etcd, and do not.
    let untouched = Forge::of(&site).await;
    let mut forge = untouched.clone();
    forge.change_object(&id, "v1.weather.example.com", "\"service\":{", "\"servant\":{");
    site.place.replace(&forge.files);
    let changed = ("object-changed", Some("apiservices.apiregistration.k8s.io/v1.weather.example.com"));
    finds(&site, &id, &[], 4, &[("resource-not-served", Some("tides.weather.example.com")), changed]);
    site.place.replace(&untouched.files);
    passes(&site, &id, &[]);

    // A restore of objects names what the target has no server for, and restores the rest.
    let target = Cluster::start().await;
    site.reach(&target);
    let restore = ["restore", "objects", &id, "-i", "recovery.key", "--yes"];
    let restored = site.json(3, &restore);
    let blocked = &restored["blocked"];
    let named = &blocked[0]["object"];
    assert_eq!((&restored["failed"], blocked.as_array().map(Vec::len)), (&json!([]), Some(1)), "{restored:#}");
    assert_eq!(*named, "tides.weather.example.com/spring -n default", "{restored:#}");
    assert!(target.kubectl(&["get", "boats", "-A", "-o", "name"]).contains("flying-dutchman"));
    assert!(second.kubectl(&["get", "tides", "-A", "-o", "name"]).contains("spring"));
}

fn scaler() -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
}

fn cron() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "night", "namespace": "default"},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "example.com/c:1"}]}}}}}})
}
