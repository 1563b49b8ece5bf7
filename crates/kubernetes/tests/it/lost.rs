//! Writes whose answer is lost: done once, and told as what they were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Cluster, ConnectOptions, Deletion, Error, Retry, WriteOptions};
use lifeboat_tests::cluster::{Cluster as TestCluster, kubectl};
use serde_json::{Value, json};

use crate::connect;
use crate::fake::{BRIEF, Fake, QUICK, Reply};
use crate::objects::{
    MANAGER, WRITE, bytes, config_map, config_maps, create_config_map, delete_config_map, delete_options,
    get_config_map, parse, path, replace_config_map,
};
use crate::proxy::{Fault, Proxy};

/// A cluster behind a line that can be cut, with a connection of its own to look past the line.
struct Line {
    server: TestCluster,
    proxy: Proxy,
    cluster: Cluster,
    direct: Cluster,
}

impl Line {
    async fn start() -> Self {
        let server = TestCluster::start().await;
        let proxy = Proxy::start(&server).await;
        let cluster = connect(proxy.kubeconfig()).await;
        let direct = connect(&server.kubeconfig()).await;
        Self { server, proxy, cluster, direct }
    }

    /// Cuts the line at the next message, of a connection that is there already.
    async fn cut(&self, fault: Fault) {
        self.cut_after(fault, || {}).await;
    }

    async fn cut_after(&self, fault: Fault, meanwhile: impl FnOnce() + Send + 'static) {
        self.cluster.version().await.unwrap();
        self.proxy.cut(fault, meanwhile);
    }

    /// kubectl as somebody else, past the line.
    fn kubectl(&self, args: &'static [&'static str]) -> impl FnOnce() + Send + use<> {
        let kubeconfig = self.server.kubeconfig();
        move || drop(kubectl(&kubeconfig, args).unwrap())
    }
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let line = Line::start().await;
    for (number, fault) in [Fault::Answer, Fault::Request].into_iter().enumerate() {
        let name = format!("map-{number}");
        line.cut(fault).await;
        let created = parse(&create_config_map(&line.cluster, &name, "one").await.unwrap().object);
        assert_eq!(get_config_map(&line.direct, &name).await.unwrap(), created);

        line.cut(fault).await;
        let replaced = parse(&replace_config_map(&line.cluster, &created, "two").await.unwrap().object);
        assert_eq!(get_config_map(&line.direct, &name).await.unwrap(), replaced);
        assert_eq!(replaced["data"]["text"], "two");
        assert_ne!(version(&replaced), version(&created));

        line.cut(fault).await;
        let patch = bytes(&json!({"data": {"more": "three"}}));
        let maps = config_maps();
        let patched = line.cluster.merge_patch(path(&maps, "default", &name), patch, WRITE).await.unwrap();
        assert_eq!(parse(&patched.object)["data"], json!({"text": "two", "more": "three"}));

        line.cut(fault).await;
        assert_eq!(delete_config_map(&line.cluster, &created).await.unwrap(), Deletion::Gone);
        assert_eq!(get_config_map(&line.direct, &name).await, None);
    }
    assert_eq!(line.proxy.cuts(), 8, "each of the writes met its fault");

    // A dry run leaves nothing to find, and nothing to mistake for it.
    line.cut(Fault::Answer).await;
    let maps = config_maps();
    let dry = WriteOptions { dry_run: true, ..WRITE };
    let at = path(&maps, "default", "dry");
    line.cluster.create(at, bytes(&config_map("dry", "x")), dry).await.unwrap();
    assert_eq!(line.direct.get(at).await.unwrap(), None);
    assert_eq!(line.proxy.cuts(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_meanwhile_is_not_taken_for_ours() {
    let line = Line::start().await;

    // Somebody else makes the object after our request was lost.
    let theirs = line.kubectl(&["create", "configmap", "contested", "--from-literal=text=one"]);
    line.cut_after(Fault::Request, theirs).await;
    let error = create_config_map(&line.cluster, "contested", "one").await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");

    // It had been there before, though made by our own field manager: only its age tells.
    let old = parse(&create_config_map(&line.direct, "old", "one").await.unwrap().object);
    let later = line.direct.server_time().await.unwrap() + Duration::from_secs(4);
    while line.direct.server_time().await.unwrap() < later {
        tokio::task::yield_now().await;
    }
    line.cut(Fault::Answer).await;
    let error = create_config_map(&line.cluster, "old", "one").await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");

    // Somebody else changes the object before our lost request could: ours must not go on top of it.
    let theirs = line.kubectl(&["patch", "configmap", "old", "-p", "{\"data\":{\"text\":\"theirs\"}}"]);
    line.cut_after(Fault::Request, theirs).await;
    let error = replace_config_map(&line.cluster, &old, "ours").await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(get_config_map(&line.direct, "old").await.unwrap()["data"]["text"], "theirs");

    // Ours was done, and was changed by somebody else before we looked: it was done all the same.
    let read = get_config_map(&line.direct, "old").await.unwrap();
    let theirs = line.kubectl(&["annotate", "configmap", "old", "note=theirs"]);
    line.cut_after(Fault::Answer, theirs).await;
    let replaced = parse(&replace_config_map(&line.cluster, &read, "ours again").await.unwrap().object);
    let texts = (&replaced["data"]["text"], &replaced["metadata"]["annotations"]["note"]);
    assert_eq!(texts, (&json!("ours again"), &json!("theirs")));

    // The object was made again under its name: the new one stays.
    let theirs = line.kubectl(&["create", "configmap", "old", "--from-literal=text=new"]);
    line.cut_after(Fault::Answer, theirs).await;
    assert_eq!(delete_config_map(&line.cluster, &read).await.unwrap(), Deletion::Gone);
    assert_eq!(get_config_map(&line.direct, "old").await.unwrap()["data"]["text"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_survives_a_restart_of_the_api_server() {
    let mut line = Line::start().await;
    line.cluster.version().await.unwrap();
    line.server.stop_api_server().await;
    let refused = Cluster::connect(ConnectOptions {
        kubeconfig: Some(line.server.kubeconfig()),
        retry: BRIEF,
        ..ConnectOptions::default()
    });
    let error = create_config_map(&refused.await.unwrap(), "never", "sent").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { sent: false, .. }), "nothing can have been done: {error:?}");
    let (started, created) =
        tokio::join!(line.server.start_api_server(), create_config_map(&line.direct, "patient", "x"));
    started.unwrap();
    assert_eq!(get_config_map(&line.direct, "patient").await, Some(parse(&created.unwrap().object)));
    assert_eq!(get_config_map(&line.direct, "never").await, None);
}

fn created_at(seconds_ago: i64, manager: &str) -> Reply {
    let time = jiff::Timestamp::from_second(FAKE_NOW - seconds_ago).unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "creationTimestamp": time,
        "managedFields": [{"manager": manager, "operation": "Update", "time": time}]}});
    Reply::ok(object.to_string())
}

