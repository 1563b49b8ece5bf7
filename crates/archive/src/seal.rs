//! Plain bytes to a sealed part.

use std::io::{self, BufWriter, IntoInnerError, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use age::stream::StreamWriter;
use lifeboat_model::{Digest, Part, PartName};
use sha2::{Digest as _, Sha256};
use zeekstd::{EncodeOptions, FrameSizePolicy, RawEncoder};
use zstd::zstd_safe::CCtx;

use crate::MAX_HEADER_BYTES;
use crate::error::ArchiveError;
use crate::keys::Recipients;
use crate::metering::MeteredWriter;

/// The zstd level that parts are packed with. In frames of 1 MiB of Kubernetes objects, levels 2 and 3 pack within 1% of
/// what level 1 does, and cost 15% and 20% more time for the whole chain.
pub const DEFAULT_LEVEL: i32 = 1;

/// zstd's levels above this need windows that readers refuse.
const MAX_LEVEL: i32 = 19;

/// At most so many plain bytes stand in one zstd frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSize(u32);

impl FrameSize {
    /// About what one ranged read should fetch and unpack.
    pub const DEFAULT: Self = Self(1024 * 1024);
    /// The largest frame that [`crate::FrameReader`] unpacks.
    pub const MAX: Self = Self(64 * 1024 * 1024);

    /// A limit of `bytes`, at least 1 and at most [`FrameSize::MAX`].
    pub fn new(bytes: u32) -> Self {
        Self(bytes.clamp(1, Self::MAX.0))
    }

    /// The limit in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

/// How to seal a part.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions {
    /// When a frame ends by itself.
    pub frame_size: FrameSize,
    /// zstd's level, 1 to 19; values outside are taken as the nearest of these.
    pub level: i32,
    /// Whether to keep and hash the list of frames, for ranged reads. About 72 bytes a frame, and a second hash of the
    /// plain bytes; without it a writer keeps only zstd's own seek table, 16 bytes a frame.
    pub record_frames: bool,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self { frame_size: FrameSize::DEFAULT, level: DEFAULT_LEVEL, record_frames: false }
    }
}

/// One independent zstd frame of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where its bytes start among the plain bytes.
    pub plain_offset: u64,
    /// How many plain bytes it holds.
    pub plain_length: u64,
    /// Where it starts in the zstd stream, which is what age decrypts to.
    pub stored_offset: u64,
    /// Its length in the zstd stream.
    pub stored_length: u64,
    /// SHA-256 of its plain bytes.
    pub sha256: Digest,
}

/// Sizes and digests of a part: what a signed manifest says of it, and what a reader holds it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// How many bytes went in.
    pub plain_bytes: u64,
    /// SHA-256 of what went in.
    pub plain_sha256: Digest,
    /// How many bytes are stored.
    pub stored_bytes: u64,
    /// SHA-256 of what is stored.
    pub stored_sha256: Digest,
}

impl Sealed {
    /// The same as the part of that name in a signed document.
    pub fn describe(&self, name: PartName) -> Part {
        Part {
            name,
            plain_bytes: self.plain_bytes,
            plain_sha256: self.plain_sha256,
            stored_bytes: self.stored_bytes,
            stored_sha256: self.stored_sha256,
        }
    }
}

impl From<&Part> for Sealed {
    fn from(part: &Part) -> Self {
        Self {
            plain_bytes: part.plain_bytes,
            plain_sha256: part.plain_sha256,
            stored_bytes: part.stored_bytes,
            stored_sha256: part.stored_sha256,
        }
    }
}

/// What [`SealedWriter::finish`] leaves.
#[derive(Debug)]
pub struct Finished<W> {
    /// Sizes and digests of the part.
    pub sealed: Sealed,
    /// The frames, if they were recorded.
    pub frames: Vec<Frame>,
    /// The sink, with all bytes written to it.
    pub sink: W,
}

/// Packs, seals, counts and hashes what is written to it, in flat memory.
///
/// A part that is not finished does not open: age marks its last chunk, and [`SealedWriter::finish`] writes that one.
/// [`Write::flush`] only flushes the sink: bytes that fill no zstd block or age chunk yet stay here. After an error
/// the part is lost; later calls fail as well.
pub struct SealedWriter<W: Write> {
    encoder: RawEncoder<'static>,
    packed: Vec<u8>,
    age: StreamWriter<MeteredWriter<BufWriter<W>>>,
    stored_bytes: Arc<AtomicU64>,
    plain: Sha256,
    plain_bytes: u64,
    packed_bytes: u64,
    frame_limit: u64,
    frame_start: FrameStart,
    recorder: Option<Recorder>,
}

#[derive(Default, Clone, Copy)]
struct FrameStart {
    plain: u64,
    packed: u64,
}

#[derive(Default)]
struct Recorder {
    hasher: Sha256,
    frames: Vec<Frame>,
}

