//! Putting a new data directory in the place of the old one.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::in_use;
use crate::error::EtcdError;

/// Puts the data directory `new` at `target` and gives the path where what was there is kept, if there was anything:
/// `<target>.before-<suffix>`.
///
/// Both must be on one filesystem. At every moment `target` is either the old directory or the new one: they change
/// places in one system call. Should the process die right after it, the old directory is at `new`. A directory that a
/// running etcd holds is refused, and nothing that exists is ever overwritten. The new directory gets mode 0700, as
/// etcd demands. Blocks.
pub fn swap(new: &Path, target: &Path, suffix: &str) -> Result<Option<PathBuf>, EtcdError> {
    if in_use(target)? {
        return Err(EtcdError::InUse(target.to_owned()));
    }
    fs::set_permissions(new, Permissions::from_mode(0o700)).map_err(failed("set the mode of", new))?;
    match renameat_with(CWD, new, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => {
            sync_parents(new, target)?;
            return Ok(None);
        }
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("rename to", target)(errno.into())),
    }

    let kept = kept_path(target, suffix);
    if fs::symlink_metadata(&kept).is_ok() {
        return Err(failed("keep the old data directory as", &kept)(io::ErrorKind::AlreadyExists.into()));
    }
    match renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            return Err(EtcdError::ExchangeUnsupported(target.to_owned()));
        }
        Err(errno) => return Err(failed("exchange", target)(errno.into())),
    }
    renameat_with(CWD, new, CWD, &kept, RenameFlags::NOREPLACE)
        .map_err(|errno| failed("keep the old data directory as", &kept)(errno.into()))?;
    sync_parents(new, target)?;
    Ok(Some(kept))
}

fn kept_path(target: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(".before-");
    path.push(suffix);
    PathBuf::from(path)
}

/// Makes the renames durable.
fn sync_parents(new: &Path, target: &Path) -> Result<(), EtcdError> {
    for path in [new, target] {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("sync", parent))?;
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EtcdError + use<> {
    let path = path.to_owned();
    move |source| EtcdError::Io { action, path, source }
}
