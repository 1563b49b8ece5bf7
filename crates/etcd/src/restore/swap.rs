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
/// At every moment `target` is either the old directory or the new one: they change places in one system call, which
/// needs them on one filesystem. Should the process die right after it, the old directory is at `new`. A directory that
/// a running etcd holds is refused, and nothing that exists is ever overwritten. The new directory gets mode 0700, as
/// etcd demands. Blocks.
///
/// A data directory that is a mount point cannot be exchanged, but the folder `member` in it can: build the new data
/// directory inside the old one and give both `member` folders.
pub fn swap(new: &Path, target: &Path, suffix: &str) -> Result<Option<PathBuf>, EtcdError> {
    let data_dir = if target.ends_with("member") { target.parent() } else { None };
    if in_use(data_dir.unwrap_or(target))? {
        return Err(EtcdError::InUse(target.to_owned()));
    }
    fs::set_permissions(new, Permissions::from_mode(0o700)).map_err(failed("set the mode of", new))?;
    let exchange =
        |errno: Errno| EtcdError::Exchange { new: new.to_owned(), target: target.to_owned(), source: errno.into() };
    match renameat_with(CWD, new, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => {
            sync_parents(new, target)?;
            return Ok(None);
        }
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(exchange(errno)),
    }

    let kept = kept_path(target, suffix);
    if fs::symlink_metadata(&kept).is_ok() {
        return Err(failed("keep the old data directory as", &kept)(io::ErrorKind::AlreadyExists.into()));
    }
    renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE).map_err(exchange)?;
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