impl<W: Write> SealedWriter<W> {
    /// Starts a part; the age header goes out at once.
    pub fn new(sink: W, recipients: &Recipients, options: SealOptions) -> Result<Self, ArchiveError> {
        let encoder = EncodeOptions::try_new()
            .ok_or_else(|| ArchiveError::Io(io::ErrorKind::OutOfMemory.into()))?
            .checksum_flag(true)
            .compression_level(options.level.clamp(1, MAX_LEVEL))
            .frame_size_policy(FrameSizePolicy::Uncompressed(options.frame_size.bytes()))
            .into_raw_encoder()
            .map_err(|error| ArchiveError::Io(zstd_error(&error)))?;
        let (sink, stored_bytes) = MeteredWriter::new(BufWriter::new(sink));
        let age = recipients.encryptor()?.wrap_output(sink)?;
        let header = stored_bytes.load(Ordering::Relaxed);
        if header > MAX_HEADER_BYTES {
            return Err(ArchiveError::HeaderTooLong { bytes: header });
        }
        Ok(Self {
            encoder,
            packed: vec![0; CCtx::out_size()],
            age,
            stored_bytes,
            plain: Sha256::new(),
            plain_bytes: 0,
            packed_bytes: 0,
            frame_limit: u64::from(options.frame_size.bytes()),
            frame_start: FrameStart::default(),
            recorder: options.record_frames.then(Recorder::default),
        })
    }

    /// Ends the current frame, so that what is written next starts a new one. Does nothing to an empty frame.
    pub fn cut_frame(&mut self) -> io::Result<()> {
        if self.frame_bytes() == 0 {
            return Ok(());
        }
        loop {
            let progress = self.encoder.end_frame(&mut self.packed).map_err(|error| zstd_error(&error))?;
            self.seal_packed(progress.out_progress())?;
            if progress.data_left() == 0 {
                break;
            }
        }
        let start = self.frame_start;
        self.frame_start = FrameStart { plain: self.plain_bytes, packed: self.packed_bytes };
        if let Some(recorder) = &mut self.recorder {
            recorder.frames.push(Frame {
                plain_offset: start.plain,
                plain_length: self.plain_bytes - start.plain,
                stored_offset: start.packed,
                stored_length: self.packed_bytes - start.packed,
                sha256: mem::take(&mut recorder.hasher).into(),
            });
        }
        Ok(())
    }

    /// Plain bytes written so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Sealed bytes given to the sink so far.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }

    /// Plain bytes in the frame that is being filled.
    pub fn frame_bytes(&self) -> u64 {
        self.plain_bytes - self.frame_start.plain
    }

    /// The frames that have ended so far; empty unless they are recorded.
    pub fn frames(&self) -> &[Frame] {
        self.recorder.as_ref().map_or(&[], |recorder| &recorder.frames)
    }

    /// Writes what is left, the seek table and age's last chunk.
    pub fn finish(mut self) -> io::Result<Finished<W>> {
        self.cut_frame()?;
        // The table of zstd's seekable format: the reader needs nothing of ours to find a frame.
        let mut seek_table = self.encoder.into_seek_table().into_serializer();
        loop {
            let length = seek_table.write_into(&mut self.packed);
            if length == 0 {
                break;
            }
            self.age.write_all(self.packed.get(..length).unwrap_or_default())?;
        }
        let (sink, stored_sha256) = self.age.finish()?.finish();
        let sealed = Sealed {
            plain_bytes: self.plain_bytes,
            plain_sha256: self.plain.into(),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            stored_sha256,
        };
        let sink = sink.into_inner().map_err(IntoInnerError::into_error)?;
        Ok(Finished { sealed, frames: self.recorder.map(|recorder| recorder.frames).unwrap_or_default(), sink })
    }

    /// Gives the first `length` bytes of the packing buffer to age.
    fn seal_packed(&mut self, length: usize) -> io::Result<()> {
        let packed = self.packed.get(..length).unwrap_or(&self.packed);
        self.age.write_all(packed)?;
        self.packed_bytes += packed.len() as u64;
        Ok(())
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.frame_bytes() >= self.frame_limit {
            self.cut_frame()?;
        }
        let room = usize::try_from(self.frame_limit - self.frame_bytes()).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let progress = self.encoder.compress(rest, &mut self.packed).map_err(|error| zstd_error(&error))?;
            self.seal_packed(progress.out_progress())?;
            rest = rest.get(progress.in_progress()..).unwrap_or_default();
        }
        self.plain.update(bytes);
        if let Some(recorder) = &mut self.recorder {
            recorder.hasher.update(bytes);
        }
        self.plain_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.age.flush()
    }
}

fn zstd_error(error: &zeekstd::Error) -> io::Error {
    io::Error::other(format!("zstd: {error}"))
}
