//! A file on its way to becoming an object.

use std::fs::File;
use std::io::{self, Write as _};

use bytes::Bytes;

use super::folder::{Entry, Folder, at};
use crate::key::check_segment;
use crate::{Key, StoreError};

/// How often a beginning is tried again: somebody else removes the folder, empty, at the same time, or the name is that
/// of a file which another process with the same seed left.
const BEGINNINGS: u32 = 32;

/// An unfinished object: a hidden file beside its final name. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Part {
    folder: Folder,
    key: Key,
    name: String,
    file: File,
}

/// The name of an unfinished file.
pub(super) fn part_name(name: &str, id: &str) -> String {
    format!(".{name}.part-{id}")
}

/// The object's name and the id out of an unfinished file's name.
pub(super) fn parse_part_name(file: &str) -> Option<(&str, &str)> {
    let (name, id) = file.strip_prefix('.')?.rsplit_once(".part-")?;
    let valid = check_segment(name).is_ok() && id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then_some((name, id))
}

impl Part {
    /// Begins an object; `random` tells this attempt from others.
    pub(super) fn create(root: &Folder, key: &Key, mut random: fastrand::Rng) -> Result<Self, StoreError> {
        let path = root.path().join(key.as_str());
        let mut tries = 0;
        loop {
            let name = part_name(key.name(), &format!("{:016x}", random.u64(..)));
            let made = root.make(&key.parent()).and_then(|folder| folder.create(&name).map(|file| (folder, file)));
            tries += 1;
            match made {
                Ok((folder, file)) => {
                    let part = Self { folder, key: key.clone(), name, file };
                    part.check_free()?;
                    return Ok(part);
                }
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
                        && tries < BEGINNINGS => {}
                Err(e) => return Err(at("create", &path)(e)),
            }
        }
    }

    /// Refuses what is there already before any byte is written; publishing checks again.
    fn check_free(&self) -> Result<(), StoreError> {
        match self.folder.entry(self.key.name())? {
            None => Ok(()),
            Some(Entry::File(..)) => Err(StoreError::AlreadyExists { key: self.key.clone() }),
            Some(Entry::Folder(folder)) => Err(at("create", folder.path())(io::ErrorKind::IsADirectory)),
        }
    }

    /// Adds to the object.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        let mut written = Ok(());
        for chunk in chunks {
            written = written.and_then(|()| self.file.write_all(chunk));
        }
        written.map_err(|e| self.failure("write", e))
    }

    /// Makes the object durable and visible, if its name is free.
    pub(super) fn publish(self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|e| self.failure("write", e))?;
        match self.link_or_rename() {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::AlreadyExists { key: self.key.clone() });
            }
            Err(e) => return Err(self.failure("publish", e)),
        }
        // It is visible now, so a failure is no longer a plain one.
        let finished = self.folder.remove(&self.name).and_then(|()| self.folder.sync());
        finished.map_err(|e| StoreError::Uncertain {
            key: self.key.clone(),
            source: Box::new(self.failure("make durable", e)),
        })
    }

    fn link_or_rename(&self) -> io::Result<()> {
        match self.folder.link(&self.name, self.key.name()) {
            // Some file systems (exFAT, some network ones) have no hard links and say so in these ways.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::TooManyLinks
                ) =>
            {
                self.folder.rename_new(&self.name, self.key.name())
            }
            other => other,
        }
    }

    fn failure(&self, operation: &'static str, error: io::Error) -> StoreError {
        at(operation, &self.folder.path().join(self.key.name()))(error)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.folder.remove(&self.name) {
            tracing::warn!(folder = %self.folder.path().display(), file = self.name, %error, "an unfinished file is left");
        }
        self.folder.prune();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_no_links_a_name_is_taken_once_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::root(dir.path()).unwrap();
        for name in ["first", "second"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        folder.rename_new("first", "name").unwrap();
        let taken = folder.rename_new("second", "name").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(dir.path().join("name")).unwrap(), "first");
        assert!(dir.path().join("second").exists());
    }

    #[test]
    fn names_of_unfinished_files_are_told_from_others() {
        let name = part_name("etcd.db", &format!("{:016x}", 7));
        assert_eq!(parse_part_name(&name), Some(("etcd.db", "0000000000000007")));
        let nested = part_name("a.part-0000000000000001", "0000000000000002");
        assert_eq!(parse_part_name(&nested), Some(("a.part-0000000000000001", "0000000000000002")));
        for other in [
            "etcd.db",
            ".etcd.db",
            ".etcd.db.part-",
            ".etcd.db.part-7",
            "..part-0000000000000007",
            ".a b.part-0000000000000007",
        ] {
            assert_eq!(parse_part_name(other), None, "{other}");
        }
    }
}
