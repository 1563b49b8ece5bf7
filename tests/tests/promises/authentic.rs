//! Promise 3: what is not signed by a trusted key, belongs to another cluster, or was altered in any byte is never
//! restored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_archive::{Finished, SigningKey};
use lifeboat_model::{LookupEntry, PartName};
use lifeboat_recovery::restore_etcd::{Options, perform};
use lifeboat_recovery::{BackupRef, Catalog, Class, Context, Error, ObjectArg, OpenBackup, Selection};
use lifeboat_tests::cluster::testbed_bin;
use lifeboat_tests::s3::S3Server;
use tempfile::TempDir;

use crate::support::{
    DAMAGES, Keys, Place, Scene, Site, backup_key, context, large, memory, part_key, small, turn, verify,
};

/// The object that is asked for throughout.
const OBJECT: &str = "secrets/kielholen-secret";
/// The plain files of a backup.
const PARTS: [&str; 5] = ["etcd.db", "resources.tar", "index.jsonl", "lookup.jsonl", "coverage.json"];
const NAMESPACE: &str = "zwieback-quarters";
const VALUE: &str = "plaintext-marker-8f3a91c4";

/// Two backups of the small cluster, and what may be had from the second.
async fn scene() -> (Site, Scene) {
    let site = Site::directory(small().await);
    let (first, second) = (site.create(), site.create());
    let stranger = SigningKey::generate().unwrap().to_file_text().unwrap();
    let scene = Scene { files: site.place.files().await, first, second, keys: Keys::of(&site), stranger };
    (site, scene)
}

impl Scene {
    async fn context(&self) -> Context {
        context(memory(&self.files).await, &self.keys)
    }

    fn with(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut scene = self.clone();
        change(scene.files.get_mut(key).unwrap());
        scene
    }

    /// Whether `verify` finds it sound.
    async fn verifies(&self, with_identity: bool) -> bool {
        let keys = with_identity.then_some(&self.keys);
        match verify(&self.context().await, &self.second, keys).await {
            Ok(report) => report.ok,
            Err(error) => {
                assert_eq!(error.class(), Class::Integrity, "{error:?}");
                false
            }
        }
    }
}

/// What a person gets out of a backup; each either as it is, or refused as not authentic.
#[derive(Debug, Clone, PartialEq)]
struct Spoils {
    object: Option<Vec<u8>>,
    objects: Option<Vec<(String, Vec<u8>)>>,
    plain: Option<BTreeMap<String, Vec<u8>>>,
    etcd: Option<(u64, u64)>,
}

impl Spoils {
    /// Everything that can be had.
    async fn of(scene: &Scene) -> Self {
        let context = scene.context().await;
        Self {
            object: authentic(object(&context, scene).await),
            objects: authentic(objects(&context, scene).await),
            plain: authentic(plain(&context, scene).await),
            etcd: authentic(etcd(&context, scene).await),
        }
    }

    /// Nothing here is anything else than what was captured.
    fn assert_no_lies(&self, truth: &Self, what: &str) {
        fn same<T: PartialEq>(found: Option<&T>, truth: Option<&T>) -> bool {
            found.is_none() || found == truth
        }
        assert!(same(self.object.as_ref(), truth.object.as_ref()), "{what}: another object");
        assert!(same(self.objects.as_ref(), truth.objects.as_ref()), "{what}: other objects");
        assert!(same(self.plain.as_ref(), truth.plain.as_ref()), "{what}: other plain files");
        assert!(same(self.etcd.as_ref(), truth.etcd.as_ref()), "{what}: another etcd");
    }
}

/// The result, or nothing where it was refused; any other error is one too many.
fn authentic<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        // A part that was taken away is missed by name.
        Err(error) if matches!(error.class(), Class::Integrity | Class::NotFound) => None,
        Err(error) => panic!("{:?}: {error:?}", error.class()),
    }
}

async fn open(context: &Context, scene: &Scene) -> Result<OpenBackup, Error> {
    let catalog = Catalog::open(context.clone()).await?;
    let backup = catalog.get(&BackupRef::Id(scene.second.clone())).await?;
    OpenBackup::open(backup, Arc::clone(&scene.keys.identities)).await
}

