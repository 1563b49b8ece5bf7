//! What a list does when the server fails it.

use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Error, ListOptions, Retry};
use lifeboat_model::ResourceType;

use crate::fake::{BRIEF, Fake, QUICK, Reply, list, page, query};
use crate::{Outcome, list_all, list_one, resource_type};

fn things() -> ResourceType {
    resource_type("", "v1", "things", "Thing")
}

fn names(outcome: &Outcome) -> Vec<String> {
    let name = |object: &Vec<u8>| -> serde_json::Value { serde_json::from_slice(object).unwrap() };
    outcome.objects.iter().map(|object| name(object)["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn numbers(total: usize) -> Vec<String> {
    (0..total).map(|i| format!("{i:06}")).collect()
}

/// Lists 100 objects from a server whose answer number `at` is `fault`.
async fn list_with_fault(retry: Retry, at: usize, fault: Reply) -> (Outcome, Fake) {
    let mut count = 0;
    let fake = Fake::start_with(retry, move |path| {
        count += 1;
        if count == at { fault.clone() } else { list(path, 100, 10) }
    });
    let fake = fake.await;
    (list_one(&fake.cluster, things(), ListOptions::default()).await, fake)
}

#[tokio::test]
async fn a_list_survives_each_passing_fault_at_each_place() {
    let faults = [
        Reply::status(429, "TooManyRequests", "slow down"),
        Reply::status(500, "InternalError", "etcdserver: leader changed"),
        Reply::status(503, "ServiceUnavailable", "apiserver is shutting down"),
        Reply::status(504, "Timeout", "request did not complete"),
        Reply::Cut(page(0, 100, 100, 10)),
        Reply::HangUp,
        Reply::Stall,
    ];
    for fault in faults {
        for at in 1..=4 {
            let (outcome, fake) = list_with_fault(QUICK, at, fault.clone()).await;
            assert!(outcome.error.is_none(), "{fault:?} at {at}: {outcome:?}");
            assert_eq!(names(&outcome), numbers(100), "{fault:?} at {at}");
            let expected = if at == 4 { 3 } else { 4 };
            assert_eq!(fake.seen.paths().len(), expected, "8 + 32 + 60 objects, and one answer more after the fault");
        }
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_and_counts_against_the_budget() {
    let later = Reply::Full(429, "retry-after: 1\r\n", String::new());
    let began = Instant::now();
    let (outcome, _) = list_with_fault(QUICK, 2, later).await;
    assert_eq!(names(&outcome), numbers(100));
    assert!(began.elapsed() >= Duration::from_secs(1));

    let began = Instant::now();
    let much_later = Reply::Full(429, "retry-after: 60\r\n", String::new());
    let (outcome, _) = list_with_fault(BRIEF, 2, much_later).await;
    let wait = Some(Duration::from_mins(1));
    assert!(matches!(outcome.error, Some(Error::Throttled { retry_after, .. }) if retry_after == wait), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_mins(1), "a wait beyond the budget is not begun");
}

#[tokio::test]
async fn a_fault_that_stays_ends_the_list_after_its_budget_and_the_next_list_goes_on() {
    let fake = Fake::start_with(BRIEF, |path| {
        if path.starts_with("/apis/broken") {
            Reply::status(503, "ServiceUnavailable", "gone")
        } else {
            list(path, 3, 1)
        }
    });
    let fake = fake.await;
    let broken = resource_type("broken.io", "v1", "things", "Thing");
    let began = Instant::now();
    let outcomes = list_all(&fake.cluster, &[broken, things()], ListOptions::default()).await;
    let spent = began.elapsed();
    assert!(spent >= BRIEF.budget / 2 && spent < BRIEF.budget * 20, "{spent:?}");
    let [broken, whole] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(
        matches!(&broken.error, Some(Error::Server { status: 503, resource, .. }) if resource == "things.broken.io")
    );
    assert!(whole.error.is_none());
    assert_eq!(whole.objects.len(), 3);
}

#[tokio::test]
async fn what_will_not_pass_is_asked_for_once() {
    let replies = [
        Reply::status(401, "Unauthorized", "who?"),
        Reply::status(403, "Forbidden", "no"),
        Reply::status(404, "NotFound", "no"),
        Reply::status(405, "MethodNotAllowed", "no"),
        Reply::status(501, "NotImplemented", "no"),
        Reply::ok("{\"kind\":\"Status\"}"),
        Reply::ok("<html>"),
    ];
    let mut errors = Vec::new();
    for reply in replies {
        let (outcome, fake) = list_with_fault(QUICK, 1, reply).await;
        assert_eq!(fake.seen.paths().len(), 1, "{outcome:?}");
        errors.push(outcome.error.expect("the list fails").to_string());
    }
    let expected = [
        "the API server does not know this identity: who?",
        "not allowed to list things: no",
        "things not found: no",
        "the API server answered 405 MethodNotAllowed for things: no",
        "the API server answered 501 NotImplemented for things: no",
        "the API server's answer for things is not valid",
        "the API server's answer for things is not valid",
    ];
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn an_expired_list_begins_again_and_says_so() {
    let gone = Reply::status(410, "Expired", "too old");
    let (outcome, fake) = list_with_fault(QUICK, 3, gone).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(outcome.restarts, 1);
    assert_eq!(names(&outcome), numbers(100));
    let tokens: Vec<_> = fake.seen.paths().iter().map(|path| query(path).1).collect();
    assert_eq!(&tokens[..4], ["", "8", "40", ""]);
}

#[tokio::test]
async fn a_list_that_expires_again_and_again_fails() {
    let fake = Fake::start(|path| {
        if query(path).1.is_empty() { list(path, 5000, 1) } else { Reply::status(410, "Expired", "too old") }
    });
    let fake = fake.await;
    let options = ListOptions { max_restarts: 2, ..ListOptions::default() };
    let outcome = list_one(&fake.cluster, things(), options).await;
    assert_eq!(outcome.restarts, 2);
    assert!(matches!(&outcome.error, Some(Error::Expired { message, .. }) if message == "too old"), "{outcome:?}");
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_pieces() {
    let fake = Fake::start(|path| list(path, 6, 1000)).await;
    let options = ListOptions { page_bytes: 1000, ..ListOptions::default() };
    let outcome = list_one(&fake.cluster, things(), options).await;
    assert_eq!(names(&outcome), numbers(6));
    let limits: Vec<_> = fake.seen.paths().iter().map(|path| query(path).0).collect();
    assert_eq!(limits, [8, 2, 1, 1, 1, 1], "8 are too many, 2 are well, and 1 is what fits the size wanted");
}

#[tokio::test]
async fn one_object_beyond_the_bound_ends_the_list() {
    let fake = Fake::start(|path| list(path, 6, 10_000)).await;
    let options = ListOptions { page_bytes: 1000, max_page_bytes: 5000, ..ListOptions::default() };
    let outcome = list_one(&fake.cluster, things(), options).await;
    assert!(matches!(outcome.error, Some(Error::TooLarge { limit: 5000, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_walks_in_circles_is_left() {
    let fake = Fake::start(|_| Reply::ok(page(0, 8, 100, 1))).await;
    let outcome = list_one(&fake.cluster, things(), ListOptions::default()).await;
    assert!(matches!(outcome.error, Some(Error::Decode { .. })), "{outcome:?}");
    assert_eq!(fake.seen.paths().len(), 2);
}

#[tokio::test]
async fn a_token_may_have_any_characters() {
    let fake = Fake::start(|path| {
        if query(path).1.is_empty() {
            Reply::ok(r#"{"apiVersion":"v1","metadata":{"continue":"a&b=c?/ü%"},"items":[]}"#)
        } else {
            Reply::ok(r#"{"apiVersion":"v1","metadata":{},"items":null}"#)
        }
    });
    let fake = fake.await;
    let outcome = list_one(&fake.cluster, things(), ListOptions::default()).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(query(&fake.seen.paths()[1]).1, "a%26b%3Dc%3F%2F%C3%BC%25");
}
