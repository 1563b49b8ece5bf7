//! Single frames of a sealed part, by ranged reads.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};
use lifeboat_model::Digest;
use zstd::bulk::Decompressor;

use crate::MAX_HEADER_BYTES;
use crate::error::{ArchiveError, Damage};
use crate::keys::{Identities, unwrap_error};
use crate::seal::{Frame, FrameSize};

/// age seals its plaintext in chunks of so many bytes (<https://c2sp.org/age#payload>), each followed by a tag.
const CHUNK: u64 = 64 * 1024;
const TAG: u64 = 16;
const SEALED_CHUNK: u64 = CHUNK + TAG;

/// The stored bytes that reading `frame` touches: the age chunks that cover it, and nothing else.
///
/// `payload_offset` is where age's chunks start ([`FrameReader::payload_offset`]: its header and a nonce of 16 bytes lie
/// before), `stored_bytes` the size of the part. Fails where no such frame can be in such a part.
pub fn frame_range(payload_offset: u64, stored_bytes: u64, frame: &Frame) -> Result<Range<u64>, ArchiveError> {
    let bad = |reason| Damage::FrameBounds { offset: frame.stored_offset, length: frame.stored_length, reason };
    if frame.plain_length == 0 || frame.plain_length > u64::from(FrameSize::MAX.bytes()) {
        return Err(bad("it promises no bytes, or more than a frame may hold").into());
    }
    // zstd never makes more of its input than this, whatever the input.
    let packed_limit = zstd::zstd_safe::compress_bound(usize::try_from(frame.plain_length).unwrap_or(usize::MAX));
    if frame.stored_length == 0 || frame.stored_length > packed_limit as u64 {
        return Err(bad("it is empty, or larger than its plain bytes allow").into());
    }
    let payload = stored_bytes.saturating_sub(payload_offset);
    let zstd_stream = payload.saturating_sub(payload.div_ceil(SEALED_CHUNK) * TAG);
    let end = frame.stored_offset.checked_add(frame.stored_length).filter(|end| *end <= zstd_stream);
    let Some(end) = end else {
        return Err(bad("it lies beyond the end of the part").into());
    };
    let first = frame.stored_offset / CHUNK;
    let after = end.div_ceil(CHUNK);
    Ok(payload_offset + first * SEALED_CHUNK..(payload_offset + after * SEALED_CHUNK).min(stored_bytes))
}

/// Reads single frames of a part whose frames are known from an authentic list.
///
/// What it touches of the source, each as one `seek` to the start followed by reads that ask for all of the range:
/// on opening, the first 32 KiB (or the whole part, if it is smaller), which hold age's header; for a frame, exactly
/// [`frame_range`], or nothing if the range read last covers it. The end of the source is never sought. Memory is the
/// range, the frame and its plain bytes.
pub struct FrameReader<R: Read + Seek> {
    source: R,
    window: Window,
    age: StreamReader<BufReader<Window>>,
    /// Where `age` stands in its plaintext, the zstd stream.
    position: u64,
    zstd: Decompressor<'static>,
    payload_offset: u64,
    stored_bytes: u64,
    failed: bool,
}

impl<R: Read + Seek> FrameReader<R> {
    /// Reads the age header and unwraps its key with one of `identities`. `stored_bytes` is the size of the part by the
    /// signed manifest.
    pub fn open(mut source: R, identities: &Identities, stored_bytes: u64) -> Result<Self, ArchiveError> {
        let head = 0..stored_bytes.min(MAX_HEADER_BYTES);
        let window = Window::new(stored_bytes);
        window.set(head.start, fetch(&mut source, head, stored_bytes)?);
        let bad_header = |error: DecryptError| Damage::Header { reason: error.to_string() };
        let mut buffered = BufReader::new(window.clone());
        // Read twice: the first reading only tells how long the header is.
        drop(Decryptor::new_buffered(&mut buffered).map_err(bad_header)?);
        let payload_offset = buffered.stream_position()?;
        buffered.rewind()?;
        let decryptor = Decryptor::new_buffered(buffered).map_err(bad_header)?;
        let age = decryptor.decrypt(identities.iter()).map_err(unwrap_error)?;
        let zstd = Decompressor::new()?;
        Ok(Self { source, window, age, position: 0, zstd, payload_offset, stored_bytes, failed: false })
    }

