use proptest::prelude::*;

use super::craft::{PAGE, branch, bucket, entry, inline, leaf, meta, revision, seal, snapshot, sound};
use super::*;

fn inspect(bytes: &[u8]) -> Result<SnapshotFacts, SnapshotError> {
    let mut inspector = Inspector::new(Trailer::Verify);
    inspector.update(bytes);
    inspector.finish()
}

/// The page and the problem that are found when one page of the sound snapshot is exchanged.
fn problem_with(page: usize, instead: Vec<u8>) -> (u64, &'static str) {
    let mut pages = sound();
    pages[page - 2] = instead;
    problem(&snapshot(2, &pages))
}

fn problem(bytes: &[u8]) -> (u64, &'static str) {
    match inspect(bytes) {
        Err(SnapshotError::Page { page, problem }) => (page, problem),
        other => panic!("{other:?}"),
    }
}

const SHARED: &str = "is in use twice";
const BEYOND: &str = "lies beyond the end of the database";
const CHILD: &str = "refers to a page that cannot be its child";
const ELEMENTS: &str = "has elements that do not fit into it";
const KEY_ORDER: &str = "has keys that are not in order";
const NO_REVISION: &str = "has a key in the bucket 'key' that is no revision";
const NOT_A_PAGE: &str = "is in use but is neither a branch nor a leaf";

#[test]
fn a_sound_snapshot_gives_its_facts() {
    let facts = inspect(&snapshot(2, &sound())).unwrap();
    assert_eq!((facts.keys, facts.key_revisions, facts.revision), (5, 4, 40));
    assert_eq!((facts.pages, facts.live_pages, facts.txid), (6, 6, 7));
    assert_eq!(facts.consistent_index, Some(9));
    assert!(facts.kubernetes);
    assert_eq!(facts.encryption, ["aesgcm:v1:key9"]);
}

#[test]
fn a_small_database_lies_within_its_buckets() {
    let key = inline("key", &[entry(4, b"k8s\0"), entry(5, b"")]);
    let facts = inspect(&snapshot(2, &[leaf(2, &[key])])).unwrap();
    assert_eq!((facts.key_revisions, facts.revision, facts.kubernetes), (2, 5, true));
    let key = inline("key", &[entry(5, b""), entry(4, b"")]);
    assert_eq!(problem(&snapshot(2, &[leaf(2, &[key])])), (2, KEY_ORDER));
}

#[test]
fn contents_of_unused_pages_do_not_count() {
    let mut pages = sound();
    pages.push(leaf(6, &[entry(50, b"k8s:enc:secretbox:v1:old:"), entry(60, b"")]));
    pages.push(leaf(7, &[bucket("key", 6)]));
    pages.push(branch(8, &[(50, 6), (60, 6)]));
    pages.push(leaf(9, &[entry(1, &[b'x'; 3 * PAGE])])[..PAGE].to_vec());
    let facts = inspect(&snapshot(2, &pages)).unwrap();
    assert_eq!((facts.keys, facts.revision, facts.live_pages, facts.pages), (5, 40, 6, 10));
    assert_eq!(facts.encryption, ["aesgcm:v1:key9"]);
}

#[test]
fn pages_used_twice_are_found() {
    assert_eq!(problem_with(3, branch(3, &[(10, 4), (30, 4)])), (4, SHARED), "a leaf");
    let cycle = [leaf(2, &[bucket("key", 3)]), branch(3, &[(10, 4)]), branch(4, &[(10, 3)])];
    assert_eq!(problem(&snapshot(2, &cycle)), (3, SHARED), "a cycle");
    assert_eq!(problem_with(2, leaf(2, &[bucket("auth", 4), bucket("key", 3)])), (4, SHARED), "two buckets");
    assert_eq!(problem_with(3, branch(3, &[(10, 2), (30, 5)])), (2, "has a bucket within a bucket"), "the root");
    let mut overlapping = leaf(4, &[entry(10, &[b'x'; PAGE])]);
    overlapping.truncate(PAGE);
    assert_eq!(problem_with(4, overlapping), (5, SHARED), "an overflowing page");
}

#[test]
fn pages_out_of_bounds_are_found() {
    assert_eq!(problem_with(3, branch(3, &[(10, 4), (30, 6)])), (3, CHILD));
    assert_eq!(problem_with(3, branch(3, &[(10, 4), (30, u64::MAX)])), (3, CHILD));
    assert_eq!(problem_with(3, branch(3, &[(10, 0), (30, 5)])), (3, CHILD), "a meta page");
    assert_eq!(problem_with(3, branch(3, &[(10, 3)])), (3, CHILD), "itself");
    assert_eq!(problem_with(2, leaf(2, &[bucket("key", 6)])), (6, BEYOND));
    assert_eq!(problem_with(5, leaf(5, &[entry(30, b""), entry(40, &[0; PAGE])])[..PAGE].to_vec()), (5, BEYOND));
    assert_eq!(problem(&snapshot(1, &sound())), (1, NOT_A_PAGE));
    assert_eq!(problem(&snapshot(6, &sound())), (6, BEYOND));
    assert_eq!(problem(&snapshot(u64::MAX, &sound())), (0, BEYOND));
}

