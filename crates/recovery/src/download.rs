//! A backup as plain files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_archive::{ArchiveError, Identities};
use lifeboat_model::{Digest, Part, PartName};
use tokio::runtime::Handle;

use crate::blocking::run_blocking;
use crate::browse::open_part;
use crate::catalog::Backup;
use crate::error::{Error, Result};
use crate::{layout, trust};

const BUFFER: usize = 256 * 1024;

/// Writes every part of a backup as a plain file into a new or empty folder, and the manifest with its signature.
/// A file has its name only when all of it was proved. Returns the files.
///
/// # Errors
/// When the folder holds anything, or a part is not what the manifest says; then files that were proved stay.
pub async fn download(backup: &Backup, identities: Arc<Identities>, to: PathBuf) -> Result<Vec<PathBuf>> {
    let (backup, handle) = (backup.clone(), Handle::current());
    run_blocking("downloading", move || {
        make_empty(&to)?;
        let mut files = Vec::new();
        for part in &backup.manifest().parts {
            let path = to.join(part.name.as_str());
            write_part(&handle, &backup, &identities, part, &path)?;
            files.push(path);
        }
        let manifest = layout::manifest(&backup.manifest().cluster, &backup.manifest().id)?;
        for key in [layout::signature(&manifest)?, manifest.clone()] {
            let bytes = handle.block_on(trust::read_small(backup.context().store.as_ref(), &key))?;
            if key == manifest && Digest::of(&bytes) != backup.sha256() {
                return Err(Error::mismatch(&key, "has changed since its signature was checked"));
            }
            let path = to.join(key.name());
            let mut file = create(&path)?;
            file.write_all(&bytes).map_err(Error::io("write", &path))?;
            files.push(path);
        }
        Ok(files)
    })
    .await
}

fn make_empty(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::Refused(format!("'{}' is not empty", folder.display()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))
        }
        Err(error) => Err(Error::io("read", folder)(error)),
    }
}

/// Creates a file that only its owner can read, and that was not there.
pub(crate) fn create(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(Error::io("create", path))
}

/// Writes the plain bytes of a part; the file has its name only when they were proved and are on disk.
pub(crate) fn write_part(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
    part: &Part,
    path: &Path,
) -> Result<()> {
    let partial = path.with_added_extension("part");
    let mut file = create(&partial)?;
    let written = copy(handle, backup, identities, &part.name, &mut file)
        .and_then(|()| file.sync_all().map_err(Error::io("write", &partial)))
        .and_then(|()| std::fs::rename(&partial, path).map_err(Error::io("rename", &partial)));
    if written.is_err() {
        // The file was never complete; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn copy(handle: &Handle, backup: &Backup, identities: &Identities, name: &PartName, to: &mut File) -> Result<()> {
    let mut work = || {
        let mut reader = open_part(handle, backup, identities, backup.part(name)?)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = reader.read(&mut buffer).map_err(ArchiveError::from)?;
            if read == 0 {
                break;
            }
            to.write_all(buffer.get(..read).unwrap_or_default()).map_err(Error::io("write", name.as_str()))?;
        }
        reader.finish()?;
        Ok(())
    };
    work().map_err(backup.part_error(name))
}