async fn object(context: &Context, scene: &Scene) -> Result<Vec<u8>, Error> {
    let object: ObjectArg = OBJECT.parse().unwrap();
    Ok(open(context, scene).await?.get(&object, Some(NAMESPACE)).await?.1)
}

async fn objects(context: &Context, scene: &Scene) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let (send, receive) = std::sync::mpsc::channel();
    let opened = open(context, scene).await?;
    let read = opened.read(Selection::default(), move |entry, json| {
        send.send((entry.key().to_string(), json.to_vec())).unwrap();
        Ok(())
    });
    read.await?;
    Ok(receive.into_iter().collect())
}

async fn plain(context: &Context, scene: &Scene) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let to = TempDir::new().unwrap();
    let catalog = Catalog::open(context.clone()).await?;
    let backup = catalog.get(&BackupRef::Id(scene.second.clone())).await?;
    let identities = Arc::clone(&scene.keys.identities);
    let result = lifeboat_recovery::download::download(&backup, identities, to.path().join("plain")).await;
    let names = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(to.path().join("plain"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (names(&path), std::fs::read(&path).unwrap()))
        // The manifest is judged by itself, and the first line of a signature may say anything.
        .filter(|(name, _)| !name.starts_with("manifest.json"))
        .collect();
    // What was proved before the damage was met may stay; nothing else does.
    assert!(files.keys().all(|name| PARTS.contains(&name.as_str())), "{files:?}");
    result.map(|_| files)
}

async fn etcd(context: &Context, scene: &Scene) -> Result<(u64, u64), Error> {
    let to = TempDir::new().unwrap();
    let catalog = Catalog::open(context.clone()).await?;
    let backup = catalog.get(&BackupRef::Id(scene.second.clone())).await?;
    let options = Options {
        data_dir: to.path().join("data"),
        name: "default".to_owned(),
        initial_cluster: None,
        initial_cluster_token: "test".to_owned(),
        initial_advertise_peer_urls: vec!["http://localhost:2380".to_owned()],
        bump_revision: 1000,
        etcdutl: testbed_bin().join("etcdutl"),
    };
    let result = perform(&backup, Arc::clone(&scene.keys.identities), &options).await;
    let left = std::fs::read_dir(to.path()).unwrap().count();
    assert_eq!(left, usize::from(result.is_ok()), "a refused restore leaves nothing");
    result.map(|restored| (restored.keys, restored.revision))
}

/// Whether `LIFEBOAT_FLIPS=all` asks for every byte, which takes an hour.
fn is_thorough() -> bool {
    std::env::var("LIFEBOAT_FLIPS").is_ok_and(|flips| flips == "all")
}

