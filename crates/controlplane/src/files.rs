//! Files and folders that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::{Error, Result};

/// Makes a folder, and those above it, that only the owner may enter.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("making the folder", path))
}

/// Writes a file that only the owner may read, in one step: nobody sees half of it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let part = path.with_added_extension("part");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(content)?;
        fs::rename(&part, path)
    };
    write().map_err(at("writing", path))
}

/// Opens a log for adding to it.
pub(crate) fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(at("opening the log", path))
}

/// The last lines that a log got since it was `from` bytes long.
pub(crate) fn tail(path: &Path, from: u64) -> String {
    const BYTES: u64 = 8 * 1024;
    const LINES: usize = 20;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(BYTES).max(from);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => "(the log is empty)".to_owned(),
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            let skipped = lines.len().saturating_sub(LINES);
            lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
        }
        Err(e) => format!("(the log cannot be read: {e})"),
    }
}

/// Gives an I/O error its place.
pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { doing, path: path.to_owned(), source }
}
