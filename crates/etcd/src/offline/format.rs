//! The bytes of bbolt: meta pages, page headers and elements (`internal/common` of go.etcd.io/bbolt). They are in the
//! order of the machine that wrote them; only little-endian files are read.

/// bbolt takes the machine's page size, which is 4, 16 or 64 KiB.
pub(super) const PAGE_SIZES: [u32; 5] = [4096, 8192, 16384, 32768, 65536];
pub(super) const PAGE_HEADER: usize = 16;
pub(super) const ELEMENT: usize = 16;
/// A page header and a meta structure.
pub(super) const META_END: usize = PAGE_HEADER + 64;
/// Root page and sequence of a bucket, at the beginning of its value.
pub(super) const BUCKET_HEADER: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// What a valid meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_size: u32,
    /// The page where the tree of buckets begins.
    pub(super) root: u64,
    /// Pages of the database, the unused ones included.
    pub(super) pages: u64,
    pub(super) txid: u64,
}

impl Meta {
    /// Reads the meta page that begins `page`, if it is valid by its own checksum.
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        let meta = page.get(PAGE_HEADER..META_END)?;
        let (checked, checksum) = meta.split_last_chunk::<8>()?;
        if u32_at(meta, 0)? != MAGIC || u32_at(meta, 4)? != VERSION {
            return None;
        }
        if fnv1a_64(checked) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let page_size = u32_at(meta, 8).filter(|size| PAGE_SIZES.contains(size))?;
        Some(Self { page_size, root: u64_at(meta, 16)?, pages: u64_at(meta, 40)?, txid: u64_at(meta, 48)? })
    }
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) id: u64,
    pub(super) flags: u16,
    pub(super) count: u16,
    /// Further pages that belong to this one.
    pub(super) overflow: u32,
}

impl PageHeader {
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(page, 0)?,
            flags: u16_at(page, 8)?,
            count: u16_at(page, 10)?,
            overflow: u32_at(page, 12)?,
        })
    }
}

/// An element of a leaf page. Offsets count from the beginning of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeafElement {
    pub(super) flags: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) end: u64,
}

/// An element of a branch page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BranchElement {
    pub(super) key: u64,
    pub(super) end: u64,
    pub(super) child: u64,
}

/// The element table of a page; `None` when it does not fit into `page`, which bbolt never lets happen: a page that
/// overflows has at most four elements or so (`node.split`).
fn table(page: &[u8], count: u16) -> Option<impl Iterator<Item = (u64, &[u8; ELEMENT])>> {
    let table = page.get(PAGE_HEADER..PAGE_HEADER + ELEMENT * usize::from(count))?;
    let (elements, _) = table.as_chunks::<ELEMENT>();
    Some((PAGE_HEADER as u64..).step_by(ELEMENT).zip(elements))
}

pub(super) fn leaf_elements(page: &[u8], count: u16) -> Option<impl Iterator<Item = LeafElement>> {
    Some(table(page, count)?.map(|(offset, element)| {
        let field = |at| u32_at(element, at).unwrap_or(0);
        let key = offset + u64::from(field(4));
        let value = key + u64::from(field(8));
        LeafElement { flags: field(0), key, value, end: value + u64::from(field(12)) }
    }))
}

pub(super) fn branch_elements(page: &[u8], count: u16) -> Option<impl Iterator<Item = BranchElement>> {
    Some(table(page, count)?.map(|(offset, element)| {
        let field = |at| u32_at(element, at).unwrap_or(0);
        let key = offset + u64::from(field(0));
        BranchElement { key, end: key + u64::from(field(4)), child: u64_at(element, 8).unwrap_or(0) }
    }))
}

/// The part of `page` between two offsets, or `None` when it is not all there.
pub(super) fn span(page: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    page.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}
