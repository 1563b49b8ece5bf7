//! Reading a tar that may be hostile.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::path::{self, MAX_PATH};
use super::{BLOCK, padding};
use crate::error::{ArchiveError, Damage, excerpt};

/// Objects in etcd are at most a few MiB; what the API server computes from them is not much larger.
pub const DEFAULT_ENTRY_LIMIT: u64 = 64 * 1024 * 1024;

/// Most bytes of a PAX header.
const MAX_PAX: u64 = 8 * 1024;

/// Reads the regular files of a tar, in their order and one at a time.
///
/// Anything else that a tar can hold (links, devices, folders, sparse files, global headers) is refused, as are paths
/// that [`crate::TarWriter`] would not write, entries over the limit, and a tar that does not end as it should.
pub struct TarReader<R: Read> {
    source: R,
    position: u64,
    /// Data of the current entry that has not been read yet.
    unread: u64,
    /// Padding after that data.
    padding: u64,
    entry_limit: u64,
    done: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads a tar whose entries have at most `entry_limit` bytes each.
    pub fn new(source: R, entry_limit: u64) -> Self {
        Self { source, position: 0, unread: 0, padding: 0, entry_limit, done: false }
    }

    /// The next file; what was left unread of the one before is skipped. `None` at the end of the tar, which must be
    /// the end of the source too.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry<'_, R>>, ArchiveError> {
        self.skip_rest()?;
        let mut long_path = None;
        loop {
            if self.done {
                return Ok(None);
            }
            let at = self.position;
            let Some(header) = self.read_header()? else {
                if long_path.is_some() {
                    return Err(fault(at, "a long path without an entry"));
                }
                self.read_end()?;
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| fault(at, "its size is no number"))?;
            let kind = header.entry_type();
            match kind {
                EntryType::Regular => {
                    let path = match long_path {
                        Some(path) => path,
                        None => text(at, &header.path_bytes())?,
                    };
                    return self.start_entry(at, path, size).map(Some);
                }
                EntryType::GNULongName | EntryType::XHeader if long_path.is_some() => {
                    return Err(fault(at, "a second long path for one entry"));
                }
                EntryType::GNULongName => long_path = Some(self.read_long_name(at, size)?),
                EntryType::XHeader => long_path = self.read_pax(at, size)?,
                other => {
                    let kind = char::from(other.as_byte()).escape_default().to_string();
                    return Err(fault(at, &format!("type '{kind}' is not a regular file")));
                }
            }
        }
    }

    fn start_entry(&mut self, at: u64, path: String, size: u64) -> Result<TarEntry<'_, R>, ArchiveError> {
        if let Some(reason) = path::fault(&path) {
            return Err(fault(at, &format!("the path '{}' is refused: {reason}", excerpt(&path))));
        }
        if size > self.entry_limit {
            return Err(fault(at, &format!("{size} bytes are more than the {} allowed", self.entry_limit)));
        }
        self.unread = size;
        self.padding = padding(size);
        Ok(TarEntry { path, size, offset: self.position, reader: self })
    }

    /// A header, or `None` for the first block of the end.
    fn read_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let at = self.position;
        let mut block = [0; BLOCK];
        self.read_exact(at, &mut block)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let mut header = Header::from_byte_slice(&block).clone();
        let claimed = header.cksum();
        header.set_cksum();
        match (claimed, header.cksum()) {
            (Ok(claimed), Ok(actual)) if claimed == actual => Ok(Some(header)),
            _ => Err(fault(at, "its header has a wrong checksum")),
        }
    }

    fn read_long_name(&mut self, at: u64, size: u64) -> Result<String, ArchiveError> {
        let mut bytes = self.read_extension(at, size, MAX_PATH as u64 + 1)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        text(at, &bytes)
    }

    fn read_pax(&mut self, at: u64, size: u64) -> Result<Option<String>, ArchiveError> {
        let bytes = self.read_extension(at, size, MAX_PAX)?;
        let mut long_path = None;
        for extension in PaxExtensions::new(&bytes) {
            let extension = extension.map_err(|_| fault(at, "its PAX header is malformed"))?;
            match extension.key_bytes() {
                b"path" => long_path = Some(text(at, extension.value_bytes())?),
                // These would change what the entry's own header says of it.
                b"size" | b"linkpath" => return Err(fault(at, "its PAX header overrides size or link")),
                key if key.starts_with(b"GNU.sparse") => return Err(fault(at, "it is a sparse file")),
                _ => {}
            }
        }
        Ok(long_path)
    }

    fn read_extension(&mut self, at: u64, size: u64, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > limit {
            return Err(fault(at, &format!("an extension of {size} bytes is larger than {limit}")));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read_exact(at, &mut bytes)?;
        self.padding = padding(size);
        self.skip_rest()?;
        Ok(bytes)
    }

    /// The second block of the end, and padding up to where the source ends.
    fn read_end(&mut self) -> Result<(), ArchiveError> {
        let at = self.position;
        let mut block = [0; BLOCK];
        self.read_exact(at, &mut block)?;
        loop {
            if block != [0; BLOCK] {
                return Err(fault(at, "bytes after the end of the tar"));
            }
            let read = self.source.read(&mut block);
            match read {
                Ok(0) => break,
                Ok(read) => block.get_mut(read..).unwrap_or_default().fill(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.done = true;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let at = self.position;
        let rest = self.unread.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())?;
        self.position += skipped;
        (self.unread, self.padding) = (0, 0);
        if skipped < rest { Err(fault(at, "the tar is cut short")) } else { Ok(()) }
    }

    fn read_exact(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => fault(at, "the tar is cut short"),
            _ => error.into(),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// A regular file of a tar; [`Read`] gives its data.
pub struct TarEntry<'a, R: Read> {
    path: String,
    size: u64,
    offset: u64,
    reader: &'a mut TarReader<R>,
}

impl<R: Read> TarEntry<'_, R> {
    /// Its path: relative, without `.`, `..`, empty components, backslashes and control characters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Offset of the first byte of data in the tar.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// All of its data, as far as it has not been read yet.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, ArchiveError> {
        // The size is only a claim until the bytes are there.
        let mut bytes = Vec::with_capacity(usize::try_from(self.reader.unread.min(64 * 1024)).unwrap_or_default());
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for TarEntry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        let wanted = usize::try_from(reader.unread).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = reader.source.read(buffer.split_at_mut(wanted).0)?;
        if read == 0 {
            return Err(fault(self.offset, "the tar is cut short").into());
        }
        reader.unread -= read as u64;
        reader.position += read as u64;
        Ok(read)
    }
}

fn fault(offset: u64, reason: &str) -> ArchiveError {
    Damage::Tar { offset, reason: reason.to_owned() }.into()
}

fn text(at: u64, bytes: &[u8]) -> Result<String, ArchiveError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| fault(at, "its path is not UTF-8"))
}
