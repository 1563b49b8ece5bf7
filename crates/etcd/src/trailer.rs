//! The SHA-256 that ends a snapshot file.

use lifeboat_model::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of the trailer.
pub(crate) const TRAILER: usize = 32;

/// Hashes all but the last 32 bytes of a stream whose end is not known beforehand.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrailingSha256 {
    hasher: Sha256,
    /// The last bytes seen, at most 32, not hashed yet.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The trailer.
    pub(crate) announced: Digest,
    /// SHA-256 of all before it.
    pub(crate) actual: Digest,
    /// SHA-256 of everything, trailer included.
    pub(crate) file: Digest,
}

impl TrailingSha256 {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some((body, tail)) = bytes.split_last_chunk::<TRAILER>() {
            self.hasher.update(&self.tail);
            self.hasher.update(body);
            self.tail.clear();
            self.tail.extend_from_slice(tail);
        } else {
            self.tail.extend_from_slice(bytes);
            let surplus = self.tail.len().saturating_sub(TRAILER);
            self.hasher.update(self.tail.drain(..surplus).as_slice());
        }
    }

    /// `None` when there were fewer than 32 bytes.
    pub(crate) fn finish(self) -> Option<Checked> {
        let announced = Digest(self.tail.as_slice().try_into().ok()?);
        let file = Digest::from(self.hasher.clone().chain_update(&self.tail));
        Some(Checked { announced, actual: Digest::from(self.hasher), file })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn splits_off_the_last_32_bytes_however_they_arrive(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            sizes in proptest::collection::vec(0_usize..70, 1..40),
        ) {
            let mut trailing = TrailingSha256::default();
            let mut rest = bytes.as_slice();
            for size in sizes.iter().cycle().take(1000) {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                trailing.update(now);
                rest = later;
            }
            trailing.update(rest);
            let expected = bytes.split_last_chunk::<TRAILER>().map(|(body, tail)| Checked {
                announced: Digest(*tail),
                actual: Digest::of(body),
                file: Digest::of(&bytes),
            });
            prop_assert_eq!(trailing.finish(), expected);
        }
    }
}
