//! Cutting a body into the parts of an upload.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use lifeboat_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::{Body, Key, StoreError};

/// The size of the first parts, and the most that goes up in a single request.
pub(super) const FIRST_PART: usize = 8 << 20;
/// The bytes of parts that are on their way at once, of all uploads of a store together.
///
/// Memory for uploads is at most this and, for each upload, the part that is being collected: 8 MiB up to 31 GiB of
/// content, 16 MiB up to 94 GiB, 32 MiB beyond.
const WINDOW: usize = 4 * FIRST_PART;
/// The unit in which the window is shared out.
const PERMIT: usize = 1 << 16;
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

/// The permits of the whole window.
pub(super) const fn window() -> usize {
    WINDOW / PERMIT
}

/// The permits that a part of so many bytes needs.
pub(super) fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT).min(window())).unwrap_or(u32::MAX)
}

/// The memory of parts that were sent, for the next ones.
///
/// Without it each part's memory comes from, and goes back to, whatever thread happens to handle it, and an allocator
/// that keeps memory by thread comes to hold several times what is in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<BytesMut>>);

impl Buffers {
    fn take(&self, size: usize) -> BytesMut {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.clear();
        buffer.reserve(size);
        buffer
    }

    /// Takes a part's memory back, if nobody else has it.
    pub(super) fn give(&self, part: Bytes) {
        if let Ok(buffer) = part.try_into_mut() {
            let mut kept = self.lock();
            if kept.len() < WINDOW / FIRST_PART {
                kept.push(buffer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body cut into parts, counted and hashed on the way.
pub(super) struct Parts {
    key: Key,
    body: Body,
    /// What is left of a chunk that was longer than its part.
    rest: Bytes,
    part: BytesMut,
    buffers: Arc<Buffers>,
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
    pub(super) fn new(key: &Key, body: Body, buffers: &Arc<Buffers>) -> Self {
        Self {
            key: key.clone(),
            body,
            rest: Bytes::new(),
            part: BytesMut::new(),
            buffers: Arc::clone(buffers),
            hasher: Sha256::new(),
            bytes: 0,
        }
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
                self.part = self.buffers.take(size);
            }
            let taken = self.rest.split_to(wanted.min(self.rest.len()));
            self.hasher.update(&taken);
            self.bytes += taken.len() as u64;
            self.part.extend_from_slice(&taken);
        }
        Ok(std::mem::take(&mut self.part).freeze())
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
        let parts_at_once = |number| window() / permits(part_size(number)) as usize;
        assert_eq!([1, 4_001, MAX_PARTS].map(parts_at_once), [4, 2, 1]);
        assert_eq!((permits(1), permits(FIRST_PART - 1)), (1, permits(FIRST_PART)));
    }

    #[test]
    fn memory_is_used_again_once_nobody_has_it() {
        let buffers = Buffers::default();
        let mut part = buffers.take(1_000);
        part.extend_from_slice(b"first");
        let (part, place) = (part.freeze(), |bytes: &[u8]| bytes.as_ptr() as usize);
        let first = place(&part);
        buffers.give(part.clone());
        assert!(buffers.lock().is_empty(), "somebody else has it");
        buffers.give(part);
        let again = buffers.take(1_000);
        assert_eq!((place(&again), again.len()), (first, 0));
        assert!(again.capacity() >= 1_000);
        for _ in 0..100 {
            buffers.give(BytesMut::with_capacity(10).freeze());
        }
        assert!(buffers.lock().len() <= 4);
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
            let mut parts = Parts::new(&key, body, &Arc::default());
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
