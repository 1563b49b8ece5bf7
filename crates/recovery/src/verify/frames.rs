//! Whether the frames of a part are those of the lookup.

use std::io::{self, Read};

use lifeboat_archive::Damage;
use lifeboat_model::{Digest, LookupEntry};
use sha2::{Digest as _, Sha256};

/// Passes a plain part through, and fails where a frame's content is not what the lookup says.
pub(super) struct FrameCheck<R> {
    source: R,
    frames: std::vec::IntoIter<LookupEntry>,
    current: Option<(Sha256, u64, LookupEntry)>,
}

impl<R: Read> FrameCheck<R> {
    pub(super) fn new(source: R, frames: Vec<LookupEntry>) -> Self {
        Self { source, frames: frames.into_iter(), current: None }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (mut hasher, left, frame) = if let Some(current) = self.current.take() {
                current
            } else {
                let frame = self.frames.next().ok_or_else(|| invalid("the lookup lacks the last frames"))?;
                (Sha256::new(), frame.plain_length, frame)
            };
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            hasher.update(now);
            let left = left - taken as u64;
            if left > 0 {
                self.current = Some((hasher, left, frame));
            } else if Digest::from(hasher) != frame.sha256 {
                return Err(invalid("a frame's content is not what the lookup says"));
            }
            bytes = later;
        }
        Ok(())
    }
}

impl<R: Read> Read for FrameCheck<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        if read == 0 && !buffer.is_empty() && (self.current.is_some() || self.frames.next().is_some()) {
            return Err(invalid("the lookup has frames beyond the end of the part"));
        }
        self.pass(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}

fn invalid(reason: &'static str) -> io::Error {
    Damage::Stream(io::Error::new(io::ErrorKind::InvalidData, reason)).into()
}

#[cfg(test)]
mod tests {
    use lifeboat_model::PartName;
    use proptest::prelude::*;

    use super::*;

    fn entry(plain_offset: u64, bytes: &[u8]) -> LookupEntry {
        LookupEntry {
            part: PartName::RESOURCES,
            plain_offset,
            plain_length: bytes.len() as u64,
            stored_offset: 0,
            stored_length: 1,
            sha256: Digest::of(bytes),
            first: None,
        }
    }

    proptest! {
        #[test]
        fn only_the_frames_of_the_lookup_pass(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..6), flip: prop::sample::Index,
        ) {
            let mut plain: Vec<u8> = frames.concat();
            let mut offset = 0;
            let lookup: Vec<LookupEntry> = frames.iter().map(|frame| {
                let entry = entry(offset, frame);
                offset += entry.plain_length;
                entry
            }).collect();
            let read = |plain: &[u8], lookup: &[LookupEntry]| {
                io::copy(&mut FrameCheck::new(plain, lookup.to_vec()), &mut io::sink())
            };
            prop_assert_eq!(read(&plain, &lookup).unwrap(), plain.len() as u64);
            prop_assert!(read(&plain, &lookup[1..]).is_err());
            prop_assert!(read(&plain[1..], &lookup).is_err());
            let place = flip.index(plain.len());
            plain[place] ^= 1;
            prop_assert!(read(&plain, &lookup).is_err());
        }
    }
}