#[test]
fn pages_that_are_none_are_found() {
    assert_eq!(problem_with(5, vec![0; PAGE]), (5, NOT_A_PAGE));
    assert_eq!(problem_with(5, leaf(4, &[entry(30, b"")])), (5, NOT_A_PAGE), "a page with another's number");
    let inside = [leaf(2, &[bucket("key", 5)]), leaf(3, &[entry(1, &[0; PAGE])]), branch(5, &[(1, 3), (2, 4)])];
    assert_eq!(problem(&snapshot(2, &inside)), (5, CHILD), "within another's run");
}

#[test]
fn damaged_elements_are_found() {
    for (offset, value) in [(4, 0xff), (8, 0xff), (15, 1), (16 + 4, 0), (16 + 8, 0)] {
        let mut damaged = sound()[2].clone();
        damaged[16 + offset] = value;
        assert_eq!(problem_with(4, damaged).1, ELEMENTS, "offset {offset}");
    }
    let mut damaged = sound()[2].clone();
    damaged[16] = 8;
    assert_eq!(problem_with(4, damaged), (4, "has an element of an unknown kind"));
    let mut damaged = sound()[1].clone();
    damaged[16 + 4] = 0;
    assert_eq!(problem_with(3, damaged), (3, ELEMENTS));
    let mut damaged = sound()[2].clone();
    damaged[10..12].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(problem_with(4, damaged), (4, ELEMENTS));
}

#[test]
fn disorder_is_found() {
    assert_eq!(problem_with(4, leaf(4, &[entry(20, b""), entry(10, b"")])), (4, KEY_ORDER));
    assert_eq!(problem_with(4, leaf(4, &[entry(10, b""), entry(10, b"")])), (4, KEY_ORDER));
    assert_eq!(problem_with(3, branch(3, &[(30, 5), (10, 4)])), (3, KEY_ORDER));
    assert_eq!(problem_with(3, branch(3, &[(10, 5), (30, 4)])), (4, "has revisions older than those before it"));
    let behind = [leaf(2, &[bucket("key", 5)]), leaf(3, &[entry(10, b"")]), leaf(4, &[entry(30, b"")])];
    let branches = [branch(5, &[(11, 3), (30, 4)]), branch(5, &[(10, 3), (31, 4)]), branch(5, &[(10, 4), (20, 3)])];
    for wrong in branches {
        assert_eq!(problem(&snapshot(2, &[&behind[..], &[wrong]].concat())), (5, CHILD));
    }
    assert!(inspect(&snapshot(2, &[&behind[..], &[branch(5, &[(10, 3), (30, 4)])]].concat())).is_ok());
}

#[test]
fn the_bucket_of_keys_holds_revisions_only() {
    for key in [b"not a revision".to_vec(), [revision(10), b"x".to_vec()].concat(), vec![0xff; 17]] {
        assert_eq!(problem_with(4, leaf(4, &[(0, key, Vec::new())])), (4, NO_REVISION));
    }
    let late = (0, b"\xffno revision".to_vec(), Vec::new());
    assert_eq!(problem_with(5, leaf(5, &[entry(30, b""), late.clone()])), (5, NO_REVISION));
    let run = leaf(5, &[entry(30, &[0; PAGE]), late]);
    assert_eq!(problem_with(5, run), (5, NO_REVISION), "in a page that overflows");
}

#[test]
fn buckets_are_checked() {
    assert_eq!(
        problem_with(2, leaf(2, &[bucket("key", 3), (0, b"x".to_vec(), vec![])])).1,
        "has a key beside the buckets"
    );
    assert_eq!(problem_with(2, leaf(2, &[(0, b"x".to_vec(), vec![])])).1, "has a key beside the buckets");
    assert_eq!(problem_with(2, leaf(2, &[(1, b"key".to_vec(), vec![1; 15])])).1, "has a bucket that cannot be read");
    assert_eq!(problem_with(2, leaf(2, &[(1, b"key".to_vec(), vec![0; 20])])).1, "has a bucket that cannot be read");
    assert_eq!(problem_with(4, leaf(4, &[bucket("nested", 5)])).1, "has a bucket within a bucket");
    assert_eq!(inspect(&snapshot(2, &[leaf(2, &[inline("meta", &[])])])), Err(SnapshotError::NoBucket("key")));
    // So many that they take a branch.
    let spread = [
        branch(2, &[(1, 3), (2, 4)]),
        leaf(3, &[inline("alarm", &[(0, b"a".to_vec(), vec![])])]),
        leaf(4, &[bucket("key", 5), inline("lease", &[(0, b"l".to_vec(), vec![])])]),
        leaf(5, &[entry(3, b"")]),
    ];
    let facts = inspect(&snapshot(2, &spread)).unwrap();
    assert_eq!((facts.alarms, facts.leases, facts.revision), (1, 1, 3));
}

