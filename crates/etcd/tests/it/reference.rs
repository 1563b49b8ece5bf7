//! A reader of bbolt files that trusts them, keeps everything in memory and jumps about at will: the model that the
//! inspector is compared with.

use std::collections::{BTreeMap, BTreeSet, HashSet};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// The contents of all buckets, and the number of pages in use.
pub(crate) struct Reference {
    pub(crate) buckets: BTreeMap<String, Entries>,
    pub(crate) live_pages: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut padded = [0; 8];
    padded[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(padded)
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(number::<4>(bytes, at)).unwrap()
}

impl Reference {
    pub(crate) fn read(file: &[u8]) -> Self {
        let page_size = u32_at(file, 16 + 8);
        let meta = |page: usize| &file[page * page_size + 16..];
        let newest = [meta(0), meta(1)].into_iter().max_by_key(|meta| number::<8>(meta, 48)).unwrap();
        let mut pages = 2;
        let roots = entries(file, page_size, number::<8>(newest, 16), &mut pages);
        let buckets = roots.into_iter().map(|(name, value)| {
            let entries = match number::<8>(&value, 0) {
                0 => leaf(&value[16..]),
                root => entries(file, page_size, root, &mut pages),
            };
            (String::from_utf8(name).unwrap(), entries)
        });
        Self { buckets: buckets.collect(), live_pages: pages }
    }

    fn keys(&self) -> impl Iterator<Item = (&[u8], KeyValue)> {
        self.buckets["key"].iter().map(|(key, value)| (key.as_slice(), prost::Message::decode(&value[..]).unwrap()))
    }

    /// The keys that exist: what `etcdutl snapshot status` calls `totalKey`.
    pub(crate) fn existing_keys(&self) -> usize {
        let mut existing = HashSet::new();
        for (revision, key_value) in self.keys() {
            if revision.len() == 17 {
                existing.insert(key_value.key)
            } else {
                existing.remove(&key_value.key)
            };
        }
        existing.len()
    }

    pub(crate) fn encryption(&self) -> Vec<String> {
        let prefixes: BTreeSet<_> = self
            .keys()
            .filter_map(|(_, key_value)| {
                let value = String::from_utf8_lossy(&key_value.value).into_owned();
                Some(value.strip_prefix("k8s:enc:")?.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
            })
            .collect();
        prefixes.into_iter().collect()
    }

    pub(crate) fn revision(&self) -> i64 {
        let (last, _) = self.buckets["key"].last().unwrap();
        i64::from_be_bytes(last[..8].try_into().unwrap())
    }

    pub(crate) fn consistent_index(&self) -> u64 {
        let (_, value) = self.buckets["meta"].iter().find(|(key, _)| key == b"consistent_index").unwrap();
        u64::from_be_bytes(value[..].try_into().unwrap())
    }
}

fn entries(file: &[u8], page_size: usize, page: u64, pages: &mut u64) -> Entries {
    let bytes = &file[usize::try_from(page).unwrap() * page_size..];
    *pages += 1 + number::<4>(bytes, 12);
    match number::<2>(bytes, 8) {
        1 => (0..usize::try_from(number::<2>(bytes, 10)).unwrap())
            .flat_map(|element| entries(file, page_size, number::<8>(bytes, 16 + 16 * element + 8), pages))
            .collect(),
        2 => leaf(bytes),
        other => panic!("page {page} has flags {other:#x}"),
    }
}

fn leaf(page: &[u8]) -> Entries {
    (0..usize::try_from(number::<2>(page, 10)).unwrap())
        .map(|element| {
            let at = 16 + 16 * element;
            let key = at + u32_at(page, at + 4);
            let value = key + u32_at(page, at + 8);
            (page[key..value].to_vec(), page[value..value + u32_at(page, at + 12)].to_vec())
        })
        .collect()
}