/// The time that the fake server's answers bear.
const FAKE_NOW: i64 = 784_887_151;

/// Creates an object on a server that answers by number of attempt.
async fn create_on_fake(
    retry: Retry,
    answer: impl Fn(usize) -> Reply + Send + 'static,
) -> (Result<Vec<u8>, Error>, Vec<String>) {
    let count = Arc::new(AtomicUsize::new(0));
    let fake = Fake::start_with(retry, move |_| answer(count.fetch_add(1, Ordering::SeqCst))).await;
    let written = create_config_map(&fake.cluster, "a", "b").await;
    let item = "/api/v1/namespaces/default/configmaps/a";
    let kinds = fake.seen.paths().into_iter().map(|path| if path == item { "look" } else { "try" }.to_owned());
    (written.map(|written| written.object), kinds.collect())
}

#[tokio::test]
async fn a_throttled_write_waits_as_long_as_it_is_told() {
    let later = || Reply::Full(429, "retry-after: 1\r\n", String::new());
    let began = Instant::now();
    let (written, requests) =
        create_on_fake(QUICK, move |count| if count == 0 { later() } else { Reply::ok("{}") }).await;
    assert_eq!(written.unwrap(), b"{}");
    assert_eq!(requests, ["try", "try"], "a throttled write was not done: there is nothing to look for");
    assert!(began.elapsed() >= Duration::from_secs(1));

    let (written, requests) = create_on_fake(BRIEF, move |_| later()).await;
    assert!(matches!(written, Err(Error::Throttled { .. })), "{written:?}");
    assert_eq!(requests, ["try"]);
}

