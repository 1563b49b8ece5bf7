//! Promise 7: retention never removes the newest complete backup, nor the newest that a drill has verified, nor trusts a
//! date that an archive alone claims; and while it removes, nothing is listed that does not restore.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockRetention, ObjectLockRetentionMode, ObjectLockRule,
};
use jiff::{SignedDuration, Timestamp};
use lifeboat_archive::SigningKey;
use lifeboat_model::{BackupId, Reason};
use lifeboat_recovery::{Progress, backup};
use lifeboat_store::DirectoryStore;
use lifeboat_tests::s3::S3Server;
use serde_json::{Value, json};

use super::gaps_are_loud::limited;
use crate::support::{
    Daemon, Files, Keys, Place, Run, Site, backup_key, configure, context, names_in_folder, part_key, request, small,
    turn, until,
};

/// Kills of each of the killers below, unless `LIFEBOAT_KILLS` says otherwise.
const KILLS: usize = 20;
const DAY: Duration = Duration::from_hours(24);

fn ids(listed: &Value, field: &str) -> Vec<String> {
    listed[field].as_array().unwrap().iter().map(|form| form["id"].as_str().unwrap().to_owned()).collect()
}

/// By which rules a backup stays.
fn rules(pruned: &Value, id: &str) -> Vec<String> {
    let kept = pruned["kept"].as_array().unwrap().iter().find(|form| form["id"] == id);
    let reasons = kept.unwrap_or_else(|| panic!("{id} does not stay: {pruned}"))["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["rule"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_on_a_directory() {
    let _turn = turn().await;
    killer(&Site::directory(small().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_on_s3() {
    let _turn = turn().await;
    killer(&Site::s3(small().await, S3Server::versitygw().await)).await;
}

/// Prunes the same store again and again, and kills it each time: what is listed then holds, and the next prune ends with
/// what one that nobody kills ends with.
async fn killer(site: &Site) {
    const PRUNE: [&str; 5] = ["backup", "prune", "--yes", "--keep-last", "2"];
    let wanted = std::env::var("LIFEBOAT_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let created: Vec<String> = (0..6).map(|_| site.create()).collect();
    let whole = site.place.files().await;
    let begun = Instant::now();
    let pruned = site.json(0, &PRUNE);
    let mut usual = begun.elapsed();
    assert_eq!((ids(&pruned, "removed").len(), ids(&pruned, "kept").len()), (4, 2), "{pruned}");
    let clean = site.place.files().await;
    let last: BTreeSet<&String> = created[4..].iter().collect();

    let (mut kills, mut stages) = (0, BTreeSet::new());
    for attempt in 0.. {
        if kills == wanted {
            break;
        }
        assert!(attempt < 8 * wanted, "only {kills} of {attempt} runs were still there to be killed");
        put_back(&site.place, &whole, &created).await;
        let mut child = site.command(&PRUNE).spawn().unwrap();
        // The moment is the point: nothing is waited for here.
        std::thread::sleep(usual.mul_f64(1.2 * random.f64()));
        child.kill().unwrap();
        let killed = child.wait_with_output().unwrap().status.signal() == Some(9);
        kills += usize::from(killed);
        // How long a run takes depends on what else this machine does.
        usual = usual.mul_f64(if killed { 1.1 } else { 0.8 });
        let listed = site.listed();
        assert!(last.iter().all(|id| listed.contains(id)), "{listed:?}");
        for id in &listed {
            site.expect(0, &["backup", "verify", id]);
        }
        stages.insert(site.place.files().await.len());
        let again = site.json(0, &PRUNE);
        assert_eq!(again["failed"].as_array().map(Vec::len), Some(0), "{again}");
        assert_eq!(again["unfinished"], serde_json::json!([]), "{again}");
        // A file that was being written is an unfinished upload, which goes with its age only.
        let now: Vec<String> = site.place.files().await.into_keys().filter(|key| !key.contains(".part-")).collect();
        assert!(now.iter().eq(clean.keys()), "{now:?} after {again}");
    }
    println!("{kills} kills with {stages:?} files left");
    assert!(stages.iter().any(|left| *left > clean.len() && *left < whole.len()), "none was killed in the middle");
    for id in last {
        site.verify(id);
    }
}

/// Brings all files back, and the manifests in the order of the backups.
async fn put_back(place: &Place, files: &Files, created: &[String]) {
    if let Place::Directory(_) = place {
        place.replace(files);
    } else {
        let there = place.files().await;
        for (key, bytes) in files.iter().filter(|(key, _)| !there.contains_key(*key)) {
            place.overwrite(key, bytes.clone()).await;
        }
    }
    for id in created {
        let manifest = backup_key(id, "manifest.json");
        place.overwrite(&manifest, files[&manifest].clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drill_has_verified_stays() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let created: Vec<String> = (0..4).map(|_| site.create()).collect();
    let drilled = site.json(0, &["drill", "run", &created[0], "-i", "recovery.key"]);
    assert_eq!(drilled["passed"], true, "{drilled}");

    let before = site.place.files().await;
    let planned = site.json(0, &["backup", "prune", "--dry-run", "--keep-last", "1"]);
    assert_eq!(site.place.files().await, before, "a dry run changes nothing");
    assert_eq!(
        (planned["dryRun"].clone(), ids(&planned, "removed")),
        (true.into(), vec![created[2].clone(), created[1].clone()])
    );
    assert_eq!(rules(&planned, &created[0]), ["newestVerified"]);
    assert_eq!(rules(&planned, &created[3]), ["keepLast"]);
    // Nobody is there to be asked.
    let asked = site.expect(5, &["backup", "prune", "--keep-last", "1"]);
    assert!(asked.stderr.contains("newestVerified") && asked.stderr.contains("--yes"), "{asked:?}");
    assert_eq!(site.place.files().await, before);
    // Where two are to be verified, nothing complete goes.
    let held = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1", "--min-verified", "2"]);
    assert_eq!((ids(&held, "removed").len(), rules(&held, &created[1])), (0, vec!["minVerified".to_owned()]));

    site.expect(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!(site.listed(), [created[3].clone(), created[0].clone()]);
    let shown = site.json(0, &["backup", "show", "latest-verified"]);
    assert_eq!(shown["id"], created[0].as_str());
    // From a newer proof on the older one may go.
    site.expect(0, &["drill", "run", &created[3], "-i", "recovery.key"]);
    site.expect(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!(site.listed(), [created[3].clone()]);
    site.verify(&created[3]);
    // The chain goes on.
    let next = site.create();
    let shown = site.json(0, &["backup", "show", &next]);
    assert_eq!((&shown["sequence"], &shown["previous"]["id"]), (&5.into(), &created[3].as_str().into()), "{shown}");
}

/// Somebody has the signing key and adds backups of invented dates, to push the good ones out.
#[tokio::test(flavor = "multi_thread")]
async fn dates_that_an_archive_claims_push_nothing_out() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let keys = Keys::of(&site);
    let good = [site.create(), site.create()];
    let mut files = site.place.files().await;
    let honest = Keys::manifest(&files, &good[1]);
    let (mut forged, mut strange) = (Vec::new(), Vec::new());
    let stranger = SigningKey::generate().unwrap();
    for day in (-10..=10_i64).filter(|day| *day != 0) {
        for (signer, known, seed) in [(&*keys.signer, &mut forged, 1), (&stranger, &mut strange, 2)] {
            let claimed = honest.started + SignedDuration::from_hours(24 * day);
            let mut manifest = honest.clone();
            manifest.id = BackupId::new(claimed, seed);
            (manifest.started, manifest.finished) = (claimed, claimed);
            manifest.sequence = honest.sequence.saturating_add_signed(day);
            Keys::put_manifest(signer, &mut files, manifest.id.as_str(), &manifest);
            known.push(manifest.id.to_string());
        }
    }
    for (key, bytes) in &files {
        site.place.overwrite(key, bytes.clone()).await;
    }
    let policy = ["--keep-last", "2", "--keep-daily", "2", "--keep-within", "1h"];
    let pruned = site.json(4, &[&["backup", "prune", "--yes"], &policy[..]].concat());
    assert_eq!(ids(&pruned, "removed"), Vec::<String>::new());
    for id in &good {
        assert!(rules(&pruned, id).contains(&"keepLast".to_owned()), "{pruned}");
    }
    for id in &forged {
        assert_eq!(rules(&pruned, id), ["misdated"]);
    }
    assert_eq!(ids(&pruned, "problems").into_iter().collect::<BTreeSet<_>>(), strange.iter().cloned().collect());
    // Without those that nobody trusts it is still told that some dates are not believed.
    for key in files.keys().filter(|key| strange.iter().any(|id| key.contains(id.as_str()))) {
        let Place::Directory(root) = &site.place else { unreachable!() };
        std::fs::remove_file(root.join(key)).unwrap();
    }
    let told = site.expect(3, &[&["backup", "prune", "--dry-run"], &policy[..]].concat());
    assert!(told.stdout.contains("misdated: its manifest claims another time than the store's"), "{told:?}");
    for id in good {
        site.verify(&id);
    }
}

async fn default_retention(server: &S3Server) {
    let retention = DefaultRetention::builder().mode(ObjectLockRetentionMode::Compliance).days(3).build();
    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(ObjectLockRule::builder().default_retention(retention).build());
    let request = server.client().put_object_lock_configuration().bucket(&server.bucket);
    request.object_lock_configuration(lock.build()).send().await.unwrap();
}

async fn locked_bucket(mut server: S3Server) -> S3Server {
    server.create_bucket("locked", true).await;
    "locked".clone_into(&mut server.bucket);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn what_versitygw_retains_stays() {
    let _turn = turn().await;
    let site = Site::s3(small().await, locked_bucket(S3Server::versitygw().await).await);
    let created = [site.create(), site.create()];
    // This server does not put the default of a bucket on its objects.
    let Place::S3(server) = &site.place else { unreachable!() };
    let until = DateTime::from_secs(Timestamp::now().as_second() + 3 * 86_400);
    let retention = ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Compliance).retain_until_date(until);
    let key = format!("tests/{}", part_key(&created[0], "resources.tar"));
    let request = server.client().put_object_retention().bucket(&server.bucket).key(key);
    request.retention(retention.build()).send().await.unwrap();
    retained(&site, &created).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_minio_retains_stays() {
    let _turn = turn().await;
    let server = locked_bucket(S3Server::minio().await).await;
    default_retention(&server).await;
    let site = Site::s3(small().await, server);
    let created = [site.create(), site.create()];
    retained(&site, &created).await;
}

/// The older one is held for some days.
async fn retained(site: &Site, created: &[String; 2]) {
    let before = site.place.files().await;
    let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!(ids(&pruned, "removed"), Vec::<String>::new());
    assert_eq!(rules(&pruned, &created[0]), ["locked"]);
    let told = site.expect(0, &["backup", "prune", "--dry-run", "--keep-last", "1"]);
    let end = Timestamp::now() + SignedDuration::from_hours(3 * 24);
    let day = end.strftime("%Y-%m-%d").to_string();
    assert!(told.stdout.contains(&format!("locked: retained by the store until {day}")), "{told:?}");
    assert_eq!(site.place.files().await, before);
    site.verify(&created[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_a_legal_hold_stays() {
    let _turn = turn().await;
    let site = Site::s3(small().await, locked_bucket(S3Server::versitygw().await).await);
    let created = [site.create(), site.create(), site.create()];
    let Place::S3(server) = &site.place else { unreachable!() };
    let index = format!("tests/{}", part_key(&created[1], "index.jsonl"));
    let turn_hold = async |status: ObjectLockLegalHoldStatus| {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = server.client().put_object_legal_hold().bucket(&server.bucket).key(&index);
        request.legal_hold(hold).send().await.unwrap();
    };
    turn_hold(ObjectLockLegalHoldStatus::On).await;
    let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!(
        (ids(&pruned, "removed"), rules(&pruned, &created[1])),
        (vec![created[0].clone()], vec!["locked".to_owned()])
    );
    assert!(pruned["warnings"][0].as_str().unwrap().contains("keeps versions"), "{pruned}");
    assert_eq!(site.listed(), [created[2].clone(), created[1].clone()]);
    site.verify(&created[1]);
    turn_hold(ObjectLockLegalHoldStatus::Off).await;
    let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!(ids(&pruned, "removed"), [created[1].clone()]);
    assert_eq!(site.listed(), [created[2].clone()]);
    // As is said, the bytes are still there.
    let versions = server.client().list_object_versions().bucket(&server.bucket).prefix(&index).send().await.unwrap();
    assert_eq!((versions.versions().len(), versions.delete_markers().len()), (1, 1), "{versions:?}");
}

/// Whether a backup is held, and why, as the list, the plan and the backup itself have it.
fn held(site: &Site, id: &str) -> Option<String> {
    let listed = site.json(0, &["backup", "list"]);
    let listed = listed["backups"].as_array().unwrap().iter().find(|backup| backup["id"] == id).unwrap().clone();
    assert_eq!(listed["held"], site.json(0, &["backup", "show", id])["held"]);
    listed["held"]["reason"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays() {
    let _turn = turn().await;
    for (site, legal_holds) in [
        (Site::directory(small().await), false),
        (Site::s3(small().await, locked_bucket(S3Server::versitygw().await).await), true),
    ] {
        let created = [site.create(), site.create(), site.create()];
        let done = site.json(0, &["backup", "hold", &created[0], "--reason", "case 7"]);
        assert_eq!((&done["held"], done["legalHolds"].as_u64() > Some(0)), (&true.into(), legal_holds), "{done}");
        assert_eq!(done["warnings"].as_array().unwrap().len(), usize::from(!legal_holds), "{done}");
        assert_eq!(held(&site, &created[0]).as_deref(), Some("case 7"));
        assert_eq!(held(&site, &created[1]), None);
        let told = site.expect(0, &["backup", "prune", "--dry-run", "--keep-last", "1"]);
        assert!(told.stdout.contains("locked: held: case 7"), "{told:?}");
        let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
        assert_eq!(
            (ids(&pruned, "removed"), rules(&pruned, &created[0])),
            (vec![created[1].clone()], vec!["locked".to_owned()])
        );
        site.verify(&created[0]);
        let done = site.json(0, &["backup", "release", &created[0]]);
        assert_eq!((&done["held"], &done["hold"]["reason"]), (&false.into(), &"case 7".into()), "{done}");
        let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
        assert_eq!(ids(&pruned, "removed"), [created[0].clone()]);
        assert_eq!(site.listed(), [created[2].clone()]);
        site.expect(6, &["backup", "release", &created[0]]);
    }
}

/// Every key of a backup is locked as the configuration asks, and a bucket that cannot is no place for one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_locked() {
    let _turn = turn().await;
    for server in [S3Server::versitygw().await, S3Server::minio().await] {
        let mut site = Site::s3(small().await, locked_bucket(server).await);
        site.set("LIFEBOAT_STORE_OBJECT_LOCK_MODE", "compliance");
        site.set("LIFEBOAT_STORE_OBJECT_LOCK_RETAIN", "36h");
        let begun = Timestamp::now();
        let created = [site.create(), site.create()];
        let Place::S3(server) = &site.place else { unreachable!() };
        let keys = site.place.files().await.into_keys();
        for key in keys.filter(|key| key.contains(&created[0])) {
            let head = server.client().head_object().bucket(&server.bucket).key(format!("tests/{key}")).send();
            let head = head.await.unwrap();
            let until = head.object_lock_retain_until_date().unwrap().secs();
            assert!(until >= begun.as_second() + 36 * 3_600, "{key}: {until}");
        }
        let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
        assert_eq!(rules(&pruned, &created[0]), ["locked"]);
        let doctor = site.run(&["doctor"]);
        assert!(doctor.stdout.contains("on and proved"), "{doctor:?}");
        // A held one has time enough still.
        site.expect(0, &["backup", "hold", &created[0]]);
        assert_eq!(site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"])["extended"], serde_json::json!([]));
        site.set("LIFEBOAT_STORE_OBJECT_LOCK_RETAIN", "90h");
        let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
        assert_eq!(pruned["extended"], serde_json::json!([created[0]]));

        site.set("LIFEBOAT_STORE_S3_BUCKET", "backups");
        let refused = site.expect(1, &["backup", "create"]);
        assert!(refused.stderr.contains("Object Lock"), "{refused:?}");
        let doctor = site.run(&["doctor"]);
        assert!(doctor.stdout.contains("store.objectLock asks for locks"), "{doctor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_end_where_that_is_asked_for() {
    let _turn = turn().await;
    let site = Site::s3(small().await, locked_bucket(S3Server::minio().await).await);
    let created = [site.create(), site.create()];
    let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1", "--purge-versions"]);
    assert_eq!(ids(&pruned, "removed"), [created[0].clone()]);
    assert!(pruned["purged"]["versions"].as_u64() > Some(8) && pruned["purged"]["held"] == 0, "{pruned}");
    assert!(pruned["warnings"].as_array().unwrap().is_empty(), "{pruned}");
    let Place::S3(server) = &site.place else { unreachable!() };
    let all = server.client().list_object_versions().bucket(&server.bucket).send().await.unwrap();
    let of_it = |key: Option<&str>| key.is_some_and(|key| key.contains(&created[0]));
    assert!(!all.versions().iter().any(|version| of_it(version.key())), "{all:?}");
    assert!(!all.delete_markers().iter().any(|marker| of_it(marker.key())), "{all:?}");
    site.verify(&created[1]);
}

/// What is removed is not listed any more, and can be brought back while its bytes wait.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_can_be_brought_back() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let created = [site.create(), site.create()];
    let Place::Directory(root) = &site.place else { unreachable!() };
    let prune = ["backup", "prune", "--yes", "--keep-last", "1", "--remove-after", "2d"];
    assert_eq!(ids(&site.json(0, &prune), "removed"), [created[0].clone()]);
    assert_eq!(site.listed(), [created[1].clone()]);
    assert_eq!(ids(&site.json(0, &prune), "awaiting"), [created[0].clone()]);
    let aside = root.join(format!("prod/removed/{}/manifest.json", created[0]));
    std::fs::copy(aside, root.join(backup_key(&created[0], "manifest.json"))).unwrap();
    site.verify(&created[0]);
    assert_eq!(site.listed(), [created[1].clone(), created[0].clone()]);
}

/// The date of a file, and of its folder, as if nobody had touched it for so long.
fn age(path: &Path, by: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_are_cleared_when_they_are_old_enough_on_a_directory() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let Place::Directory(root) = &site.place else { unreachable!() };
    let root = root.clone();
    leftovers(&site, &root.join("prod/backups"), async |id: &str| {
        let part = root.join(backup_key(id, ".resources.tar.zst.age.part-0123456789abcdef"));
        std::fs::write(&part, "unfinished").unwrap();
        age(&part, 2 * DAY);
    })
    .await;
    assert!(names_in_folder(&root).iter().all(|name| !name.contains(".part-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_are_cleared_when_they_are_old_enough_on_s3() {
    let _turn = turn().await;
    let site = Site::s3(small().await, S3Server::versitygw().await);
    let Place::S3(server) = &site.place else { unreachable!() };
    let root = server.dir().join("root").join(&server.bucket);
    leftovers(&site, &root.join("tests/prod/backups"), async |id: &str| {
        let key = format!("tests/{}", part_key(id, "resources.tar"));
        server.client().create_multipart_upload().bucket(&server.bucket).key(key).send().await.unwrap();
        let mut folders = vec![root.join(".sgwtmp/multipart")];
        while let Some(folder) = folders.pop() {
            age(&folder, 2 * DAY);
            let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
        }
    })
    .await;
    let uploads = server.client().list_multipart_uploads().bucket(&server.bucket).send().await.unwrap();
    assert_eq!(uploads.uploads().len(), 0);
}

/// The parts of two backups without their manifests, one of them old, and an unfinished upload as old as that.
async fn leftovers(site: &Site, backups: &Path, begin_upload: impl AsyncFn(&str)) {
    let id = site.create();
    let files = site.place.files().await;
    let names = ["20200101T000000Z-000000", "20200102T000000Z-000000"];
    for name in names {
        for (key, bytes) in files.iter().filter(|(key, _)| key.contains(&id) && key.contains(".zst.")) {
            site.place.overwrite(&key.replace(&id, name), bytes.clone()).await;
        }
    }
    for file in names_in_folder(&backups.join(names[0])) {
        age(&backups.join(names[0]).join(file), 2 * DAY);
    }
    begin_upload(names[0]).await;
    let planned = site.json(0, &["backup", "prune", "--dry-run", "--keep-last", "1"]);
    assert_eq!((ids(&planned, "cleared"), &planned["uploads"]), (vec![names[0].to_owned()], &1.into()), "{planned}");
    let pruned = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!((ids(&pruned, "cleared"), &pruned["uploads"]), (vec![names[0].to_owned()], &1.into()), "{pruned}");
    assert_eq!(pruned["unfinished"], serde_json::json!([names[1]]), "it was written a moment ago");
    let left: BTreeSet<String> = site.place.files().await.into_keys().filter(|key| !key.contains(names[1])).collect();
    assert_eq!(left, files.into_keys().collect());
    site.verify(&id);
    let again = site.json(0, &["backup", "prune", "--yes", "--keep-last", "1"]);
    assert_eq!((ids(&again, "cleared").len(), &again["uploads"]), (0, &0.into()), "{again}");
}

/// Backups are taken while two others prune all the time.
#[tokio::test(flavor = "multi_thread")]
async fn backups_and_prunes_at_the_same_time() {
    let _turn = turn().await;
    let site = Site::s3(small().await, S3Server::versitygw().await);
    site.create();
    let mut prunes = 0;
    for _ in 0..4 {
        let mut backup = site.command(&["backup", "create", "-o", "json"]).spawn().unwrap();
        while backup.try_wait().unwrap().is_none() {
            let prune =
                || site.command(&["backup", "prune", "--yes", "--keep-last", "2", "-o", "json"]).spawn().unwrap();
            for child in [prune(), prune()] {
                let run = Run::from(child.wait_with_output().unwrap());
                assert_eq!(run.code, Some(0), "{run:?}");
                prunes += 1;
            }
        }
        let run = Run::from(backup.wait_with_output().unwrap());
        assert_eq!((run.code, &run.json()["state"]), (Some(0), &"Complete".into()), "{run:?}");
        for id in site.listed() {
            site.expect(0, &["backup", "verify", &id]);
        }
    }
    assert!(prunes > 8, "only {prunes}");
    site.expect(0, &["backup", "prune", "--yes", "--keep-last", "2"]);
    let listed = site.listed();
    assert_eq!(listed.len(), 2);
    for id in &listed {
        site.verify(id);
    }
    let files = site.place.files().await;
    assert!(files.keys().filter(|key| key.contains("/backups/")).all(|key| listed.iter().any(|id| key.contains(id))));
}

/// The daemon removes by the rules of the configuration where its schedule has none, and what is lacking counts for
/// nothing: a backup that is partial pushes no complete one out.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_keeps_the_last_good_one() {
    let _turn = turn().await;
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    let by_hand = site.create();
    let keys = Keys::of(&site);
    let mut scheduled = Vec::new();
    for number in 0..3 {
        let store = DirectoryStore::open(site.path("store"), number).await.unwrap();
        let wanted = backup::Request { reason: Reason::Schedule("minutely".to_owned()), ..request(cluster, &keys) };
        let taken = backup::create(&context(store, &keys), wanted, Progress::default()).await.unwrap();
        scheduled.push(taken.manifest.id.to_string());
    }
    let drilled = site.json(0, &["drill", "run", &scheduled[0], "-i", "recovery.key"]);
    assert_eq!(drilled["passed"], true, "{drilled}");

    // From now on it cannot see secrets.
    let kubeconfig = limited(cluster, "limited-retention");
    until("permission", async || lifeboat_tests::cluster::kubectl(&kubeconfig, &["get", "nodes"]).ok()).await;
    site.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    let schedule = json!({"name": "minutely", "spec": {"schedule": "* * * * *"}});
    configure(&site, &json!({"schedules": [schedule], "retention": {"keepLast": 1}}));
    let mut daemon = Daemon::start(&site, "only", 0);
    let line = daemon.says("a backup is partial", 0).await;
    let partial = daemon.lines()[line - 1]["fields"]["backup"].as_str().unwrap().to_owned();
    let line = daemon.says("old backups removed", line).await;
    let removed = daemon.lines().remove(line - 1);
    assert_eq!(removed["fields"]["removed"], 1, "{removed}");
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());

    let listed: BTreeSet<String> = site.listed().into_iter().collect();
    assert!(!listed.contains(&scheduled[1]), "{listed:?}");
    // What is verified, what is complete, and what no schedule took.
    for id in [&scheduled[0], &scheduled[2], &by_hand, &partial] {
        assert!(listed.contains(id), "{id} is not in {listed:?}");
        site.verify(id);
    }
}
