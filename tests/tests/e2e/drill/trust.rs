//! A report counts only if a trusted key signed it for just this backup.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_archive::SigningKey;
use lifeboat_model::{DrillReport, DrillTargets, SignedDocument, Tier};
use lifeboat_recovery::drill::{Request, Target, run};
use lifeboat_recovery::{BackupRef, Catalog, Class};

use super::{finds, passes, verified};
use crate::support::{DAMAGES, Files, Keys, Scene, Site, context, memory, small, turn};

/// Something that is done to the store, and what.
type Change<'a> = (&'a str, Box<dyn Fn(&mut Files) + 'a>);

/// The key of the newest report of a backup.
fn report_key(files: &Files, backup: &str) -> String {
    let folder = format!("prod/drills/{backup}/");
    files.keys().rfind(|key| key.starts_with(&folder) && key.ends_with("/report.json")).unwrap().clone()
}

fn signed(files: &mut Files, key: &str, report: &DrillReport, signer: &SigningKey) {
    let bytes = report.to_bytes().unwrap();
    let signature = signer.sign(&bytes, &report.trusted_comment()).unwrap();
    files.insert(key.to_owned(), bytes);
    files.insert(format!("{key}.minisig"), signature.into_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_without_proof() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let keys = Keys::of(&site);
    let (proved, other) = (site.create(), site.create());
    passes(&site, &proved, &[]);
    assert!(verified(&site, &proved) && !verified(&site, &other));
    let whole = site.place.files().await;
    let key = report_key(&whole, &proved);
    let report = DrillReport::parse(&whole[&key]).unwrap();

    let stranger = SigningKey::generate().unwrap();
    let elsewhere = key.replace(&proved, &other);
    let untrusted: [Change<'_>; 7] = [
        ("a byte of the report", Box::new(|files| files.get_mut(&key).unwrap()[40] ^= 1)),
        ("a byte of its signature", Box::new(|files| files.get_mut(&format!("{key}.minisig")).unwrap()[80] ^= 1)),
        ("no signature", Box::new(|files| drop(files.remove(&format!("{key}.minisig"))))),
        ("signed by a stranger", Box::new(|files| signed(files, &key, &report, &stranger))),
        (
            "the report of another backup",
            Box::new(|files| {
                for end in ["", ".minisig"] {
                    let bytes = files.remove(&format!("{key}{end}")).unwrap();
                    files.insert(format!("{elsewhere}{end}"), bytes);
                }
            }),
        ),
        (
            "signed for another cluster",
            Box::new(|files| {
                let report = DrillReport { cluster_id: "another".to_owned(), ..report.clone() };
                signed(files, &key, &report, &keys.signer);
            }),
        ),
        (
            "under another drill's name",
            Box::new(|files| {
                let to = key.replace(report.id.as_str(), "20300101T000000Z-000000");
                for end in ["", ".minisig"] {
                    let bytes = files.remove(&format!("{key}{end}")).unwrap();
                    files.insert(format!("{to}{end}"), bytes);
                }
            }),
        ),
    ];
    for (what, change) in untrusted {
        let mut files = whole.clone();
        change(&mut files);
        site.place.replace(&files);
        assert!(!verified(&site, &proved) && !verified(&site, &other), "{what}");
        let listed = site.json(4, &["drill", "list"]);
        assert_eq!(
            (listed["drills"].as_array().map(Vec::len), listed["problems"].as_array().map(Vec::len)),
            (Some(0), Some(1)),
            "{what}: {listed}"
        );
        site.expect(6, &["backup", "show", "latest-verified"]);
    }

    // Signed by the right key, and yet no proof of this backup as it is.
    let no_proof: [(&str, DrillReport); 4] = [
        ("another manifest", DrillReport { manifest_sha256: lifeboat_model::Digest::of(b"another"), ..report.clone() }),
        ("a lower tier", DrillReport { tier: 1.try_into().unwrap(), ..report.clone() }),
        ("it does not restore", DrillReport { restores: false, passed: false, ..report.clone() }),
        ("a later format", DrillReport { format: "2.0".to_owned(), ..report.clone() }),
    ];
    for (what, report) in no_proof {
        let mut files = whole.clone();
        signed(&mut files, &key, &report, &keys.signer);
        site.place.replace(&files);
        assert!(!verified(&site, &proved), "{what}");
    }

    // Details that are not those of the report.
    let mut files = whole.clone();
    let details = key.replace("report.json", "details.json.zst.age");
    let bytes = files.get_mut(&details).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.place.replace(&files);
    site.expect(4, &["drill", "show", "latest", "--identity", "recovery.key"]);
    site.place.replace(&whole);
    site.expect(0, &["drill", "show", "latest", "--identity", "recovery.key"]);
    assert!(verified(&site, &proved));

    // The newest drill that says anything decides: damage shows, and an interrupted or slow drill changes nothing.
    finds(&site, &proved, &["--rto", "0s"], 3, &[("rto-missed", None)]);
    finds(&site, &proved, &["--api-server-arg=--no-such-flag"], 1, &[("api-server-not-booted", None)]);
    assert!(verified(&site, &proved));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_without_a_report_proves_nothing_to_others() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let result = passes(&site, &id, &["--no-report"]);
    assert_eq!(result["stored"], false);
    assert!(!verified(&site, &id));
    assert!(!site.place.files().await.keys().any(|key| key.contains("/drills/")));
    std::fs::remove_file(site.path("signing.key")).unwrap();
    let refused = site.expect(6, &["drill", "run", &id, "-i", "recovery.key"]);
    assert!(refused.stderr.contains("signing.key"), "{refused:?}");
    passes(&site, &id, &["--no-report", "--tier", "1"]);
}

/// Whatever an intruder does to the store, somebody with the signing key included, no drill says that it restores.
#[tokio::test(flavor = "multi_thread")]
async fn no_drill_passes_a_damaged_backup() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let (first, second) = (site.create(), site.create());
    let stranger = SigningKey::generate().unwrap().to_file_text().unwrap();
    let scene = Scene { files: site.place.files().await, first, second, keys: Keys::of(&site), stranger };
    let work = tempfile::tempdir().unwrap();
    let restores = async |scene: &Scene| {
        let request = Request {
            tier: Tier::Content,
            target: Target::Local,
            checks: Vec::new(),
            ready_within: Duration::ZERO,
            environment: Vec::new(),
            identities: Some(Arc::clone(&scene.keys.identities)),
            programs: Vec::new(),
            encryption_config: None,
            api_server_args: Vec::new(),
            scratch: work.path().to_owned(),
            targets: DrillTargets::default(),
            signer: Some(Arc::clone(&scene.keys.signer)),
            tool: "lifeboat tests".to_owned(),
            keep: false,
        };
        let wanted = BackupRef::Id(scene.second.clone());
        let catalog = match Catalog::open(context(memory(&scene.files).await, &scene.keys)).await {
            Ok(catalog) => catalog,
            Err(error) => {
                assert_eq!(error.class(), Class::Integrity, "{error:?}");
                return false;
            }
        };
        let drilled = run(&catalog, &wanted, request).await.unwrap();
        drilled.outcome.restores
    };
    assert!(restores(&scene).await, "untouched, it passes");
    for (what, damage) in DAMAGES {
        let mut scene = scene.clone();
        damage(&mut scene);
        assert!(!restores(&scene).await, "{what}");
    }
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
}
