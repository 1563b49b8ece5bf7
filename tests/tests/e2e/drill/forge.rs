//! Backups that fit together in every digest and signature, and say something else than what was captured: what only
//! somebody with the signing key can make, or a defect of ours.

use std::io::Write as _;

use lifeboat_archive::Sealed;
use lifeboat_model::{Digest, IndexEntry, LookupEntry, Object, PartName};
use serde_json::Value;

use crate::support::{Files, Keys, Site, backup_key, part_key};

/// The files of a store, to be changed and put back.
#[derive(Clone)]
pub(super) struct Forge {
    pub(super) files: Files,
    keys: Keys,
}

impl Forge {
    pub(super) async fn of(site: &Site) -> Self {
        Self { files: site.place.files().await, keys: Keys::of(site) }
    }

    /// The objects of one backup with the etcd snapshot of another, signed as one.
    pub(super) fn mix(&mut self, objects: &str, etcd: &str) {
        let coverage: Value = self.parse(etcd, &PartName::COVERAGE);
        let other = Keys::manifest(&self.files, etcd);
        let stored = self.files[&part_key(etcd, "etcd.db")].clone();
        self.files.insert(part_key(objects, "etcd.db"), stored);
        let mut mixed: Value = self.parse(objects, &PartName::COVERAGE);
        mixed["etcdKeys"] = coverage["etcdKeys"].clone();
        let sealed = self.put(objects, &PartName::COVERAGE, mixed.to_string().as_bytes(), &[]);
        let mut manifest = Keys::manifest(&self.files, objects);
        manifest.etcd = other.etcd.clone();
        for part in &mut manifest.parts {
            if part.name == PartName::ETCD {
                part.clone_from(other.part(&PartName::ETCD).unwrap());
            } else if part.name == PartName::COVERAGE {
                *part = sealed.0.describe(PartName::COVERAGE);
            }
        }
        Keys::put_manifest(&self.keys.signer, &mut self.files, objects, &manifest);
    }

    /// Another content for one object, of the same length, with digests that fit it everywhere.
    pub(super) fn change_object(&mut self, id: &str, name: &str, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let mut tar = self.keys.open(&self.files, id, &PartName::RESOURCES);
        let index = self.keys.open(&self.files, id, &PartName::INDEX);
        let mut lines: Vec<IndexEntry> = index
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        let line = lines.iter_mut().find(|line| line.name == name).unwrap();
        let span = usize::try_from(line.offset).unwrap()..usize::try_from(line.offset + line.length).unwrap();
        let json = String::from_utf8(tar[span.clone()].to_vec()).unwrap().replace(from, to);
        let api_version =
            if line.group.is_empty() { line.version.clone() } else { format!("{}/{}", line.group, line.version) };
        let before = line.canonical;
        line.canonical = Object::parse(json.as_bytes()).unwrap().digest(&api_version, &line.kind).unwrap();
        assert_ne!(before, line.canonical, "'{from}' is not in {name}");
        tar[span].copy_from_slice(json.as_bytes());
        let mut plain = Vec::new();
        for line in &lines {
            writeln!(plain, "{}", serde_json::to_string(line).unwrap()).unwrap();
        }
        assert_eq!(plain.len(), index.len(), "ranges of the coverage stay what they are");
        let first = lines[0].key().path().unwrap();
        self.put_objects(id, &tar, &plain, &first);
    }

    /// Stores tar and index, each in one frame, with a lookup that fits them, and signs.
    fn put_objects(&mut self, id: &str, tar: &[u8], index: &[u8], first: &str) {
        let mut manifest = Keys::manifest(&self.files, id);
        let mut lookup = Vec::new();
        for (name, plain, first) in [(PartName::RESOURCES, tar, None), (PartName::INDEX, index, Some(first.to_owned()))]
        {
            let (sealed, frame) = self.put(id, &name, plain, &[plain.len() as u64]);
            let frame = frame.unwrap();
            let entry = LookupEntry {
                part: name.clone(),
                plain_offset: 0,
                plain_length: plain.len() as u64,
                stored_offset: frame.0,
                stored_length: frame.1,
                sha256: Digest::of(plain),
                first,
            };
            writeln!(lookup, "{}", serde_json::to_string(&entry).unwrap()).unwrap();
            *manifest.parts.iter_mut().find(|part| part.name == name).unwrap() = sealed.describe(name.clone());
        }
        let (sealed, _) = self.put(id, &PartName::LOOKUP, &lookup, &[]);
        *manifest.parts.iter_mut().find(|part| part.name == PartName::LOOKUP).unwrap() =
            sealed.describe(PartName::LOOKUP);
        Keys::put_manifest(&self.keys.signer, &mut self.files, id, &manifest);
    }

    /// Seals a part in the place of another: its record, and place and length of its first frame.
    fn put(&mut self, id: &str, name: &PartName, plain: &[u8], frames: &[u64]) -> (Sealed, Option<(u64, u64)>) {
        let finished = self.keys.seal(plain, frames);
        self.files.insert(part_key(id, name.as_str()), finished.sink);
        let frame = finished.frames.first().map(|frame| (frame.stored_offset, frame.stored_length));
        (finished.sealed, frame)
    }

    fn parse(&self, id: &str, name: &PartName) -> Value {
        serde_json::from_slice(&self.keys.open(&self.files, id, name)).unwrap()
    }

    /// Turns a bit in the middle of a file of the backup.
    pub(super) fn flip(&mut self, id: &str, file: &str) {
        let bytes = self.files.get_mut(&backup_key(id, file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    /// Puts a copy of one backup's files under the name of another.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (backup_key(from, ""), backup_key(to, ""));
        let copies: Vec<_> = self
            .files
            .iter()
            .filter_map(|(key, bytes)| Some((key.strip_prefix(&from)?.to_owned(), bytes.clone())))
            .collect();
        self.files.extend(copies.into_iter().map(|(file, bytes)| (format!("{to}{file}"), bytes)));
    }
}
