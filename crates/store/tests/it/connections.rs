//! Connections that break, answers that are lost: what was written counts, and what is read is whole.

use std::future::pending;
use std::io;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use lifeboat_store::{S3Store, Store, StoreError, body};
use lifeboat_tests::s3::S3Server;

use crate::places::{key, leftovers, noise, options, pieces, read};
use crate::proxy::{Act, Proxy, refusal};
use crate::s3::through;

const MIB: usize = 1 << 20;

/// A plan that does something to the first requests that have all these words in their heads.
fn first(times: usize, words: &'static [&'static str], act: Act) -> impl FnMut(&str) -> Act + Send + 'static {
    let mut left = times;
    move |head| {
        if left > 0 && words.iter().all(|word| head.contains(word)) {
            left -= 1;
            act.clone()
        } else {
            Act::Pass
        }
    }
}

const CONDITIONAL_PUT: &[&str] = &["put ", "if-none-match"];
const COMPLETE: &[&str] = &["post ", "if-none-match"];

#[tokio::test]
async fn a_write_whose_answer_is_lost_counts() {
    let server = S3Server::versitygw().await;
    for (name, size, words) in [("whole", 1_000, CONDITIONAL_PUT), ("parts", 9 * MIB, COMPLETE)] {
        for (times, lost) in [(1, "one"), (usize::MAX, "all")] {
            let proxy = Proxy::start(&server, first(times, words, Act::LoseAnswer)).await;
            let store = through(&server, &proxy).await;
            let (key, content) = (key(&format!("{name}/{lost}")), noise(1, size));
            let stored = store.put_once(&key, pieces(&content, MIB)).await.unwrap();
            assert_eq!(stored.bytes, size as u64);
            assert!(read(&store, &key).await.unwrap() == content);
            let sent = proxy.heads().iter().filter(|head| words.iter().all(|word| head.contains(word))).count();
            assert!(sent > 1, "{name}: the write was not repeated, so its answer was not lost");
            assert_eq!(leftovers(&store, "").await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn another_ones_object_is_not_taken_for_ones_own() {
    let server = S3Server::versitygw().await;
    for (name, size, words) in [("whole", 1_000, CONDITIONAL_PUT), ("parts", 9 * MIB, COMPLETE)] {
        let proxy = Proxy::start(&server, first(1, words, Act::LoseAnswer)).await;
        let store = through(&server, &proxy).await;
        let key = key(name);
        // The same size, and another content.
        store.put_once(&key, pieces(&noise(1, size), MIB)).await.unwrap();
        let proxy = Proxy::start(&server, first(1, words, Act::LoseAnswer)).await;
        let second = through(&server, &proxy).await.put_once(&key, pieces(&noise(2, size), MIB)).await;
        assert!(matches!(second, Err(StoreError::AlreadyExists { .. })), "{name}: {second:?}");
        assert!(read(&store, &key).await.unwrap() == noise(1, size));
    }
}

#[tokio::test]
async fn a_write_that_cannot_be_looked_after_is_uncertain() {
    let server = S3Server::versitygw().await;
    let mut written = false;
    let plan = move |head: &str| {
        written |= head.contains("if-none-match");
        if written { Act::LoseAnswer } else { Act::Pass }
    };
    let proxy = Proxy::start(&server, plan).await;
    let store = through(&server, &proxy).await;
    match store.put_once(&key("k"), body("x")).await {
        Err(StoreError::Uncertain { key: k, .. }) => assert_eq!(k, key("k")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_write_that_never_arrived_is_no_uncertain_one() {
    let server = S3Server::versitygw().await;
    let proxy = Proxy::start(&server, first(usize::MAX, CONDITIONAL_PUT, refusal("500 Oops", "InternalError"))).await;
    let store = through(&server, &proxy).await;
    match store.put_once(&key("k"), body("x")).await {
        Err(StoreError::Other { status: Some(500), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_conflict_of_two_writes_is_tried_again() {
    let server = S3Server::versitygw().await;
    for (name, size, words) in [("whole", 10, CONDITIONAL_PUT), ("parts", 9 * MIB, COMPLETE)] {
        let conflict = refusal("409 Conflict", "ConditionalRequestConflict");
        let proxy = Proxy::start(&server, first(2, words, conflict)).await;
        let store = through(&server, &proxy).await;
        store.put_once(&key(name), pieces(&noise(1, size), MIB)).await.unwrap();
        assert!(read(&store, &key(name)).await.unwrap() == noise(1, size));
    }
}

#[tokio::test]
async fn a_part_that_fails_ends_the_upload() {
    let server = S3Server::versitygw().await;
    let proxy = Proxy::start(&server, first(1, &["partnumber=2"], refusal("403 Forbidden", "AccessDenied"))).await;
    let store = through(&server, &proxy).await;
    // The body never ends: the failure alone must end the write.
    let endless = pieces(&noise(1, 20 * MIB), MIB).chain(stream::once(pending::<io::Result<Bytes>>())).boxed();
    let failed = store.put_once(&key("k"), endless).await;
    assert!(matches!(failed, Err(StoreError::AccessDenied { .. })), "{failed:?}");
    assert_eq!(leftovers(&store, "").await, [""; 0]);
}

#[tokio::test]
async fn a_part_is_sent_again_after_a_broken_connection() {
    let server = S3Server::versitygw().await;
    let proxy = Proxy::start(&server, first(1, &["partnumber=2"], Act::LoseAnswer)).await;
    let store = through(&server, &proxy).await;
    let content = noise(1, 30 * MIB);
    store.put_once(&key("k"), pieces(&content, MIB)).await.unwrap();
    assert!(read(&store, &key("k")).await.unwrap() == content);
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let server = S3Server::versitygw().await;
    let content = noise(1, 5 * MIB);
    let plain = S3Store::connect(options(&server)).await.unwrap();
    plain.put_once(&key("k"), pieces(&content, MIB)).await.unwrap();
    // More breaks in all than attempts, but each attempt brings something.
    let proxy = Proxy::start(&server, first(5, &["get "], Act::CutAnswer(900_000))).await;
    let store = through(&server, &proxy).await;
    assert!(read(&store, &key("k")).await.unwrap() == content);
    let ranges: Vec<_> =
        proxy.heads().iter().filter_map(|head| Some(head.split_once("range: bytes=")?.1.to_owned())).collect();
    assert_eq!(ranges.len(), 5, "{ranges:?}");
    let offsets: Vec<u64> = ranges.iter().map(|range| range.split('-').next().unwrap().parse().unwrap()).collect();
    assert!(offsets.is_sorted() && offsets[0] > 500_000, "bytes were read again: {offsets:?}");
}

#[tokio::test]
async fn a_download_that_stays_broken_is_an_error() {
    let server = S3Server::versitygw().await;
    let plain = S3Store::connect(options(&server)).await.unwrap();
    plain.put_once(&key("k"), body(noise(1, 100_000))).await.unwrap();
    let mut opened = false;
    let cut = move |_: &str| Act::CutAnswer(if std::mem::replace(&mut opened, true) { 100 } else { 50_000 });
    let proxy = Proxy::start(&server, cut).await;
    let mut object = through(&server, &proxy).await.get(&key("k")).await.unwrap();
    let error = loop {
        match object.body.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("a part of an object was taken for the whole"),
        }
    };
    let error = error.downcast::<StoreError>().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_download_is_not_continued_with_another_object() {
    let server = S3Server::versitygw().await;
    let plain = S3Store::connect(options(&server)).await.unwrap();
    plain.put_once(&key("k"), body(noise(1, 3 * MIB))).await.unwrap();
    let proxy = Proxy::start(&server, first(1, &["get "], Act::CutAnswer(900_000))).await;
    let mut object = through(&server, &proxy).await.get(&key("k")).await.unwrap();
    object.body.next().await.unwrap().unwrap();
    plain.delete(&key("k")).await.unwrap();
    plain.put_once(&key("k"), body(noise(2, 3 * MIB))).await.unwrap();
    let end =
        object.body.map(|chunk| chunk.map(|_| ())).filter(|chunk| std::future::ready(chunk.is_err())).next().await;
    let error = end.unwrap().unwrap_err().downcast::<StoreError>().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}
