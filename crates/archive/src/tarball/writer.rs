//! Writing a tar.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{BLOCK, padding, path};
use crate::error::{ArchiveError, excerpt};

/// What GNU tar names the entry that carries a long path.
const LONG_LINK: &str = "././@LongLink";

/// What fits a header's own name field.
const NAME_FIELD: usize = 100;

/// Where an entry's data lies in the tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TarSpan {
    /// Offset of the first byte of data.
    pub offset: u64,
    /// Bytes of data.
    pub length: u64,
}

/// Writes regular files, all with mode 0600 and owner 0, so that equal input makes equal output.
///
/// Paths over 100 bytes are written as GNU tar does. Each entry is whole when [`TarWriter::append`] returns, which is
/// the place to cut a frame of the sink ([`TarWriter::sink_mut`]).
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    sink: W,
    position: u64,
}

impl<W: Write> TarWriter<W> {
    /// Starts a tar.
    pub fn new(sink: W) -> Self {
        Self { sink, position: 0 }
    }

    /// Adds a file. `mtime` is in seconds since 1970.
    pub fn append(&mut self, path: &str, data: &[u8], mtime: u64) -> Result<TarSpan, ArchiveError> {
        if let Some(reason) = path::fault(path) {
            return Err(ArchiveError::TarPath { path: excerpt(path), reason });
        }
        if path.len() > NAME_FIELD {
            let mut name = path.as_bytes().to_vec();
            name.push(0);
            self.write_entry(&header(LONG_LINK, EntryType::GNULongName, name.len(), 0), &name)?;
        }
        let header = header(path, EntryType::Regular, data.len(), mtime);
        self.write_entry(&header, data)
    }

    /// The sink. Bytes written to it directly destroy the tar.
    pub fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Writes the end of the tar.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn write_entry(&mut self, header: &Header, data: &[u8]) -> Result<TarSpan, ArchiveError> {
        let length = data.len() as u64;
        let span = TarSpan { offset: self.position + BLOCK as u64, length };
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(data)?;
        let padding = usize::try_from(padding(length)).unwrap_or_default();
        self.sink.write_all([0; BLOCK].get(..padding).unwrap_or_default())?;
        self.position = span.offset + length + padding as u64;
        Ok(span)
    }
}

/// A header whose name field holds as much of `path` as it can.
fn header(path: &str, kind: EntryType, size: usize, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    let name = path.as_bytes();
    let fits = path.floor_char_boundary(NAME_FIELD);
    for (field, byte) in header.as_old_mut().name.iter_mut().zip(name.iter().take(fits)) {
        *field = *byte;
    }
    header.set_entry_type(kind);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size as u64);
    header.set_mtime(mtime);
    header.set_cksum();
    header
}