#[tokio::test]
async fn an_outcome_that_nobody_can_tell_is_uncertain() {
    let trouble = || Reply::status(500, "InternalError", "etcdserver: request timed out");
    let (written, requests) = create_on_fake(BRIEF, move |_| trouble()).await;
    let error = written.unwrap_err();
    assert!(matches!(error, Error::Uncertain { verb: "create", .. }), "{error:?}");
    assert_eq!(error.to_string(), "it is not known whether the create of configmaps default/a was done");
    assert_eq!(requests.iter().filter(|request| *request == "try").count(), 1, "never repeated blindly");
    assert!(requests.len() > 1);

    // A patch may be repeated, and is in vain.
    let fake = Fake::start_with(BRIEF, move |_| trouble()).await;
    let maps = config_maps();
    let at = path(&maps, "default", "a");
    let patched = fake.cluster.merge_patch(at, "{}".into(), WRITE).await;
    assert!(matches!(patched, Err(Error::Uncertain { verb: "patch", .. })), "{patched:?}");
    let dry = WriteOptions { dry_run: true, ..WRITE };
    let patched = fake.cluster.merge_patch(at, "{}".into(), dry).await;
    assert!(matches!(patched, Err(Error::Server { status: 500, .. })), "nothing can have been done: {patched:?}");

    // Nobody may look.
    let forbidden = Reply::status(403, "Forbidden", "configmaps is forbidden: User \"a\" cannot get resource");
    let (written, _) =
        create_on_fake(QUICK, move |count| if count == 0 { Reply::HangUp } else { forbidden.clone() }).await;
    let Err(Error::Uncertain { source, .. }) = written else { panic!("{written:?}") };
    assert!(matches!(*source, Error::Forbidden { verb: "get", .. }), "{source:?}");
}

#[tokio::test]
async fn age_and_manager_tell_whose_an_object_is() {
    for (age, manager, ours) in [(0, MANAGER, true), (60, MANAGER, false), (0, "kubectl", false)] {
        let exists = Reply::status(409, "AlreadyExists", "configmaps \\\"a\\\" already exists");
        let (written, requests) = create_on_fake(QUICK, move |count| match count {
            0 => Reply::Stall,
            2 => exists.clone(),
            _ => created_at(age, manager),
        })
        .await;
        assert_eq!(written.is_ok(), ours, "{age} {manager}: {written:?}");
        if ours {
            assert_eq!(requests, ["try", "look"]);
        } else {
            assert!(matches!(written, Err(Error::AlreadyExists { .. })), "{written:?}");
            assert_eq!(requests, ["try", "look", "try", "look"], "looked for again after the refusal");
        }
    }
}

#[tokio::test]
async fn a_refusal_that_our_own_first_attempt_brought_about_is_none() {
    // The first attempt is done late, after the first look, and uses up the quota for the second.
    let denied = Reply::status(403, "Forbidden", "configmaps \\\"a\\\" is forbidden: exceeded quota: one");
    let (written, requests) = create_on_fake(QUICK, move |count| match count {
        0 => Reply::HangUp,
        1 => Reply::Full(404, "", NOT_THERE.to_owned()),
        2 => denied.clone(),
        _ => created_at(0, MANAGER),
    })
    .await;
    assert!(written.is_ok(), "{written:?}");
    assert_eq!(requests, ["try", "look", "try", "look"]);
}

const NOT_THERE: &str =
    r#"{"kind":"Status","status":"Failure","reason":"NotFound","details":{"name":"a","kind":"configmaps"},"code":404}"#;

#[tokio::test]
async fn a_deletion_in_doubt_is_looked_into() {
    let script = Arc::new(Mutex::new(vec![
        Reply::HangUp,
        Reply::ok(r#"{"metadata":{"uid":"u"}}"#),
        Reply::Full(404, "", NOT_THERE.to_owned()),
        Reply::Full(404, "", NOT_THERE.to_owned()),
    ]));
    let fake = Fake::start(move |_| script.lock().unwrap().remove(0)).await;
    let maps = config_maps();
    let at = path(&maps, "default", "a");
    let deleted = fake.cluster.delete(at, delete_options("u")).await;
    assert_eq!(deleted.unwrap(), Deletion::Gone, "the one that is not there any more was deleted by us");
}
