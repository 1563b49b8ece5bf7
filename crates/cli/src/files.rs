//! Small local files: read within bounds, written without ever overwriting.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{Error, Result};

/// For the owner only.
pub(crate) const PRIVATE: u32 = 0o600;
/// For everybody to read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path, limit)?).map_err(|error| Error::io("read", path)(invalid(error)))
}

/// A file to be made.
pub(crate) struct NewFile<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) mode: u32,
}

/// Makes all these files, or none. What is there already, a dangling link included, is never touched.
pub(crate) fn write_new(files: &[NewFile<'_>]) -> Result<()> {
    let there = files.iter().filter(|file| file.path.symlink_metadata().is_ok());
    let there: Vec<_> = there.map(|file| file.path.to_owned()).collect();
    if !there.is_empty() {
        return Err(Error::Exists(there));
    }
    for (done, file) in files.iter().enumerate() {
        if let Err(error) = write(file) {
            for written in files.iter().take(done) {
                if let Err(error) = std::fs::remove_file(written.path) {
                    tracing::warn!(path = %written.path.display(), %error, "cannot remove what was written before");
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

fn write(file: &NewFile<'_>) -> Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(file.path);
    let mut open = created.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Exists(vec![file.path.to_owned()]),
        _ => Error::io("create", file.path)(error),
    })?;
    let written = open.write_all(file.text.as_bytes()).and_then(|()| open.sync_all());
    written.map_err(|error| {
        // Half a key is worse than none; that it could not be removed either adds nothing to the first error.
        let _ = std::fs::remove_file(file.path);
        Error::io("write", file.path)(error)
    })
}

/// Writes a file in one step, over what may be there: nobody sees half of it.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let part = path.with_added_extension("part");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&part, path)
    };
    write().map_err(Error::io("write", path))
}

/// Makes a folder for the owner only, where it is not there.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make the folder", path))
}

/// Whether others than the owner may read the file.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_all_files_are_made_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("no-such-folder/second"));
        let new = |path| NewFile { path, text: "x", mode: PRIVATE };
        write_new(&[new(&first), new(&second)]).unwrap_err();
        assert!(!first.exists());
        std::os::unix::fs::symlink("nowhere", &first).unwrap();
        assert!(matches!(write_new(&[new(&first)]), Err(Error::Exists(paths)) if paths == [first.clone()]));
    }

    #[test]
    fn a_file_larger_than_its_kind_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(matches!(read(file.path(), 4), Err(Error::TooLarge { limit: 4, .. })));
    }
}