#[test]
fn the_details_are_found_in_a_page_of_their_own() {
    let cluster = inline("cluster", &[(0, b"clusterVersion".to_vec(), b"3.6.0".to_vec())]);
    let pages = [
        leaf(2, &[cluster, inline("key", &[entry(1, b"")]), bucket("meta", 3)]),
        leaf(3, &[(0, b"consistent_index".to_vec(), vec![0, 0, 0, 0, 0, 0, 1, 0]), (0, b"term".to_vec(), vec![0; 8])]),
        leaf(4, &[(0, b"consistent_index".to_vec(), vec![1; 8])]),
    ];
    let facts = inspect(&snapshot(2, &pages)).unwrap();
    assert_eq!((facts.consistent_index, facts.term), (Some(256), Some(0)));
    assert_eq!(facts.minor().unwrap().to_string(), "3.6");
}

#[test]
fn keys_are_found_wherever_a_page_ends() {
    for size in 2_900..4_200 {
        let first = entry(30, &vec![b'x'; size]);
        let last = entry(50, b"k8s:enc:secretbox:v1:far:");
        let mut pages = sound();
        pages[3] = leaf(5, &[first, entry(40, &vec![b'y'; 2 * size]), last]);
        let facts = inspect(&snapshot(2, &pages)).unwrap();
        assert_eq!((facts.revision, facts.key_revisions), (50, 5), "{size}");
        assert_eq!(facts.encryption, ["secretbox:v1:far"], "{size}");
    }
}

#[test]
fn disorder_in_an_overflowing_page_is_found() {
    let run = |last| leaf(5, &[entry(30, &[0; PAGE]), entry(last, b"")]);
    assert!(inspect(&snapshot(2, &[&sound()[..3], &[run(31)]].concat())).is_ok());
    assert_eq!(problem_with(5, run(29)), (5, KEY_ORDER));
}

#[test]
fn a_chain_as_long_as_the_file_is_walked() {
    let last = 60_000;
    let mut pages = vec![leaf(2, &[bucket("key", 3)])];
    pages.extend((3..last).map(|id| branch(id, &[(1, id + 1)])));
    pages.push(leaf(last, &[entry(1, b"")]));
    assert_eq!(inspect(&snapshot(2, &pages)).unwrap().live_pages, last + 1);
}

#[test]
fn the_newest_valid_meta_page_counts() {
    let body = sound().concat();
    let page_size = u32::try_from(PAGE).unwrap();
    let file = |first: Vec<u8>, second: Vec<u8>| {
        let mut inspector = Inspector::new(Trailer::Absent);
        inspector.update(&[first, second, body.clone()].concat());
        inspector.finish().map(|facts| facts.txid)
    };
    let valid = |id, txid| meta(id, 2, 6, txid, page_size);
    let damaged = |id, txid| {
        let mut page = valid(id, txid);
        page[40] ^= 1;
        page
    };
    assert_eq!(file(valid(0, 8), valid(1, 9)), Ok(9));
    assert_eq!(file(valid(0, 10), valid(1, 9)), Ok(10));
    assert_eq!(file(damaged(0, 10), valid(1, 9)), Ok(9));
    assert_eq!(file(valid(0, 8), damaged(1, 9)), Ok(8));
    let bytes = 6 * PAGE as u64;
    assert_eq!(file(damaged(0, 8), damaged(1, 9)), Err(SnapshotError::NotBolt { bytes }));
}

#[test]
fn absurd_sizes_are_refused() {
    let with_pages = |pages| {
        let page_size = u32::try_from(PAGE).unwrap();
        let metas = [meta(0, 2, pages, 7, page_size), meta(1, 2, pages, 6, page_size)].concat();
        inspect(&seal([metas, sound().concat()].concat()))
    };
    assert!(with_pages(6).is_ok());
    for pages in [7, 1 << 33, u64::MAX] {
        assert!(matches!(with_pages(pages), Err(SnapshotError::Truncated { .. })), "{pages}");
    }
    for pages in [0, 1, 2, 5] {
        assert!(matches!(with_pages(pages), Err(SnapshotError::TooLong { .. })), "{pages}");
    }
    assert_eq!(inspect(b""), Err(SnapshotError::NotBolt { bytes: 0 }));
    assert_eq!(inspect(&vec![0xab; 200_000]), Err(SnapshotError::NotBolt { bytes: 200_000 }));
}

/// Pages with some bytes exchanged, and a file of them whose checksums are right.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let place = prop_oneof![0..100_usize, 0..PAGE];
    let changes = proptest::collection::vec((0_usize..5, place, any::<u8>()), 0..8);
    (changes, 0_u64..8).prop_map(|(changes, root)| {
        let mut pages = sound();
        pages.push(leaf(6, &[entry(30, &[b'x'; 2 * PAGE]), entry(40, b"k8s\0")]));
        for (page, place, byte) in changes {
            pages[page][place] = byte;
        }
        snapshot(if root > 6 { 2 } else { root }, &pages)
    })
}

proptest! {
    #[test]
    fn damage_never_panics_and_pieces_do_not_matter(bytes in damaged(), sizes in proptest::collection::vec(1_usize..9000, 1..9)) {
        let mut inspector = Inspector::new(Trailer::Verify);
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at((*size).min(rest.len()));
            inspector.update(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(inspector.finish(), inspect(&bytes));
    }
}
