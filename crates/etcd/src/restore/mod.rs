//! From a snapshot file to a data directory that etcd starts from.

mod etcdutl;
mod in_use;
mod swap;
mod version;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::EtcdError;
use crate::offline::{Inspector, SnapshotFacts, Trailer};

pub use self::etcdutl::{Rebuild, etcdutl_minor, rebuild};
pub use self::in_use::in_use;
pub use self::swap::swap;
pub use self::version::{Minor, MinorError};

/// Checks the snapshot file at `path`, its SHA-256 included. Blocks.
pub fn inspect_file(path: &Path) -> Result<SnapshotFacts, EtcdError> {
    inspect(path, Trailer::Verify)
}

/// Checks the database of a data directory that no etcd is running on. Blocks.
pub fn inspect_data_dir(data_dir: &Path) -> Result<SnapshotFacts, EtcdError> {
    inspect(&database(data_dir), Trailer::Absent)
}

fn inspect(path: &Path, trailer: Trailer) -> Result<SnapshotFacts, EtcdError> {
    let io = |source| EtcdError::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut inspector = Inspector::new(trailer);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(inspector.finish()?),
            Ok(length) => inspector.update(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}

/// Where etcd keeps its bbolt file (`ToBackendFileName` in `server/storage/datadir`).
fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("member/snap/db")
}
