//! What only buckets do: answers that are lost, servers that refuse, locks.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    BucketVersioningStatus, DefaultRetention as AwsRetention, ObjectLockConfiguration, ObjectLockEnabled,
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode, ObjectLockRule,
    VersioningConfiguration,
};
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use lifeboat_store::{
    Checksums, Credentials, DefaultRetention, ObjectLock, Protection, RetentionPeriod, S3Options, S3Store, Store,
    StoreError, Timeouts, Versioning, body,
};
use lifeboat_tests::s3::{S3Kind, S3Server};

use crate::places::{key, keys, noise, options, pieces, prefix, read};
use crate::proxy::{Act, Proxy, TlsProxy, refusal};

const MIB: usize = 1 << 20;
/// Tells the part of a test that runs with an environment of its own where the server is.
const ENDPOINT: &str = "LIFEBOAT_TEST_ENDPOINT";

/// A store behind a proxy.
pub(crate) async fn through(server: &S3Server, proxy: &Proxy) -> S3Store {
    S3Store::connect(S3Options { endpoint: Some(proxy.endpoint.clone()), ..options(server) }).await.unwrap()
}

/// What each operation of a store that cannot work says.
async fn failures(options: S3Options) -> Vec<(&'static str, StoreError)> {
    let store = S3Store::connect(options).await.unwrap();
    let object = key("a/b");
    vec![
        ("put", store.put_once(&object, body("x")).await.unwrap_err()),
        ("put in parts", store.put_once(&object, pieces(&noise(0, 9 * MIB), MIB)).await.unwrap_err()),
        ("get", store.get(&object).await.unwrap_err()),
        ("get range", store.get_range(&object, 0..1).await.unwrap_err()),
        ("list", store.list(&prefix("a")).next().await.unwrap().unwrap_err()),
        ("folders", store.folders(&prefix("a")).next().await.unwrap().unwrap_err()),
        ("delete", store.delete(&object).await.unwrap_err()),
        ("capabilities", store.capabilities(&object, Timestamp::now()).await.unwrap_err()),
    ]
}

async fn errors_are_told_apart(kind: S3Kind) {
    let server = S3Server::start(kind).await;
    // s3s-fs makes the buckets that it is asked to write to.
    if kind != S3Kind::Embedded {
        for (operation, error) in failures(S3Options { bucket: "no-such-bucket".to_owned(), ..options(&server) }).await
        {
            match error {
                StoreError::NoSuchBucket { bucket, .. } => assert_eq!(bucket, "no-such-bucket"),
                other => panic!("{operation}: {other:?}"),
            }
        }
    }
    for (access_key, secret_key) in [(server.access_key.as_str(), "wrong-secret"), ("wrong-access", "wrong-secret")] {
        let credentials = Credentials::Static { access_key: access_key.into(), secret_key: secret_key.into() };
        for (operation, error) in failures(S3Options { credentials, ..options(&server) }).await {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("wrong-secret"), "{operation}: {text}");
            assert!(matches!(error, StoreError::BadCredentials { .. }), "{operation}: {error:?}");
            assert!(text.contains(&server.endpoint), "{operation}: {text}");
        }
    }
}

#[tokio::test]
async fn versitygw_errors_are_told_apart() {
    errors_are_told_apart(S3Kind::Versitygw).await;
}

#[tokio::test]
async fn minio_errors_are_told_apart() {
    errors_are_told_apart(S3Kind::Minio).await;
}

#[tokio::test]
async fn embedded_errors_are_told_apart() {
    errors_are_told_apart(S3Kind::Embedded).await;
}