/// Places in a file that are tried: all, or its ends, its regions, and some at random.
fn places(length: usize, sample: usize) -> Vec<usize> {
    if length <= sample {
        return (0..length).collect();
    }
    let ends = (0..sample / 4).flat_map(|n| [n, length - 1 - n]);
    let spread = (0..sample / 4).map(|n| n * length / (sample / 4));
    let random = (0..sample / 4).map(|_| fastrand::usize(..length));
    let mut places: Vec<usize> = ends.chain(spread).chain(random).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Nothing of a claim is believed but that it is there.
const CLAIMS: &str = "prod/chain/";

fn flip(bytes: &mut [u8], place: usize) {
    bytes[place] ^= 1 << fastrand::u8(..8);
}

/// Where minisign itself sees no difference: its untrusted comment, and the line break at the very end.
fn means_nothing(key: &str, bytes: &[u8], place: usize) -> bool {
    let comment = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    key.ends_with(".minisig") && (place < comment || place == bytes.len() - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_every_file_counts() {
    let _turn = turn().await;
    let (_site, scene) = scene().await;
    assert!(scene.verifies(false).await && scene.verifies(true).await);
    let truth = Spoils::of(&scene).await;
    let other = backup_key(&scene.first, "");
    let mut flips = 0;
    let (many, few) = if is_thorough() { (usize::MAX, 160) } else { (400, 16) };
    let counts = |key: &str| !key.starts_with(&other) && !key.starts_with(CLAIMS);
    for (key, bytes) in scene.files.iter().filter(|(key, _)| counts(key)) {
        for place in places(bytes.len(), many) {
            let damaged = scene.with(key, |bytes| flip(bytes, place));
            if damaged.verifies(false).await {
                assert!(means_nothing(key, bytes, place), "byte {place} of {key} does not count");
            }
            flips += 1;
        }
        // With the recovery key the parts are opened, by other code: both must see it.
        for place in places(bytes.len(), few) {
            let damaged = scene.with(key, |bytes| flip(bytes, place));
            let what = format!("byte {place} of {key}");
            assert!(!damaged.verifies(true).await || means_nothing(key, bytes, place), "{what} does not count");
            Spoils::of(&damaged).await.assert_no_lies(&truth, &what);
        }
        for length in places(bytes.len(), few) {
            let cut = scene.with(key, |bytes| bytes.truncate(length));
            assert!(
                !cut.verifies(false).await || length == bytes.len() - 1 && key.ends_with(".minisig"),
                "{key} cut to {length}"
            );
        }
        let longer = scene.with(key, |bytes| bytes.push(b'\n'));
        assert!(!longer.verifies(false).await, "a byte more at the end of {key}");
    }
    println!("{flips} bytes flipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_intruder_does_to_the_store() {
    let _turn = turn().await;
    let (_site, scene) = scene().await;
    let truth = Spoils::of(&scene).await;
    assert!(truth.object.is_some() && truth.objects.is_some() && truth.plain.is_some() && truth.etcd.is_some());
    for (name, damage) in DAMAGES {
        let mut damaged = scene.clone();
        damage(&mut damaged);
        assert_ne!(damaged.files, scene.files, "{name}: nothing was done");
        assert!(!damaged.verifies(true).await, "{name}: it verifies");
        let mut spoils = Spoils::of(&damaged).await;
        if name.starts_with("signed: ") {
            // The plain parts are what was signed. That it makes no sense is for `verify` to say, and for a restore.
            spoils.plain = None;
        }
        spoils.assert_no_lies(&truth, name);
        let listing = match Catalog::open(damaged.context().await).await {
            Ok(catalog) => catalog.list().await.unwrap(),
            Err(error) => {
                assert_eq!(error.class(), Class::Integrity, "{name}");
                continue;
            }
        };
        let believed = listing.backups.iter().find(|entry| entry.manifest.id.as_str() == damaged.second);
        let original = Keys::manifest(&scene.files, &scene.second);
        let signed = name.starts_with("signed: ") || name == "another backup before it";
        assert!(signed || believed.is_none_or(|entry| entry.manifest == original), "{name}: {believed:?}");
    }
}

/// A whole backup under another id, of the past or of the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_one_name() {
    let _turn = turn().await;
    let (site, scene) = scene().await;
    for id in ["20200101T000000Z-aaaaaa", "20990101T000000Z-zzzzzz"] {
        let mut files = scene.files.clone();
        for (key, bytes) in &scene.files {
            if let Some(name) = key.strip_prefix(&backup_key(&scene.second, "")) {
                files.insert(backup_key(id, name), bytes.clone());
            }
        }
        site.place.replace(&files);
        let verified = site.json(4, &["backup", "verify", id]);
        assert!(verified.to_string().contains(&format!("is the manifest of backup {}", scene.second)), "{verified}");
        let listed = site.json(4, &["backup", "list"]);
        assert_eq!((listed["backups"].as_array().unwrap().len(), &listed["problems"][0]["id"]), (2, &id.into()));
        // The next backup goes on from what can be believed.
        let next = site.json(0, &["backup", "create"]);
        let next = site.json(0, &["backup", "show", next["id"].as_str().unwrap()]);
        assert_eq!(next["sequence"], 3, "{next}");
    }
}

/// What is taken away cannot be proved, but it shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_shows() {
    let _turn = turn().await;
    let (site, mut scene) = scene().await;
    let third = site.create();
    scene.files = site.place.files().await;
    let mut files = scene.files.clone();
    files.retain(|key, _| !key.contains(&scene.second));
    site.place.replace(&files);
    let verified = site.json(0, &["backup", "verify", &third]);
    assert!(verified.to_string().contains(&format!("the backup before, {}, is not there any more", scene.second)));
    assert_eq!(site.json(6, &["backup", "verify", &scene.second])["error"]["code"], "notFound");

    // Back to the first: its number tells that two are missing, and the next one does not pretend otherwise.
    files.retain(|key, _| !key.contains(&third));
    site.place.replace(&files);
    let listed = site.json(0, &["backup", "list"]);
    assert_eq!(
        (&listed["backups"][0]["id"], &listed["backups"][0]["sequence"]),
        (&scene.first.clone().into(), &1.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_a_bucket_ends_with_its_own_code() {
    let _turn = turn().await;
    let site = Site::s3(small().await, S3Server::versitygw().await);
    let id = site.create();
    let files = site.place.files().await;
    let Place::S3(_) = &site.place else { unreachable!() };
    let to = site.path("to");
    for (key, bytes) in files.iter().filter(|(key, _)| !key.starts_with(CLAIMS)) {
        let mut damaged = bytes.clone();
        // Behind what means nothing in a signature.
        flip(&mut damaged, bytes.len() * 2 / 3);
        site.place.overwrite(key, damaged).await;
        site.expect(4, &["backup", "verify", &id]);
        site.expect(4, &["backup", "verify", &id, "-i", "recovery.key"]);
        site.expect(4, &["backup", "download", &id, "-i", "recovery.key", "--to", to.to_str().unwrap()]);
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        if key.contains("etcd") || key.contains(".json") && !key.contains("lookup") && !key.contains("index") {
            let restore = ["restore", "etcd", &id, "-i", "recovery.key", "--yes", "--data-dir", to.to_str().unwrap()];
            assert_eq!(site.expect(4, &restore).stdout, "", "{key}");
            assert!(!to.exists(), "{key}");
        }
        if !key.contains(".zst.age") {
            site.expect(4, &["backup", "list"]);
            assert_eq!(
                site.expect(4, &["backup", "get", &id, OBJECT, "-n", NAMESPACE, "-i", "recovery.key"]).stdout,
                ""
            );
        }
        site.place.overwrite(key, bytes.clone()).await;
        site.expect(0, &["backup", "verify", &id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_under_the_same_name() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    let id = site.create();
    let files = site.place.files().await;
    site.reach(large().await);
    let refused = site.expect(4, &["backup", "create"]);
    assert!(refused.stderr.contains("and this is cluster"), "{refused:?}");
    assert_eq!((site.listed(), site.place.files().await), (vec![id], files));
}

/// Who has no key but knows the public recipient can seal parts that open. Ranged reads do not read all of a part, and
/// must notice all the same.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_open_and_were_not_signed() {
    let _turn = turn().await;
    let (site, scene) = scene().await;
    let get = ["backup", "get", &scene.second, OBJECT, "-n", NAMESPACE, "-i", "recovery.key", "-o", "json"];
    let found: serde_json::Value = site.expect(0, &get).json();
    assert_eq!(found["data"]["password"], STANDARD.encode(VALUE));

    let mut forged = scene.clone();
    let frames = scene.frames();
    let tar = scene.forge(&PartName::RESOURCES, &frames, &STANDARD.encode(VALUE));
    forged.files.insert(part_key(&scene.second, "resources.tar"), tar);
    refused_to_read(&site, &forged, &get).await;

    // The index sends the reader to another object: digits of the secret's offset are exchanged.
    let mut forged = scene.clone();
    let index = String::from_utf8(scene.keys.open(&scene.files, &scene.second, &PartName::INDEX)).unwrap();
    let line = index.lines().find(|line| line.contains("kielholen-secret")).unwrap();
    let entry: lifeboat_model::IndexEntry = serde_json::from_str(line).unwrap();
    let digits = format!("\"offset\":{},", entry.offset);
    let index = scene.forge(&PartName::INDEX, &frames, &digits);
    forged.files.insert(part_key(&scene.second, "index.jsonl"), index);
    refused_to_read(&site, &forged, &get).await;

    // A lookup that vouches for the forged tar is itself vouched for by the manifest only.
    let mut forged = scene.clone();
    let tar = scene.keys.open(&scene.files, &scene.second, &PartName::RESOURCES);
    let sealed = scene.keys.seal(&replaced(&tar, &STANDARD.encode(VALUE)), &frames[&PartName::RESOURCES]);
    forged.files.insert(part_key(&scene.second, "resources.tar"), sealed.sink);
    let lines = scene.lookup().into_iter().map(|mut line| {
        if let Some(frame) =
            sealed.frames.iter().find(|f| line.part == PartName::RESOURCES && f.plain_offset == line.plain_offset)
        {
            (line.stored_offset, line.stored_length, line.sha256) =
                (frame.stored_offset, frame.stored_length, frame.sha256);
        }
        serde_json::to_string(&line).unwrap() + "\n"
    });
    let lines: String = lines.collect();
    forged.keys.replace_part(&mut forged.files, &scene.second, "lookup.jsonl", lines.as_bytes());
    refused_to_read(&site, &forged, &get).await;
}

async fn refused_to_read(site: &Site, forged: &Scene, get: &[&str]) {
    site.place.replace(&forged.files);
    let run = site.expect(4, get);
    assert!(!run.stdout.contains("kielholen-secret") && run.json()["error"]["code"] == "integrity", "{run:?}");
    assert!(!forged.verifies(true).await);
    let objects =
        site.expect(4, &["backup", "search", &forged.second, "object.kind == 'Secret'", "-i", "recovery.key"]);
    assert!(!objects.stdout.contains("kielholen-secret"), "{objects:?}");
}

impl Scene {
    fn lookup(&self) -> Vec<LookupEntry> {
        let lookup = self.keys.open(&self.files, &self.second, &PartName::LOOKUP);
        String::from_utf8(lookup).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lengths of the frames of each part.
    fn frames(&self) -> BTreeMap<PartName, Vec<u64>> {
        let mut frames: BTreeMap<PartName, Vec<u64>> = BTreeMap::new();
        for line in self.lookup() {
            frames.entry(line.part).or_default().push(line.plain_length);
        }
        frames
    }

    /// A part in which `word` reads otherwise, and whose frames lie just where the lookup has them.
    fn forge(&self, part: &PartName, frames: &BTreeMap<PartName, Vec<u64>>, word: &str) -> Vec<u8> {
        let plain = self.keys.open(&self.files, &self.second, part);
        let lookup: Vec<_> = self.lookup().into_iter().filter(|line| line.part == *part).collect();
        let mut forged = replaced(&plain, word);
        for _ in 0..20_000 {
            let Finished { frames, sink, .. } = self.keys.seal(&forged, &frames[part]);
            let places = frames.iter().map(|frame| (frame.stored_offset, frame.stored_length));
            if !places.eq(lookup.iter().map(|line| (line.stored_offset, line.stored_length))) {
                forged = replaced(&plain, word);
            } else if sink.len() == self.files[&part_key(&self.second, part.as_str())].len() {
                return sink;
            }
            // Otherwise only age's header is longer, which has grease of a random length.
        }
        panic!("no other '{word}' packs into as many bytes");
    }
}

/// The bytes with another word of the same length in its place: letters for letters, digits for digits.
fn replaced(plain: &[u8], word: &str) -> Vec<u8> {
    let place = memchr::memmem::find(plain, word.as_bytes()).unwrap();
    let mut plain = plain.to_vec();
    let mut changed = false;
    for byte in &mut plain[place..place + word.len()] {
        // Not all of it, so that what comes out is likely to be as long.
        if fastrand::u8(..4) == 0 {
            let other = match *byte {
                b'0'..=b'9' => fastrand::digit(10),
                b'A'..=b'Z' => fastrand::uppercase(),
                b'a'..=b'z' if word.ends_with('=') => fastrand::lowercase(),
                _ => continue,
            };
            let other = u8::try_from(other).unwrap();
            changed |= other != *byte;
            *byte = other;
        }
    }
    if changed { plain } else { replaced(&plain, word) }
}
