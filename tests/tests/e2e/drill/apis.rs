//! Backups of clusters whose API is not the one of the API server that the drill has: other versions of Kubernetes, and
//! APIs that are switched off or not installed.

use serde_json::{Value, json};

use super::{finds, passes, verified};
use crate::support::{Files, Keys, Site, apply, boot, small, turn};

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
