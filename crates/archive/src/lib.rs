//! Bytes to sealed parts and back: zstd, age, tar, digests, minisign. `std::io` only; no network, no Kubernetes.
//!
//! A *part* is a stream of plain bytes, packed into independent zstd frames closed by a seek table, sealed with age
//! to one or more recipients, and counted and hashed on both sides. [`SealedWriter`] makes one, [`SealedReader`] opens
//! one from start to end, [`FrameReader`] opens single frames of one by ranged reads. [`TarWriter`] and [`TarReader`]
//! lay objects out within a part. [`SigningKey`] and [`TrustedKeys`] sign and check what vouches for the parts.
//!
//! What is read here comes from a bucket and is hostile until proved otherwise: every size is bounded, and no length
//! that the input claims is believed before it is checked.

mod error;
mod frames;
mod keys;
mod metering;
mod prompt;
mod seal;
mod signing;
mod tarball;
mod unseal;

pub use error::{ArchiveError, Damage, Side};
pub use frames::{FrameReader, frame_range};
pub use keys::{Identities, Recipients, RecoveryKey};
pub use prompt::{NoPrompt, PluginPrompt};
pub use seal::{DEFAULT_LEVEL, Finished, Frame, FrameSize, SealOptions, Sealed, SealedWriter};
pub use signing::{KeyId, PublicKey, SignatureError, SigningKey, TrustedKeys};
pub use tarball::{DEFAULT_ENTRY_LIMIT, TarEntry, TarReader, TarSpan, TarWriter};
pub use unseal::SealedReader;

/// The longest age header that is written or read, nonce included. An X25519 recipient takes about 100 bytes of it, a
/// post-quantum one about 1,600.
pub(crate) const MAX_HEADER_BYTES: u64 = 32 * 1024;

/// The largest zstd window that is opened, as a power of two: 8 MiB, what level 19 uses and the least that RFC 8878,
/// section 3.1.1.1.2, asks every decoder to support.
pub(crate) const MAX_WINDOW_LOG: u32 = 23;
