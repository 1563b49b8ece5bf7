//! Cutting a body into the parts of an upload.

use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use lifeboat_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::{Body, Key, StoreError};

/// The size of the first parts, and the most that goes up in a single request.
pub(super) const FIRST_PART: usize = 8 << 20;
/// The bytes of parts that are on their way at once.
///
/// Memory for an upload is at most this and the part that is being collected: 40 MiB up to 31 GiB of content, 48 MiB up
/// to 94 GiB, 64 MiB beyond.
pub(super) const WINDOW: usize = 4 * FIRST_PART;
/// The most parts that S3 takes. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub(super) const MAX_PARTS: u16 = 10_000;

/// The size of the nth part, from 1. Together they hold 156 GiB.
pub(super) fn part_size(number: u16) -> usize {
    match number {
        0..=4_000 => FIRST_PART,
        4_001..=8_000 => 2 * FIRST_PART,
        _ => 4 * FIRST_PART,
    }
}

/// A body cut into parts, counted and hashed on the way.
pub(super) struct Parts {
    key: Key,
    body: Body,
    /// What is left of a chunk that was longer than its part.
    rest: Bytes,
    part: BytesMut,
    hasher: Sha256,
    bytes: u64,
}

/// What was sent: enough to tell it from anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

impl Parts {
    pub(super) fn new(key: &Key, body: Body) -> Self {
        Self { key: key.clone(), body, rest: Bytes::new(), part: BytesMut::new(), hasher: Sha256::new(), bytes: 0 }
    }

    /// The next part, of `size` bytes; a shorter one at the end of the body; an empty one after it.
    ///
    /// The future may be dropped and asked for again: nothing is lost.
    pub(super) async fn next(&mut self, size: usize) -> Result<Bytes, StoreError> {
        loop {
            let wanted = size - self.part.len();
            if wanted == 0 {
                break;
            }
            if self.rest.is_empty() {
                match self.body.next().await {
                    None => break,
                    Some(Ok(chunk)) => self.rest = chunk,
                    Some(Err(source)) => return Err(StoreError::Body { key: self.key.clone(), source }),
                }
            }
            if self.part.is_empty() && !self.rest.is_empty() {
                // Grown to by doubling, this size would be copied once more.
                self.part.reserve(size);
            }
            let taken = self.rest.split_to(wanted.min(self.rest.len()));
            self.hasher.update(&taken);
            self.bytes += taken.remaining() as u64;
            self.part.extend_from_slice(&taken);
        }
        Ok(self.part.split().freeze())
    }

    /// What came out of the body.
    pub(super) fn sent(self) -> Sent {
        Sent { bytes: self.bytes, digest: self.hasher.into() }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_gigabytes_fit_within_the_stated_memory() {
        let all: u64 = (1..=MAX_PARTS).map(|n| part_size(n) as u64).sum();
        assert_eq!(all, super::super::MAX_OBJECT);
        assert!(all >= 100_000_000_000);
        assert_eq!(WINDOW + part_size(4_000), 40 << 20);
        assert_eq!(WINDOW + part_size(MAX_PARTS), 64 << 20);
        assert!((1..=MAX_PARTS).all(|n| part_size(n) <= WINDOW));
    }

    proptest! {
        #[test]
        fn parts_are_the_body_in_order(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..30),
            size in 1_usize..64,
        ) {
            let whole = chunks.concat();
            let key = "k".parse().unwrap();
            let body = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)))).boxed();
            let mut parts = Parts::new(&key, body);
            let mut got = Vec::new();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            loop {
                let part = runtime.block_on(parts.next(size)).unwrap();
                let full = part.len() == size;
                prop_assert!(part.len() <= size);
                got.extend_from_slice(&part);
                if !full {
                    break;
                }
            }
            prop_assert_eq!(parts.sent(), Sent { bytes: whole.len() as u64, digest: Digest::of(&whole) });
            prop_assert_eq!(got, whole);
        }
    }
}
