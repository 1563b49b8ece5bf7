//! The private folder of a drill, which holds everything that is plain, and goes with it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::DrillId;
use tempfile::TempDir;

use crate::error::{Error, Result};

const PREFIX: &str = "lifeboat-drill-";
/// Held as long as the drill lives: the kernel lets go of it when the process dies in any way.
const LOCK: &str = "lock";
/// How often the removal is tried: a blocking thread may still be writing into it when the drill was interrupted.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A folder that only its owner may enter.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes the folder in `parent`, and removes what killed drills of this user have left there.
    pub(super) fn new(parent: &Path, id: &DrillId) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.permissions(fs::Permissions::from_mode(0o700));
        let made = builder.prefix(&format!("{PREFIX}{id}-")).tempdir_in(parent);
        let made = made.map_err(Error::io("create a folder in", parent))?;
        let path = made.path().join(LOCK);
        let lock = File::create_new(&path).map_err(Error::io("create", &path))?;
        lock.lock().map_err(Error::io("lock", &path))?;
        sweep(parent, made.path());
        Ok(Self { folder: TempDir::keep(made), _lock: lock })
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            match fs::remove_dir_all(&self.folder) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        tracing::error!(folder = %self.folder.display(), "the drill's folder, with plain data in it, cannot be removed");
    }
}

/// Removes the folders of drills that were killed. Those of others, and of drills that run, are left alone.
fn sweep(parent: &Path, own: &Path) {
    let Ok(owner) = own.metadata().map(|metadata| metadata.uid()) else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let ours = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == owner);
        if path == own || !named || !ours || !is_abandoned(&path) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::warn!(folder = %path.display(), "removed what a killed drill had left"),
            Err(error) => tracing::warn!(folder = %path.display(), %error, "a killed drill's folder cannot be removed"),
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    !matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_goes_with_its_drill_and_takes_what_killed_ones_left() {
        let parent = tempfile::tempdir().unwrap();
        let id: DrillId = "20261121T044500Z-k3f9qz".parse().unwrap();
        let left = parent.path().join(format!("{PREFIX}killed"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        fs::write(left.join("snapshot.db"), "plain").unwrap();
        let foreign = parent.path().join("something-else");
        fs::create_dir(&foreign).unwrap();

        let first = Scratch::new(parent.path(), &id).unwrap();
        assert!(!left.exists() && foreign.exists());
        assert_eq!(first.folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(first.path("secret"), "x").unwrap();
        let second = Scratch::new(parent.path(), &id).unwrap();
        assert!(first.path("secret").exists(), "a drill that runs keeps its folder");
        let (one, other) = (first.folder.clone(), second.folder.clone());
        drop((first, second));
        assert!(!one.exists() && !other.exists());
    }
}
