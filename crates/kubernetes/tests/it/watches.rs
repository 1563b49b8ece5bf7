//! What a wait does when the server fails it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeboat_kubernetes::Error;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};
use crate::objects::{config_maps, path};

fn list(version: &str, objects: &[Value]) -> Reply {
    Reply::ok(json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": version}, "items": objects}).to_string())
}

fn object(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"text": text}})
}

fn event(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string() + "\n"
}

/// Waits for a config map `a` with the text `two`, on a server that answers as the script says.
async fn wait(script: Vec<Reply>, within: Duration) -> (Result<Option<Value>, Error>, Vec<String>) {
    let script = Arc::new(Mutex::new(script.into_iter()));
    let last = list("9", &[]);
    let fake = Fake::start(move |_| script.lock().unwrap().next().unwrap_or(last.clone())).await;
    let maps = config_maps();
    let reached = |object: Option<&Value>| object.is_some_and(|object| object["data"]["text"] == "two");
    let waited = fake.cluster.wait_until(path(&maps, "default", "a"), within, reached).await;
    (waited, fake.seen.paths())
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_watch_that_fails_begins_again_from_a_new_list() {
    let two = event("MODIFIED", &object("a", "two"));
    let bookmark = event("BOOKMARK", &json!({"metadata": {"resourceVersion": "6"}}));
    let expired = event("ERROR", &json!({"kind": "Status", "code": 410, "reason": "Expired"}));
    let script = vec![
        Reply::HangUp,
        Reply::status(503, "ServiceUnavailable", "not now"),
        list("5", &[object("b", "two")]),
        Reply::ok(bookmark + &expired),
        list("6", &[]),
        Reply::Cut(two.clone()),
        list("7", &[object("a", "one")]),
        Reply::status(429, "TooManyRequests", "later"),
        list("8/%", &[]),
        Reply::ok(event("ADDED", &object("a", "one")) + &event("DELETED", &object("a", "two")) + &two),
    ];
    let (seen, paths) = wait(script, PATIENT).await;
    assert_eq!(seen.unwrap().unwrap()["data"]["text"], "two");
    let watched: Vec<_> = paths.iter().filter_map(|path| path.split_once("resourceVersion=")).collect();
    let versions: Vec<_> = watched.iter().map(|(_, rest)| rest.split('&').next().unwrap()).collect();
    assert_eq!(versions, ["5", "6", "7", "8%2F%25"]);
    assert!(paths.iter().all(|path| path.contains("fieldSelector=metadata.name%3Da")), "{paths:?}");
}

#[tokio::test]
async fn what_is_gone_is_not_what_it_was() {
    let deleted = event("DELETED", &object("a", "two"));
    let script = vec![list("5", &[]), Reply::ok(deleted)];
    let (seen, paths) = wait(script, Duration::from_millis(1500)).await;
    assert!(seen.is_err(), "its last state does not count: {seen:?}");
    assert!(paths.len() > 2);
}

#[tokio::test]
async fn a_wait_ends_in_time_and_without_haste() {
    let within = Duration::from_millis(400);
    let began = Instant::now();
    let (waited, paths) = wait(vec![list("5", &[]), Reply::Stall], within).await;
    assert!(matches!(waited, Err(Error::NotReached { within: told, .. }) if told == within), "{waited:?}");
    assert_eq!(paths.len(), 2);
    assert!(began.elapsed() >= within && began.elapsed() < Duration::from_secs(10));

    // Every watch of this server ends at once.
    let (waited, paths) = wait(Vec::new(), within).await;
    assert!(matches!(waited, Err(Error::NotReached { .. } | Error::Unreachable { .. })), "{waited:?}");
    assert!(paths.len() <= 2 * 80, "with pauses of at least 5 ms: {}", paths.len());
}

#[tokio::test]
async fn nonsense_and_refusals_end_a_wait() {
    for nonsense in ["nonsense\n", "{\"type\":\"SURPRISE\",\"object\":{}}\n", "{\"type\":\"ADDED\"}\n"] {
        let (waited, _) = wait(vec![list("5", &[]), Reply::ok(nonsense)], PATIENT).await;
        assert!(matches!(waited, Err(Error::Decode { .. })), "{nonsense}: {waited:?}");
    }
    let forbidden = Reply::status(403, "Forbidden", "configmaps is forbidden: User \\\"a\\\" cannot watch resource");
    let (waited, _) = wait(vec![list("5", &[]), forbidden], PATIENT).await;
    assert!(matches!(waited, Err(Error::Forbidden { verb: "watch", .. })), "{waited:?}");
}
