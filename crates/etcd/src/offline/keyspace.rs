//! The keys of a database in order, as a booted etcd has them: how many, their hash, and what was deleted lately.
//!
//! Reads a file that was inspected before; what an inspection proves is not proved again, but nothing here trusts a
//! number of the file beyond its bounds.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{Problem, SnapshotError};
use super::format::{
    BRANCH, BUCKET_HEADER, LEAF, LeafElement, Meta, PageHeader, branch_elements, leaf_elements, span, u64_at,
};
use super::value::{MARKED_REVISION, REVISION, user_key};
use super::{BEGINNING, meta};
use crate::error::EtcdError;

/// The longest run of pages that one element may take, in bytes; etcd's own limit for a request is 1.5 MiB.
const MAX_RUN: u64 = 64 << 20;
/// Deletions that are kept; more within one backup are not to be expected.
const MAX_DELETED: usize = 100_000;

/// What is in the bucket `key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySpace {
    /// Keys that exist.
    pub keys: u64,
    /// The newest revision, raised.
    pub revision: i64,
    /// What etcd's `HashKV` says at that revision, when all history before it is compacted.
    pub hash: u32,
    /// Keys that were deleted since the revision asked for, with the revision of that, in order of it.
    pub deleted: Vec<(Vec<u8>, i64)>,
}

/// Reads the keys of the database or snapshot at `path` as etcd will have them once its revisions were raised by `bump`
/// and marked as compacted. Keys that were deleted after `since` are listed. Blocks.
///
/// Takes some 60 bytes of memory for each key.
pub fn read_keys(path: &Path, since: Option<u64>, bump: u64) -> Result<KeySpace, EtcdError> {
    let io = |source| EtcdError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let mut beginning = vec![0; BEGINNING.min(usize::try_from(bytes).unwrap_or(BEGINNING))];
    file.read_exact_at(&mut beginning, 0).map_err(io)?;
    let meta = meta(&beginning).ok_or(SnapshotError::NotBolt { bytes })?;
    let database = Database { file: &file, path, meta };
    let root = database.key_bucket()?;

    let mut latest = Latest::default();
    let mut space = KeySpace::default();
    let since = since.and_then(|since| i64::try_from(since).ok());
    database.entries(&root, |revision, value| {
        let key = user_key(value).ok_or(Problem::Elements)?;
        space.revision = space.revision.max(revision.main);
        if revision.is_deletion {
            latest.0.remove(&digest(key));
            if since.is_some_and(|since| revision.main > since) && space.deleted.len() < MAX_DELETED {
                space.deleted.push((key.to_vec(), revision.main));
            }
        } else {
            latest.0.insert(digest(key), (revision.main, revision.sub));
        }
        Ok(())
    })?;
    // The mark of an earlier restore, which that of this one takes the place of: no client can put the empty key.
    latest.0.remove(&digest(b""));
    space.keys = latest.0.len() as u64;

    // `kvHasher` in server/storage/mvcc/hash.go: the bucket's name, then key and value of each revision that
    // compaction leaves, which is the last of each key that was not deleted.
    let mut hash = crc32c::crc32c(b"key");
    database.entries(&root, |revision, value| {
        let key = user_key(value).ok_or(Problem::Elements)?;
        if latest.0.get(&digest(key)) == Some(&(revision.main, revision.sub)) {
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, revision.bytes), value);
        }
        Ok(())
    })?;
    // `etcdutl` marks the raised revision by an entry without content (`unsafeBumpBucketsRevision`).
    space.revision = space.revision.saturating_add(i64::try_from(bump).unwrap_or(i64::MAX));
    let mut mark = [0; REVISION];
    mark.iter_mut().zip(space.revision.to_be_bytes().into_iter().chain([b'_'])).for_each(|(to, from)| *to = from);
    space.hash = crc32c::crc32c_append(hash, &mark);
    Ok(space)
}

/// The last revision of each key that exists, by a digest of the key.
#[derive(Default)]
struct Latest(HashMap<[u8; 16], (i64, i64)>);

fn digest(key: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(key).into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// A key of the bucket `key`.
struct Revision<'a> {
    main: i64,
    sub: i64,
    is_deletion: bool,
    bytes: &'a [u8],
}

impl<'a> Revision<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (main, rest) = bytes.split_first_chunk::<8>()?;
        let sub = rest.get(1..)?.first_chunk::<8>()?;
        let is_deletion = bytes.len() == MARKED_REVISION;
        let (main, sub) = (i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
        (is_deletion || bytes.len() == REVISION).then_some(Self { main, sub, is_deletion, bytes })
    }
}