#[tokio::test]
async fn credentials_may_come_from_the_environment() {
    let server = S3Server::versitygw().await;
    let run = |access_key: &str| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "s3::with_the_chain", "--ignored", "--nocapture"])
            .env_clear()
            .env("HOME", server.dir())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs((!access_key.is_empty()).then_some(("AWS_ACCESS_KEY_ID", access_key)))
            .env("AWS_SECRET_ACCESS_KEY", &server.secret_key)
            .env(ENDPOINT, &server.endpoint)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap()
    };
    let good = run(&server.access_key);
    assert!(good.contains("outcome: Ok(Stored { bytes: 1 })"), "{good}");
    let none = run("");
    assert!(none.contains("outcome: Err(BadCredentials"), "{none}");
    assert!(!none.contains(&server.secret_key), "{none}");
}

#[tokio::test]
#[ignore = "runs within credentials_may_come_from_the_environment"]
async fn with_the_chain() {
    let endpoint = env::var(ENDPOINT).expect("the server's address");
    let outcome = match S3Store::connect(S3Options::new("backups", Some(endpoint))).await {
        Ok(store) => store.put_once(&key("k"), body("x")).await,
        Err(error) => Err(error),
    };
    println!("outcome: {outcome:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let credentials = Credentials::Static { access_key: "a".into(), secret_key: "s".into() };
    let timeouts = Timeouts { attempts: 2, connect: Duration::from_secs(2), ..Timeouts::default() };
    let port = lifeboat_tests::s3::unused_port();
    for endpoint in [format!("http://127.0.0.1:{port}"), "http://no-such-host.invalid:9000".to_owned()] {
        let options = S3Options {
            credentials: credentials.clone(),
            timeouts,
            ..S3Options::new("bucket", Some(endpoint.clone()))
        };
        for (operation, error) in failures(options).await {
            match error {
                StoreError::Unreachable { endpoint: named, .. } => assert_eq!(named, endpoint),
                other => panic!("{operation}: {other:?}"),
            }
        }
    }
}

type Check = fn(&StoreError) -> bool;

#[tokio::test]
async fn answers_of_servers_are_understood() {
    let server = S3Server::embedded().await;
    let cases: [(&str, &str, Check); 12] = [
        ("403 Forbidden", "AccessDenied", |e| {
            matches!(e, StoreError::AccessDenied { resource, permission: "s3:PutObject", .. }
                if resource == "s3://backups/some/where/k")
        }),
        ("403 Forbidden", "SomethingNew", |e| matches!(e, StoreError::AccessDenied { .. })),
        ("403 Forbidden", "ExpiredToken", |e| matches!(e, StoreError::BadCredentials { .. })),
        ("403 Forbidden", "RequestTimeTooSkewed", |e| matches!(e, StoreError::BadCredentials { .. })),
        ("301 Moved Permanently", "PermanentRedirect", |e| matches!(e, StoreError::BadOption { option: "region", .. })),
        ("507 Insufficient Storage", "XMinioStorageFull", |e| matches!(e, StoreError::NoSpace { .. })),
        ("403 Forbidden", "QuotaExceeded", |e| matches!(e, StoreError::NoSpace { .. })),
        ("400 Bad Request", "EntityTooLarge", |e| matches!(e, StoreError::TooLarge { .. })),
        ("400 Bad Request", "XAmzContentChecksumMismatch", |e| matches!(e, StoreError::Corrupt { .. })),
        ("400 Bad Request", "ObjectLocked", |e| matches!(e, StoreError::Locked { .. })),
        ("412 Precondition Failed", "PreconditionFailed", |e| matches!(e, StoreError::AlreadyExists { .. })),
        ("418 Teapot", "Odd", |e| {
            matches!(e, StoreError::Other { status: Some(418), code: Some(code), message, .. }
                if code == "Odd" && message == "said the test")
        }),
    ];
    for (status, code, check) in cases {
        let proxy = Proxy::start(&server, move |_| refusal(status, code)).await;
        let error = through(&server, &proxy).await.put_once(&key("k"), body("x")).await.unwrap_err();
        assert!(check(&error), "{status} {code}: {error:?}");
        assert_eq!(proxy.heads().len(), 1, "{status} {code}");
    }
}

#[tokio::test]
async fn a_prefix_is_a_world_of_its_own() {
    let server = S3Server::versitygw().await;
    let store = |prefix: &str| S3Store::connect(S3Options { prefix: prefix.to_owned(), ..options(&server) });
    let (a, ab, root) = (store("a").await.unwrap(), store("ab/").await.unwrap(), store("").await.unwrap());
    a.put_once(&key("x/k"), body("in a")).await.unwrap();
    ab.put_once(&key("x/k"), body("in ab")).await.unwrap();
    assert_eq!(keys(&a, "").await, ["x/k"]);
    assert_eq!(keys(&root, "").await, ["a/x/k", "ab/x/k"]);
    assert_eq!(read(&ab, &key("x/k")).await.unwrap(), "in ab");
    // What others keep in the bucket under names that are no keys is not seen.
    let raw = server.client().put_object().bucket(&server.bucket).key("a/no key/at all").body(Bytes::new().into());
    raw.send().await.unwrap();
    assert_eq!(keys(&a, "").await, ["x/k"]);
    assert_eq!(crate::places::folders(&a, "").await, ["x"]);
    assert_eq!((a.location().as_str(), root.location().as_str()), ("s3://backups/a", "s3://backups"));
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_found_out() {
    let server = S3Server::embedded().await;
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n0123456789";
    let proxy = Proxy::start(&server, |_| Act::Answer(whole.to_owned())).await;
    let got = through(&server, &proxy).await.get_range(&key("k"), 2..5).await;
    assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{got:?}");
}

/// A store behind a proxy that answers everything with that document.
async fn answering(server: &S3Server, document: &str) -> (S3Store, Proxy) {
    let length = document.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{document}");
    let proxy = Proxy::start(server, move |_| Act::Answer(answer.clone())).await;
    (through(server, &proxy).await, proxy)
}

#[tokio::test]
async fn a_listing_that_never_ends_is_stopped() {
    let server = S3Server::embedded().await;
    let page = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated>\
        <NextContinuationToken>again</NextContinuationToken></ListBucketResult>";
    let (store, _proxy) = answering(&server, page).await;
    let end = store.list(&prefix("")).next().await.unwrap();
    assert!(matches!(end, Err(StoreError::Other { .. })), "{end:?}");
}

#[tokio::test]
async fn what_has_no_date_is_not_taken_for_old() {
    let server = S3Server::embedded().await;
    let page = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>\
        <Contents><Key>some/where/k</Key><Size>1</Size></Contents></ListBucketResult>";
    let (store, _proxy) = answering(&server, page).await;
    let listed = store.list(&prefix("")).next().await.unwrap();
    assert!(matches!(listed, Err(StoreError::Other { .. })), "{listed:?}");
    let page = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
        <Upload><Key>some/where/k</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>";
    let (store, _proxy) = answering(&server, page).await;
    let listed = store.incomplete_uploads(&prefix("")).next().await.unwrap();
    assert!(matches!(listed, Err(StoreError::Other { .. })), "{listed:?}");
    let got = store.get(&key("k")).await;
    assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{got:?}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let timeouts = Timeouts {
        request: Duration::from_millis(200),
        total: Duration::from_secs(2),
        attempts: 2,
        ..Timeouts::default()
    };
    let credentials = Credentials::Static { access_key: "a".into(), secret_key: "s".into() };
    let options = S3Options { credentials, timeouts, ..S3Options::new("bucket", Some(endpoint)) };
    let store = S3Store::connect(options).await.unwrap();
    let begun = Instant::now();
    let got = store.get(&key("k")).await;
    assert!(matches!(got, Err(StoreError::Timeout { .. })), "{got:?}");
    let put = store.put_once(&key("k"), body("x")).await;
    assert!(matches!(put, Err(StoreError::Uncertain { .. })), "{put:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn uploads_carry_checksums_unless_told_otherwise() {
    let server = S3Server::versitygw().await;
    for (checksums, carried) in [(Checksums::WhenSupported, true), (Checksums::WhenRequired, false)] {
        let proxy = Proxy::start(&server, |_| Act::Pass).await;
        let options = S3Options { endpoint: Some(proxy.endpoint.clone()), checksums, ..options(&server) };
        let store = S3Store::connect(options).await.unwrap();
        for size in [10, 20 * MIB] {
            let key = key(&format!("{carried}/{size}"));
            store.put_once(&key, pieces(&noise(1, size), MIB)).await.unwrap();
            assert!(read(&store, &key).await.unwrap() == noise(1, size));
        }
        let puts: Vec<_> = proxy.heads().into_iter().filter(|head| head.starts_with("put ")).collect();
        assert_eq!(puts.len(), 4);
        for head in puts {
            assert_eq!(head.contains("x-amz-checksum-crc32:"), carried, "{head}");
        }
    }
}

#[tokio::test]
async fn certificates_are_checked_and_may_be_given() {
    let server = S3Server::embedded().await;
    let proxy = TlsProxy::start(&server).await;
    let by_tls = S3Options {
        endpoint: Some(proxy.endpoint.clone()),
        timeouts: Timeouts { attempts: 1, ..Timeouts::default() },
        ..options(&server)
    };
    let trusting = S3Options { ca_file: Some(proxy.certificate.clone().into_bytes()), ..by_tls.clone() };
    let store = S3Store::connect(trusting).await.unwrap();
    store.put_once(&key("k"), body("by TLS")).await.unwrap();
    assert_eq!(read(&store, &key("k")).await.unwrap(), "by TLS");
    let doubting = S3Store::connect(by_tls).await.unwrap();
    for error in [doubting.get(&key("k")).await.unwrap_err(), doubting.put_once(&key("l"), body("")).await.unwrap_err()]
    {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out() {
    let server = S3Server::start(S3Kind::Careless).await;
    let store = S3Store::connect(options(&server)).await.unwrap();
    let found = store.capabilities(&key("probe"), Timestamp::now()).await.unwrap();
    assert!(!found.conditional_writes, "{found:?}");
    // It knows no Object Lock, no versions, and says so.
    assert_eq!((found.object_lock, found.versioning), (ObjectLock::Unknown, Versioning::Unknown));
}

async fn locks_are_proven(kind: S3Kind) {
    let server = S3Server::start(kind).await;
    server.create_bucket("locked", true).await;
    let store = |bucket: &str| S3Store::connect(S3Options { bucket: bucket.to_owned(), ..options(&server) });
    let found = store("locked").await.unwrap().capabilities(&key("probe/0"), Timestamp::now()).await.unwrap();
    assert_eq!(found.object_lock, ObjectLock::Enabled { default: None, proven: Some(true) });
    assert_eq!(found.versioning, Versioning::Enabled);
    assert!(found.conditional_writes);

    let retention = AwsRetention::builder().mode(ObjectLockRetentionMode::Governance).days(3).build();
    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(ObjectLockRule::builder().default_retention(retention).build());
    let request = server.client().put_object_lock_configuration().bucket("locked");
    request.object_lock_configuration(lock.build()).send().await.unwrap();
    let found = store("locked").await.unwrap().capabilities(&key("probe/1"), Timestamp::now()).await.unwrap();
    let default = DefaultRetention { mode: "GOVERNANCE".to_owned(), period: RetentionPeriod::Days(3) };
    assert_eq!(found.object_lock, ObjectLock::Enabled { default: Some(default), proven: Some(true) });

    // Objects of every size are written under a default retention, and their names are still taken once.
    let store = store("locked").await.unwrap();
    for size in [10, 9 * MIB] {
        let key = key(&format!("held/{size}"));
        store.put_once(&key, pieces(&noise(1, size), MIB)).await.unwrap();
        let again = store.put_once(&key, pieces(&noise(2, size), MIB)).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    }

    let open = S3Store::connect(options(&server)).await.unwrap();
    let found = open.capabilities(&key("probe/0"), Timestamp::now()).await.unwrap();
    assert_eq!((found.object_lock, found.versioning), (ObjectLock::Disabled, Versioning::Disabled));
}

/// What holds an object is told by every server in its own way, and where nothing does, that is no failure.
async fn holds_are_told(kind: S3Kind) {
    let server = S3Server::start(kind).await;
    server.create_bucket("locked", true).await;
    let store = async |bucket: &str| {
        let options = S3Options { bucket: bucket.to_owned(), prefix: String::new(), ..options(&server) };
        S3Store::connect(options).await.unwrap()
    };
    let (plain, locked, object) = (store("backups").await, store("locked").await, key("a/b"));
    let missing = plain.protection(&object).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    for store in [&plain, &locked] {
        store.put_once(&object, body("x")).await.unwrap();
    }
    assert_eq!(plain.protection(&object).await.unwrap(), Protection::default());
    let free = Protection { versioned: true, ..Protection::default() };
    assert_eq!(locked.protection(&object).await.unwrap(), free);

    let client = server.client();
    let until = Timestamp::from_second(Timestamp::now().as_second() + 3_600).unwrap();
    let retention = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::Governance)
        .retain_until_date(DateTime::from_secs(until.as_second()));
    let request = client.put_object_retention().bucket("locked").key("a/b").retention(retention.build());
    request.send().await.unwrap();
    let retained = Protection { retained_until: Some(until), ..free };
    assert_eq!(locked.protection(&object).await.unwrap(), retained);
    let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On).build();
    client.put_object_legal_hold().bucket("locked").key("a/b").legal_hold(hold).send().await.unwrap();
    assert_eq!(locked.protection(&object).await.unwrap(), Protection { legal_hold: true, ..retained });

    // Versions without Object Lock.
    server.create_bucket("versions", false).await;
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = client.put_bucket_versioning().bucket("versions").versioning_configuration(versioning);
    request.send().await.unwrap();
    let versions = store("versions").await;
    versions.put_once(&object, body("x")).await.unwrap();
    assert_eq!(versions.protection(&object).await.unwrap(), free);
}

#[tokio::test]
async fn versitygw_tells_holds() {
    holds_are_told(S3Kind::Versitygw).await;
}

#[tokio::test]
async fn minio_tells_holds() {
    holds_are_told(S3Kind::Minio).await;
}

#[tokio::test]
async fn what_may_not_be_known_is_not_taken_for_free() {
    let server = S3Server::versitygw().await;
    server.create_bucket("locked", true).await;
    let store = S3Store::connect(S3Options { bucket: "locked".to_owned(), ..options(&server) }).await.unwrap();
    store.put_once(&key("k"), body("x")).await.unwrap();
    for (query, code) in
        [("?retention", "AccessDenied"), ("?legal-hold", "AccessDenied"), ("?retention", "InvalidRequest")]
    {
        let proxy = Proxy::start(&server, move |head| {
            let asked = head.lines().next().unwrap_or_default().contains(query);
            if asked { refusal("400 Bad Request", code) } else { Act::Pass }
        })
        .await;
        let options =
            S3Options { bucket: "locked".to_owned(), endpoint: Some(proxy.endpoint.clone()), ..options(&server) };
        let told = S3Store::connect(options).await.unwrap().protection(&key("k")).await;
        assert!(told.is_err(), "{query} {code}: {told:?}");
    }
}

#[tokio::test]
async fn versitygw_locks_are_proven() {
    locks_are_proven(S3Kind::Versitygw).await;
}

#[tokio::test]
async fn minio_locks_are_proven() {
    locks_are_proven(S3Kind::Minio).await;
}
