//! What an intruder may do to a store, and what must not be believed afterwards.

use std::io::Write as _;

use lifeboat_archive::{Sealed, SigningKey};
use lifeboat_model::{BackupId, ClusterRecord, LookupEntry, Manifest, PartName, Previous, SignedDocument};
use serde_json::Value;

use super::{Files, Keys, backup_key, part_key};

/// A store with two backups of the cluster `prod`, the second of which the intruder is after.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) files: Files,
    /// The first, with objects.
    pub(crate) first: String,
    /// The second, with objects and etcd.
    pub(crate) second: String,
    /// The keys of the site, its signing key included: some of these intruders have it.
    pub(crate) keys: Keys,
    /// The text of a signing key that nobody trusts.
    pub(crate) stranger: String,
}

type Damage = fn(&mut Scene);

/// Each kind of damage by its name. The store must refuse the second backup after each of them.
pub(crate) const DAMAGES: [(&str, Damage); 38] = [
    ("a bit of the etcd snapshot", |scene| scene.flip("etcd.db.zst.age")),
    ("a bit of the objects", |scene| scene.flip("resources.tar.zst.age")),
    ("a bit of the index", |scene| scene.flip("index.jsonl.zst.age")),
    ("a bit of the lookup", |scene| scene.flip("lookup.jsonl.zst.age")),
    ("a bit of the coverage", |scene| scene.flip("coverage.json.zst.age")),
    ("a bit of the manifest", |scene| scene.flip("manifest.json")),
    ("a bit of the signature", |scene| scene.flip("manifest.json.minisig")),
    ("the last byte is gone", |scene| {
        scene.bytes("resources.tar.zst.age").pop();
    }),
    ("all bytes are gone", |scene| scene.bytes("etcd.db.zst.age").clear()),
    ("the last chunk is gone", |scene| {
        let bytes = scene.bytes("etcd.db.zst.age");
        bytes.truncate(bytes.len() / 2);
    }),
    ("a byte more", |scene| scene.bytes("index.jsonl.zst.age").push(0)),
    ("the manifest has a byte more", |scene| scene.bytes("manifest.json").push(b'\n')),
    ("a part is gone", |scene| {
        scene.files.remove(&part_key(&scene.second, "lookup.jsonl"));
    }),
    ("a part of the other backup", |scene| {
        let other = scene.files[&part_key(&scene.first, "resources.tar")].clone();
        *scene.bytes("resources.tar.zst.age") = other;
    }),
    ("a part under another part's name", |scene| {
        let other = scene.bytes("coverage.json.zst.age").clone();
        *scene.bytes("lookup.jsonl.zst.age") = other;
    }),
    ("the other backup under this name", |scene| scene.replace_by_first(|_| true)),
    ("the other manifest, rolled back", |scene| scene.replace_by_first(|file| file.starts_with("manifest"))),
    ("the signature of the other backup", |scene| scene.replace_by_first(|file| file == "manifest.json.minisig")),
    ("no signature", |scene| {
        scene.files.remove(&backup_key(&scene.second, "manifest.json.minisig"));
    }),
    ("signed by a stranger", |scene| {
        let manifest = scene.manifest();
        let stranger = SigningKey::from_text(&scene.stranger, None).unwrap();
        Keys::put_manifest(&stranger, &mut scene.files, &scene.second, &manifest);
    }),
    ("a manifest of a cluster of another name", |scene| {
        scene.sign(|manifest| manifest.cluster = "stage".parse().unwrap());
    }),
    ("a manifest of another cluster of this name", |scene| {
        scene.sign(|manifest| manifest.cluster_id = other_cluster());
    }),
    ("a manifest of another backup", |scene| {
        let other: BackupId = "20300101T000000Z-000000".parse().unwrap();
        scene.sign(|manifest| manifest.id = other);
    }),
    ("a manifest of a later format", |scene| scene.sign(|manifest| manifest.format = "2.0".to_owned())),
    ("a part listed twice", |scene| scene.sign(|manifest| manifest.parts.extend(manifest.parts.first().cloned()))),
    ("a key twice in the manifest", |scene| {
        let text = String::from_utf8(scene.bytes("manifest.json").clone()).unwrap();
        scene.sign_bytes(text.replacen("\"state\"", "\"state\": \"Complete\", \"state\"", 1).into_bytes());
    }),
    ("a part whose name climbs", |scene| {
        let text = String::from_utf8(scene.bytes("manifest.json").clone()).unwrap();
        scene.sign_bytes(text.replacen("\"etcd.db\"", "\"../etcd.db\"", 1).into_bytes());
    }),
    ("a manifest larger than any", |scene| {
        let mut bytes = scene.bytes("manifest.json").clone();
        bytes.extend(vec![b' '; 1 << 20]);
        scene.sign_bytes(bytes);
    }),
    ("another backup before it", |scene| {
        let sha256 = lifeboat_model::Digest::of(b"another manifest");
        let id = scene.first.parse().unwrap();
        scene.sign(|manifest| manifest.previous = Some(Previous { id, sha256 }));
    }),
    ("the cluster's record signed by a stranger", |scene| {
        let stranger = SigningKey::from_text(&scene.stranger, None).unwrap();
        scene.put_record(&stranger, |record| record.cluster_id = other_cluster());
    }),
    ("the cluster's record of another name", |scene| {
        let signer = scene.keys.signer.clone();
        scene.put_record(&signer, |record| record.cluster = "stage".parse().unwrap());
    }),
    ("the cluster's record of another cluster", |scene| {
        let signer = scene.keys.signer.clone();
        scene.put_record(&signer, |record| record.cluster_id = other_cluster());
    }),
    ("sealed anew: an index that hides an object", |scene| {
        scene.reseal(&PartName::INDEX, |plain| {
            let last = plain.trim_ascii_end().iter().rposition(|byte| *byte == b'\n').unwrap();
            plain[..=last].to_vec()
        });
    }),
    ("sealed anew: a coverage that hides a gap", |scene| {
        scene.reseal(&PartName::COVERAGE, |plain| {
            let mut coverage: Value = serde_json::from_slice(&plain).unwrap();
            coverage["excluded"] = Value::Array(Vec::new());
            coverage.to_string().into_bytes()
        });
    }),
    ("sealed anew: a bomb", |scene| scene.reseal(&PartName::ETCD, |_| vec![0; 32 << 20])),
    ("signed: a snapshot with fewer keys than were captured", |scene| {
        scene.reseal_signed(&PartName::COVERAGE, |plain| {
            let mut coverage: Value = serde_json::from_slice(&plain).unwrap();
            let keys = coverage["etcdKeys"].as_u64().unwrap();
            coverage["etcdKeys"] = (keys + 1).into();
            coverage.to_string().into_bytes()
        });
    }),
    ("signed: no etcd snapshot at all", |scene| scene.reseal_signed(&PartName::ETCD, |_| vec![7; 8 << 10])),
    ("signed: an object that climbs out of the tar", Scene::climbing_object),
];

