//! Lists requested ahead: in order, within bounds, and gone with their consumer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lifeboat_kubernetes::{ListEvent, ListOptions};
use lifeboat_model::ResourceType;
use tokio::time::timeout;

use crate::fake::{self, Fake};
use crate::{list_all, resource_type};

fn types(count: usize) -> Vec<ResourceType> {
    (0..count).map(|i| resource_type("", "v1", &format!("things{i}"), "Thing")).collect()
}

/// The number in the resource's name.
fn number(path: &str) -> usize {
    path["/api/v1/things".len()..].split('?').next().unwrap().parse().unwrap()
}

/// As many objects as the list's number says, in a pattern of empty, small and larger lists.
fn total(number: usize) -> usize {
    [0, 3, 700, 1, 0, 90, 40, 1500][number % 8]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_comes_whole_and_in_order_whatever_the_bounds() {
    let fake = Fake::start(|path| fake::list(path, total(number(path)), 20)).await;
    for (requests, buffer_bytes) in [(1, 0), (1, 1 << 20), (2, 3000), (4, 100_000), (8, 1 << 30)] {
        let options = ListOptions { requests, buffer_bytes, page_bytes: 20_000, ..ListOptions::default() };
        let types = types(40);
        let lists = list_all(&fake.cluster, &types, options);
        let outcomes =
            timeout(Duration::from_mins(1), lists).await.expect("lists never wait for one another in a ring");
        assert_eq!(outcomes.len(), 40);
        for (index, outcome) in outcomes.iter().enumerate() {
            assert!(outcome.error.is_none(), "{outcome:?}");
            assert_eq!(outcome.objects.len(), total(index));
            let whole = if total(index) == 0 { None } else { Some(total(index) as u64) };
            assert_eq!(outcome.expected.filter(|_| whole.is_some()), whole);
            assert!(outcome.pages.iter().all(|(bytes, _)| *bytes <= 4 * options.page_bytes));
        }
        let most = fake.seen.most.swap(0, Ordering::SeqCst);
        assert!(most <= requests, "{most} requests at once, {requests} allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_run_ahead_of_a_slow_consumer_only_as_far_as_the_buffer_goes() {
    // The first list alone does not fill the buffer.
    let objects = |number| if number == 0 { 200 } else { 2000 };
    let fake = Fake::start(move |path| fake::list(path, objects(number(path)), 1000)).await;
    let options = ListOptions { buffer_bytes: 1_000_000, page_bytes: 100_000, ..ListOptions::default() };
    let mut listing = fake.cluster.list_all(types(10), options);
    let (index, event) = listing.next().await.unwrap();
    assert!(matches!((index, event), (0, ListEvent::Page(_))));

    // The buffer fills without the consumer; then nothing moves.
    let sent = || fake.seen.sent.load(Ordering::SeqCst);
    let mut before = 0;
    let settled = async {
        while sent() != before || before < 500_000 {
            before = sent();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(30), settled).await.expect("the server is asked ahead, and then no more");
    assert!(sent() < 1_400_000, "{} bytes for a buffer of 1,000,000 and a page", sent());
    let ahead = fake.seen.paths().iter().any(|path| number(path) > 0);
    assert!(ahead, "resources after the first are begun");

    drop(listing);
    let after = fake.seen.paths().len();
    let outcomes = list_all(&fake.cluster, &types(1), options).await;
    assert_eq!(outcomes[0].objects.len(), objects(0));
    let other = fake.seen.paths().split_off(after);
    assert!(other.iter().all(|path| number(path) == 0), "the lists that were dropped ask no more: {other:?}");
}

#[tokio::test]
async fn no_resources_make_no_events() {
    let fake = Fake::start(|path| fake::list(path, 1, 1)).await;
    assert!(list_all(&fake.cluster, &[], ListOptions::default()).await.is_empty());
}
