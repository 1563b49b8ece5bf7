//! bbolt files made by hand for the tests, sound ones and others.

use sha2::{Digest as _, Sha256};

use super::format::{BRANCH, ELEMENT, LEAF, PAGE_HEADER};

pub(super) const PAGE: usize = 4096;

/// An element of a leaf: whether it is a bucket, key and value.
pub(super) type Entry = (u32, Vec<u8>, Vec<u8>);

pub(super) fn revision(main: i64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &[0; 8]].concat()
}

/// An entry of the bucket `key` whose value is an `mvccpb.KeyValue`.
pub(super) fn entry(main: i64, value: &[u8]) -> Entry {
    let mut key_value = vec![0x0a, 1, b'k', 0x10, 1, 0x18, 1, 0x20, 1, 0x2a];
    let mut length = value.len();
    while length > 0x7f {
        key_value.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    key_value.push(u8::try_from(length).unwrap());
    key_value.extend(value);
    (0, revision(main), key_value)
}

pub(super) fn bucket(name: &str, root: u64) -> Entry {
    (1, name.into(), [root.to_le_bytes(), [0; 8]].concat())
}

/// A bucket that lies within its element.
pub(super) fn inline(name: &str, entries: &[Entry]) -> Entry {
    let page = raw(0, LEAF, entries.len(), 0, &leaf_body(entries));
    (1, name.into(), [&[0; 16], page.as_slice()].concat())
}

fn raw(id: u64, flags: u16, count: usize, overflow: u32, body: &[u8]) -> Vec<u8> {
    let count = u16::try_from(count).unwrap();
    [&id.to_le_bytes()[..], &flags.to_le_bytes(), &count.to_le_bytes(), &overflow.to_le_bytes(), body].concat()
}

fn leaf_body(entries: &[Entry]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (place, (flags, key, value)) in entries.iter().enumerate() {
        let position = ELEMENT * (entries.len() - place) + data.len();
        for field in [*flags as usize, position, key.len(), value.len()] {
            table.extend(u32::try_from(field).unwrap().to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    [table, data].concat()
}

fn branch_body(children: &[(Vec<u8>, u64)]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (place, (key, child)) in children.iter().enumerate() {
        let position = ELEMENT * (children.len() - place) + data.len();
        for field in [position, key.len()] {
            table.extend(u32::try_from(field).unwrap().to_le_bytes());
        }
        table.extend(child.to_le_bytes());
        data.extend_from_slice(key);
    }
    [table, data].concat()
}

fn pages(id: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let size = (PAGE_HEADER + body.len()).next_multiple_of(PAGE);
    let overflow = u32::try_from(size / PAGE - 1).unwrap();
    let mut page = raw(id, flags, count, overflow, body);
    page.resize(size, 0);
    page
}

pub(super) fn leaf(id: u64, entries: &[Entry]) -> Vec<u8> {
    pages(id, LEAF, entries.len(), &leaf_body(entries))
}

/// A branch with the first revision of each child, and its page.
pub(super) fn branch(id: u64, children: &[(i64, u64)]) -> Vec<u8> {
    let children: Vec<_> = children.iter().map(|(main, child)| (revision(*main), *child)).collect();
    pages(id, BRANCH, children.len(), &branch_body(&children))
}

pub(super) fn meta(id: u64, root: u64, pages: u64, txid: u64, page_size: u32) -> Vec<u8> {
    let mut meta = Vec::new();
    for field in [0xED0C_DAED, 2, page_size, 0] {
        meta.extend(u32::to_le_bytes(field));
    }
    for field in [root, 0, u64::MAX, pages, txid] {
        meta.extend(u64::to_le_bytes(field));
    }
    let checksum = meta
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    meta.extend(checksum.to_le_bytes());
    let mut page = raw(id, 0x04, 0, 0, &meta);
    page.resize(page_size as usize, 0);
    page
}

/// The file of the pages from the third on, as a server sends it.
pub(super) fn snapshot(root: u64, pages: &[Vec<u8>]) -> Vec<u8> {
    let body = pages.concat();
    let count = 2 + (body.len() / PAGE) as u64;
    let page_size = u32::try_from(PAGE).unwrap();
    seal([meta(0, root, count, 7, page_size), meta(1, root, count, 6, page_size), body].concat())
}

/// Adds the trailer.
pub(super) fn seal(mut database: Vec<u8>) -> Vec<u8> {
    let sha256 = Sha256::digest(&database);
    database.extend_from_slice(&sha256);
    database
}

/// A small sound snapshot: page 2 the buckets, 3 a branch, 4 and 5 its leaves with revisions 10, 20 and 30, 40.
pub(super) fn sound() -> Vec<Vec<u8>> {
    vec![
        leaf(
            2,
            &[bucket("key", 3), inline("meta", &[(0, b"consistent_index".to_vec(), 9_u64.to_be_bytes().to_vec())])],
        ),
        branch(3, &[(10, 4), (30, 5)]),
        leaf(4, &[entry(10, b"a"), entry(20, b"k8s\0b")]),
        leaf(5, &[entry(30, b"c"), entry(40, b"k8s:enc:aesgcm:v1:key9:d")]),
    ]
}