fn other_cluster() -> String {
    "00000000-1111-2222-3333-444444444444".to_owned()
}

impl Scene {
    fn bytes(&mut self, file: &str) -> &mut Vec<u8> {
        self.files.get_mut(&backup_key(&self.second, file)).unwrap()
    }

    fn manifest(&self) -> Manifest {
        Keys::manifest(&self.files, &self.second)
    }

    fn flip(&mut self, file: &str) {
        let bytes = self.bytes(file);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    fn replace_by_first(&mut self, which: impl Fn(&str) -> bool) {
        let (from, to) = (backup_key(&self.first, ""), backup_key(&self.second, ""));
        let copied: Files = self
            .files
            .iter()
            .filter_map(|(key, bytes)| Some((key.strip_prefix(&from)?.to_owned(), bytes.clone())))
            .filter(|(file, _)| which(file))
            .collect();
        self.files.extend(copied.into_iter().map(|(file, bytes)| (format!("{to}{file}"), bytes)));
    }

    fn sign(&mut self, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = self.manifest();
        change(&mut manifest);
        Keys::put_manifest(&self.keys.signer, &mut self.files, &self.second, &manifest);
    }

    /// Signs any bytes as the manifest of this backup.
    fn sign_bytes(&mut self, bytes: Vec<u8>) {
        let signature = self.keys.signer.sign(&bytes, &self.manifest().trusted_comment()).unwrap();
        *self.bytes("manifest.json") = bytes;
        *self.bytes("manifest.json.minisig") = signature.into_bytes();
    }

    fn put_record(&mut self, signer: &SigningKey, change: impl FnOnce(&mut ClusterRecord)) {
        let mut record = ClusterRecord::parse(&self.files["prod/cluster.json"]).unwrap();
        change(&mut record);
        let bytes = record.to_bytes().unwrap();
        let signature = signer.sign(&bytes, &record.trusted_comment()).unwrap();
        self.files.insert("prod/cluster.json".to_owned(), bytes);
        self.files.insert("prod/cluster.json.minisig".to_owned(), signature.into_bytes());
    }

    /// Seals another content for the public recipient, as anybody can, into fewer bytes than it had: age's header has
    /// grease of a random length.
    fn reseal(&mut self, part: &PartName, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let plain = change(self.keys.open(&self.files, &self.second, part));
        let room = self.files[&part_key(&self.second, part.as_str())].len() as u64;
        for _ in 0..1000 {
            let sealed = self.keys.replace_part(&mut self.files, &self.second, part.as_str(), &plain);
            if sealed.stored_bytes < room {
                return;
            }
        }
        panic!("'{part}' does not fit into {room} bytes");
    }

    /// The same, by somebody who stole the signing key.
    fn reseal_signed(&mut self, part: &PartName, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let plain = change(self.keys.open(&self.files, &self.second, part));
        let sealed = self.keys.replace_part(&mut self.files, &self.second, part.as_str(), &plain);
        self.sign(|manifest| replace_record(manifest, part, &sealed));
    }

    /// A tar and a lookup that fit each other and the signed manifest; but the first object has a hostile path.
    fn climbing_object(&mut self) {
        let mut tar = self.keys.open(&self.files, &self.second, &PartName::RESOURCES);
        rename_first_entry(&mut tar, "resources/core/v1/../../../../../../etc/passwd.json");
        let finished = self.keys.seal(&tar, &[tar.len() as u64]);
        self.files.insert(part_key(&self.second, "resources.tar"), finished.sink);
        let frame = &finished.frames[0];
        let lookup = self.keys.open(&self.files, &self.second, &PartName::LOOKUP);
        let mut lines: Vec<LookupEntry> =
            lookup.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        lines.retain(|line| line.part == PartName::INDEX);
        let tar_line = LookupEntry {
            part: PartName::RESOURCES,
            plain_offset: frame.plain_offset,
            plain_length: frame.plain_length,
            stored_offset: frame.stored_offset,
            stored_length: frame.stored_length,
            sha256: frame.sha256,
            first: None,
        };
        let mut lookup = Vec::new();
        for line in std::iter::once(&tar_line).chain(&lines) {
            writeln!(lookup, "{}", serde_json::to_string(line).unwrap()).unwrap();
        }
        self.reseal_signed(&PartName::LOOKUP, |_| lookup);
        self.sign(|manifest| replace_record(manifest, &PartName::RESOURCES, &finished.sealed));
    }
}

fn replace_record(manifest: &mut Manifest, part: &PartName, sealed: &Sealed) {
    let record = manifest.parts.iter_mut().find(|record| record.name == *part).unwrap();
    *record = sealed.describe(part.clone());
}

/// Writes another path into the first header of a tar, and the checksum that belongs to it.
/// <https://www.gnu.org/software/tar/manual/html_node/Standard.html>
fn rename_first_entry(tar: &mut [u8], path: &str) {
    let header = &mut tar[..512];
    header[..100].fill(0);
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
