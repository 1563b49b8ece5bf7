//! What several of these tests need.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

use lifeboat_archive::{
    ArchiveError, Damage, Finished, Identities, Recipients, RecoveryKey, SealOptions, Sealed, SealedReader,
    SealedWriter,
};
use lifeboat_model::Digest;

/// A key pair shared by all tests that do not care which.
pub(crate) static KEY: LazyLock<Key> = LazyLock::new(Key::generate);

pub(crate) struct Key {
    pub(crate) file: RecoveryKey,
    pub(crate) recipients: Recipients,
    pub(crate) identities: Identities,
}

impl Key {
    pub(crate) fn generate() -> Self {
        let file = RecoveryKey::generate("2026-11-21T04:45:00Z");
        let recipients = Recipients::parse([file.recipient()]).unwrap();
        let identities = Identities::parse(file.identity_file()).unwrap();
        Self { file, recipients, identities }
    }
}

/// Bytes that zstd packs by half or so: runs that repeat, with noise between.
pub(crate) fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(br#"{"kind":"ConfigMap","data":""#);
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(&state.rotate_left(9).to_le_bytes());
        bytes.extend_from_slice(&state.rotate_left(29).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn seal(plain: &[u8], options: SealOptions) -> Finished<Vec<u8>> {
    let mut writer = SealedWriter::new(Vec::new(), &KEY.recipients, options).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// Reads a part to its end and finishes it.
pub(crate) fn open(stored: &[u8], sealed: &Sealed) -> Result<Vec<u8>, ArchiveError> {
    open_from(stored, sealed)
}

pub(crate) fn open_from(source: impl Read, sealed: &Sealed) -> Result<Vec<u8>, ArchiveError> {
    let mut reader = SealedReader::new(source, &KEY.identities, sealed)?;
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain)?;
    reader.finish()?;
    Ok(plain)
}

/// Seals anything with age alone, as somebody does who knows the recipients and nothing else.
pub(crate) fn age_seal(content: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = KEY.file.recipient().parse().unwrap();
    let encryptor = age::Encryptor::with_recipients([&recipient as &dyn age::Recipient].into_iter()).unwrap();
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// What a manifest would say of these bytes.
pub(crate) fn promise(plain: &[u8], stored: &[u8]) -> Sealed {
    Sealed {
        plain_bytes: plain.len() as u64,
        plain_sha256: Digest::of(plain),
        stored_bytes: stored.len() as u64,
        stored_sha256: Digest::of(stored),
    }
}

pub(crate) fn damage(error: ArchiveError) -> Damage {
    match error {
        ArchiveError::Damaged(damage) => damage,
        other => panic!("not damage: {other:?}"),
    }
}

/// Gives one byte at a time, with interruptions.
pub(crate) struct Trickle<R>(pub(crate) R, pub(crate) bool);

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let wanted = buffer.len().min(1);
        self.0.read(&mut buffer[..wanted])
    }
}

/// Takes or gives so many bytes, then fails.
pub(crate) struct Failing<T> {
    pub(crate) inner: T,
    pub(crate) left: usize,
}

impl<R: Read> Read for Failing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let wanted = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..wanted])?;
        self.left -= read;
        Ok(read)
    }
}

impl<W: Write> Write for Failing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let wanted = bytes.len().min(self.left);
        let written = self.inner.write(&bytes[..wanted])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