    /// Where age's chunks start in the part: after its header and nonce.
    pub fn payload_offset(&self) -> u64 {
        self.payload_offset
    }

    /// The plain bytes of `frame`, proved against its digest.
    ///
    /// After [`ArchiveError::Io`] the read may be tried again; after damage only other frames may.
    pub fn read_frame(&mut self, frame: &Frame) -> Result<Vec<u8>, ArchiveError> {
        let range = frame_range(self.payload_offset, self.stored_bytes, frame)?;
        if self.failed {
            return Err(Damage::AlreadyFailed.into());
        }
        if !self.window.covers(&range) {
            let bytes = fetch(&mut self.source, range.clone(), self.stored_bytes)?;
            self.window.set(range.start, bytes);
        }
        let packed = self.open_chunks(frame).map_err(|error| {
            // age's reader cannot be used after an error.
            self.failed = true;
            Damage::Stream(error)
        })?;
        self.unpack(frame, &packed)
    }

    /// Decrypts the chunks in the window that cover `frame`, and returns its bytes in the zstd stream.
    fn open_chunks(&mut self, frame: &Frame) -> io::Result<Vec<u8>> {
        let chunk_start = frame.stored_offset / CHUNK * CHUNK;
        // Sought to the very start of another chunk, age looks for the end of the file; to any byte behind it, it does
        // not. Within one chunk it believes any offset, even one that a shorter chunk does not have; so bytes before
        // the frame are read, never sought over.
        if self.position / CHUNK * CHUNK != chunk_start {
            self.age.seek(SeekFrom::Start(chunk_start + 1))?;
        }
        self.age.seek(SeekFrom::Start(chunk_start))?;
        let skipped = frame.stored_offset - chunk_start;
        let length = usize::try_from(skipped + frame.stored_length).map_err(io::Error::other)?;
        let mut packed = vec![0; length];
        self.age.read_exact(&mut packed)?;
        self.position = chunk_start + length as u64;
        Ok(packed.split_off(usize::try_from(skipped).map_err(io::Error::other)?))
    }

    fn unpack(&mut self, frame: &Frame, packed: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let limit = usize::try_from(frame.plain_length).unwrap_or(usize::MAX);
        let plain = self.zstd.decompress(packed, limit).map_err(Damage::Stream)?;
        let actual = Digest::of(&plain);
        if actual != frame.sha256 {
            let (offset, expected) = (frame.stored_offset, frame.sha256);
            return Err(Damage::FrameDigest { offset, expected, actual }.into());
        }
        Ok(plain)
    }
}

/// Reads `range`; a source that ends within it is shorter than the manifest promises.
fn fetch<R: Read + Seek>(source: &mut R, range: Range<u64>, stored_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
    source.seek(SeekFrom::Start(range.start))?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        match source.read(rest) {
            Ok(0) => {
                let actual = range.end - rest.len() as u64;
                let side = crate::Side::Stored;
                return Err(Damage::TooShort { side, expected: stored_bytes, actual }.into());
            }
            Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// The part as age's reader sees it: of its full length, but with only one range present.
#[derive(Clone)]
struct Window(Arc<Mutex<Present>>);

struct Present {
    start: u64,
    bytes: Vec<u8>,
    position: u64,
    length: u64,
}

impl Window {
    fn new(length: u64) -> Self {
        Self(Arc::new(Mutex::new(Present { start: 0, bytes: Vec::new(), position: 0, length })))
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, start: u64, bytes: Vec<u8>) {
        let mut present = self.lock();
        present.start = start;
        present.bytes = bytes;
    }

    fn covers(&self, range: &Range<u64>) -> bool {
        let present = self.lock();
        present.start <= range.start && range.end <= present.start + present.bytes.len() as u64
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut present = self.lock();
        if present.position >= present.length {
            return Ok(0);
        }
        let offset = present.position.checked_sub(present.start).and_then(|offset| usize::try_from(offset).ok());
        let mut bytes = offset.and_then(|offset| present.bytes.get(offset..)).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bytes that are present end here"));
        }
        let read = bytes.read(buffer)?;
        present.position += read as u64;
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut present = self.lock();
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => present.position.checked_add_signed(offset),
            SeekFrom::End(_) => None,
        };
        present.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(present.position)
    }
}
