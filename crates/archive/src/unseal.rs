//! A sealed part to plain bytes, from start to end.

use std::io::{self, BufReader, Read};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};
use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder;

use crate::error::{ArchiveError, Damage, Side};
use crate::keys::{Identities, unwrap_error};
use crate::metering::{Meter, MeteredReader};
use crate::seal::Sealed;
use crate::{MAX_HEADER_BYTES, MAX_WINDOW_LOG};

/// Opens a part as a stream and holds it to what the manifest says of it.
///
/// Bytes that have been read are authentic only once [`SealedReader::finish`], or a read that returned 0, has
/// succeeded: age proves the chunks against whoever sealed them, but only the signed digest says who that was.
/// Nothing is read or unpacked beyond the promised sizes. Errors that come out of [`Read`] turn back into
/// [`ArchiveError`] by `ArchiveError::from`.
pub struct SealedReader<R: Read> {
    plain: Decoder<'static, BufReader<StreamReader<BufReader<MeteredReader<R>>>>>,
    meter: Meter,
    hasher: Sha256,
    plain_bytes: u64,
    expected: Sealed,
    state: State,
}

enum State {
    Reading,
    Complete,
    Failed,
}

impl<R: Read> SealedReader<R> {
    /// Reads the age header and unwraps its key with one of `identities`.
    pub fn new(source: R, identities: &Identities, expected: &Sealed) -> Result<Self, ArchiveError> {
        let (source, meter) = MeteredReader::new(source, expected.stored_bytes.min(MAX_HEADER_BYTES));
        let decryptor = Decryptor::new_buffered(BufReader::new(source)).map_err(|error| match error {
            DecryptError::Io(error) => match classify(&meter, error) {
                ArchiveError::Damaged(damage) => header_damage(&damage, expected).into(),
                other => other,
            },
            other => Damage::Header { reason: other.to_string() }.into(),
        })?;
        let age = decryptor.decrypt(identities.iter()).map_err(unwrap_error)?;
        meter.lock().limit = expected.stored_bytes;
        let mut plain = Decoder::new(age)?;
        plain.window_log_max(MAX_WINDOW_LOG)?;
        Ok(Self { plain, meter, hasher: Sha256::new(), plain_bytes: 0, expected: *expected, state: State::Reading })
    }

    /// Reads whatever is left and checks sizes and digests of both sides.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(())
    }

    /// Plain bytes read so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    fn read_plain(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let left = self.expected.plain_bytes - self.plain_bytes;
        let mut probe = [0];
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = if left == 0 { &mut probe[..] } else { buffer.split_at_mut(wanted).0 };
        let read = self.plain.read(buffer).map_err(|error| classify(&self.meter, error))?;
        if read == 0 {
            self.check()?;
            self.state = State::Complete;
        } else if left == 0 {
            return Err(Damage::TooLong { side: Side::Plain, expected: self.expected.plain_bytes }.into());
        } else {
            self.hasher.update(buffer.get(..read).unwrap_or(buffer));
            self.plain_bytes += read as u64;
        }
        Ok(read)
    }

    fn check(&mut self) -> Result<(), Damage> {
        let (stored_bytes, stored_hasher) = {
            let reading = self.meter.lock();
            (reading.bytes, reading.hasher.clone())
        };
        let plain_hasher = std::mem::take(&mut self.hasher);
        let expected = &self.expected;
        check_side(Side::Stored, (expected.stored_bytes, expected.stored_sha256), stored_bytes, stored_hasher)?;
        check_side(Side::Plain, (expected.plain_bytes, expected.plain_sha256), self.plain_bytes, plain_hasher)
    }
}

fn check_side(side: Side, expected: (u64, lifeboat_model::Digest), bytes: u64, hasher: Sha256) -> Result<(), Damage> {
    let (length, digest) = expected;
    if bytes < length {
        return Err(Damage::TooShort { side, expected: length, actual: bytes });
    }
    let actual = hasher.into();
    if actual == digest { Ok(()) } else { Err(Damage::Digest { side, expected: digest, actual }) }
}

/// A header is bounded by its own limit, or by the size of the part.
fn header_damage(damage: &Damage, expected: &Sealed) -> Damage {
    let reason = match damage {
        Damage::TooLong { .. } if expected.stored_bytes > MAX_HEADER_BYTES => {
            format!("its header has more than {MAX_HEADER_BYTES} bytes")
        }
        _ => "it ends within its header".to_owned(),
    };
    Damage::Header { reason }
}

/// Tells a failing source from a damaged part.
fn classify(meter: &Meter, error: io::Error) -> ArchiveError {
    match ArchiveError::from(error) {
        ArchiveError::Io(error) if !meter.lock().source_failed => Damage::Stream(error).into(),
        other => other,
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Complete => return Ok(0),
            State::Failed => return Err(Damage::AlreadyFailed.into()),
            State::Reading => {}
        }
        self.read_plain(buffer).map_err(|error| {
            self.state = State::Failed;
            error.into()
        })
    }
}
