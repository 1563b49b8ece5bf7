//! Requests that were accepted and are not done: a file each, on the disk before the sender is answered.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most requests that wait.
const MAX_FILES: usize = 10_000;
/// The most bytes that wait.
const MAX_BYTES: u64 = 1 << 30;
/// The longest file: a body, in which each byte may be escaped, with its headers.
const MAX_FILE: u64 = 64 << 20;

/// A request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Accepted {
    pub(super) receiver: String,
    pub(super) received: Timestamp,
    /// Those that belong to the event.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// Where accepted requests wait.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    files: usize,
    bytes: u64,
}

impl Spool {
    /// Opens the folder, and gives the names of what waits in it, oldest first.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<OsString>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (mut waiting, mut used) = (Vec::new(), Used::default());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.path().extension().and_then(|extension| extension.to_str()) {
                Some("json") => {
                    used.files += 1;
                    used.bytes = used.bytes.saturating_add(entry.metadata()?.len());
                    waiting.push(entry.file_name());
                }
                // What was broken off was never answered.
                Some("part") => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        waiting.sort_unstable();
        Ok((Self { folder: folder.to_owned(), used: Mutex::new(used) }, waiting))
    }

    /// Whether there is room for another request.
    pub(super) fn has_room(&self) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.files < MAX_FILES && used.bytes < MAX_BYTES
    }

    /// Puts a request onto the disk. When this is done, it is there whatever becomes of the machine.
    pub(super) fn put(&self, accepted: &Accepted, random: u64) -> io::Result<OsString> {
        let bytes = serde_json::to_vec(accepted)?;
        // Names sort as times do.
        let name = format!("{}-{random:016x}", accepted.received.strftime("%Y%m%dT%H%M%S.%9fZ"));
        let (part, whole) = (self.folder.join(format!("{name}.part")), self.folder.join(format!("{name}.json")));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        // A link is made only where nothing is.
        let linked = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&part, &whole));
        let removed = fs::remove_file(&part);
        linked?;
        if let Err(error) = removed.and_then(|()| File::open(&self.folder)?.sync_all()) {
            // It may not stay: the sender is told that it was not accepted, and sends it again.
            let _ = fs::remove_file(&whole);
            return Err(error);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.files += 1;
        used.bytes = used.bytes.saturating_add(bytes.len() as u64);
        Ok(format!("{name}.json").into())
    }

    /// Reads what waits.
    pub(super) fn read(&self, name: &OsStr) -> io::Result<Accepted> {
        let mut bytes = Vec::new();
        File::open(self.folder.join(name))?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than anything that is written"));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Puts aside what cannot be read, for people to look at.
    pub(super) fn put_aside(&self, name: &OsStr) -> io::Result<()> {
        let path = self.folder.join(name);
        self.freed(&path);
        fs::rename(&path, path.with_extension("unreadable"))
    }

    /// Removes what is done.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let path = self.folder.join(name);
        self.freed(&path);
        fs::remove_file(path)
    }

    fn freed(&self, path: &Path) {
        let bytes = path.metadata().map_or(0, |meta| meta.len());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.files = used.files.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(bytes);
    }
}
