//! Whether an etcd is running on a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::database;
use crate::error::EtcdError;

/// Whether a running etcd holds the locks of `data_dir`. Creates nothing; a directory that is absent is not in use.
///
/// bbolt holds an flock(2) on the database (`bolt_unix.go`), and etcd fcntl(2) locks on the write-ahead log that it
/// appends to (`fileutil/lock_linux.go`); a log in a directory of its own is not looked at.
pub fn in_use(data_dir: &Path) -> Result<bool, EtcdError> {
    let database = database(data_dir);
    if let Some(file) = open(&database)? {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &database, source)),
        }
    }
    let wal = data_dir.join("member/wal");
    let entries = match wal.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed("read", &wal, source)),
    };
    for entry in entries {
        let path = entry.map_err(|source| failed("read", &wal, source))?.path();
        let Some(file) = open(&path)?.filter(|_| path.extension().is_some_and(|extension| extension == "wal")) else {
            continue;
        };
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(true),
            Err(errno) => return Err(failed("lock", &path, errno.into())),
        }
    }
    Ok(false)
}

/// Opened for writing, without which there is no exclusive fcntl(2) lock. Closing it releases the lock.
fn open(path: &Path) -> Result<Option<File>, EtcdError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("open", path, source)),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> EtcdError {
    EtcdError::Io { action, path: path.to_owned(), source }
}
