//! Objects in a tar: written deterministically, read with suspicion.

mod path;
mod reader;
mod writer;

pub use reader::{DEFAULT_ENTRY_LIMIT, TarEntry, TarReader};
pub use writer::{TarSpan, TarWriter};

/// Headers and padding come in blocks of so many bytes.
const BLOCK: usize = 512;

/// Bytes of padding after `size` bytes of data.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