/// Where a bucket lies.
enum Bucket {
    /// In the element that names it.
    Inline(Vec<u8>),
    Page(u64),
}

struct Database<'a> {
    file: &'a File,
    path: &'a Path,
    meta: Meta,
}

impl Database<'_> {
    fn problem(&self, page: u64, problem: Problem) -> EtcdError {
        problem.at(u32::try_from(page).unwrap_or(u32::MAX), self.meta.pages).into()
    }

    /// A page with those that it overflows into.
    fn run(&self, page: u64) -> Result<Vec<u8>, EtcdError> {
        let size = u64::from(self.meta.page_size);
        let outside = || self.problem(page, Problem::OutOfBounds);
        let read = |bytes: &mut [u8]| {
            let io = |source| EtcdError::Io { action: "read", path: self.path.to_owned(), source };
            self.file.read_exact_at(bytes, page.saturating_mul(size)).map_err(io)
        };
        if page >= self.meta.pages {
            return Err(outside());
        }
        let mut bytes = vec![0; self.meta.page_size as usize];
        read(&mut bytes)?;
        let header = PageHeader::parse(&bytes).ok_or_else(outside)?;
        let pages = u64::from(header.overflow) + 1;
        if pages > 1 {
            let length = pages.saturating_mul(size);
            if length > MAX_RUN || page.saturating_add(pages) > self.meta.pages {
                return Err(outside());
            }
            bytes = vec![0; usize::try_from(length).map_err(|_| outside())?];
            read(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Every element of the leaves below `root`, in order.
    fn elements(
        &self,
        root: u64,
        mut each: impl FnMut(&[u8], LeafElement) -> Result<(), Problem>,
    ) -> Result<(), EtcdError> {
        let mut stack = vec![root];
        let mut left = self.meta.pages;
        while let Some(page) = stack.pop() {
            left = left.checked_sub(1).ok_or_else(|| self.problem(page, Problem::Shared))?;
            let bytes = self.run(page)?;
            let fail = |problem| self.problem(page, problem);
            let header = PageHeader::parse(&bytes).ok_or_else(|| fail(Problem::Elements))?;
            if header.flags & BRANCH != 0 {
                let children = branch_elements(&bytes, header.count).ok_or_else(|| fail(Problem::Elements))?;
                let begin = stack.len();
                stack.extend(children.map(|element| element.child));
                stack.get_mut(begin..).unwrap_or_default().reverse();
            } else if header.flags & LEAF != 0 {
                for element in leaf_elements(&bytes, header.count).ok_or_else(|| fail(Problem::Elements))? {
                    each(&bytes, element).map_err(fail)?;
                }
            } else {
                return Err(fail(Problem::NotAPage));
            }
        }
        Ok(())
    }

    fn key_bucket(&self) -> Result<Bucket, EtcdError> {
        let mut found = None;
        self.elements(self.meta.root, |page, element| {
            if span(page, element.key, element.value) == Some(b"key") && element.flags == 1 {
                let value = span(page, element.value, element.end).ok_or(Problem::Bucket)?;
                let root = u64_at(value, 0).ok_or(Problem::Bucket)?;
                let inline = value.get(BUCKET_HEADER..).ok_or(Problem::Bucket)?;
                found = Some(if root == 0 { Bucket::Inline(inline.to_vec()) } else { Bucket::Page(root) });
            }
            Ok(())
        })?;
        found.ok_or_else(|| SnapshotError::NoBucket("key").into())
    }

    /// Every entry of the bucket `key`, in order of revisions.
    fn entries(
        &self,
        bucket: &Bucket,
        mut each: impl FnMut(Revision<'_>, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), EtcdError> {
        let mut entry = |page: &[u8], element: LeafElement| {
            let key = span(page, element.key, element.value).ok_or(Problem::Elements)?;
            let value = span(page, element.value, element.end).ok_or(Problem::Elements)?;
            each(Revision::parse(key).ok_or(Problem::NotARevision)?, value)
        };
        match bucket {
            Bucket::Page(root) => self.elements(*root, entry),
            Bucket::Inline(page) => {
                let fail = |problem| self.problem(self.meta.root, problem);
                let header = PageHeader::parse(page).ok_or_else(|| fail(Problem::Bucket))?;
                let mut elements = leaf_elements(page, header.count).ok_or_else(|| fail(Problem::Bucket))?;
                elements.try_for_each(|element| entry(page, element)).map_err(fail)
            }
        }
    }
}
