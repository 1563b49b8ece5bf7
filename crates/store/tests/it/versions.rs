//! What a bucket keeps of what was removed, what it removes by itself, and what it encrypts.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule as AwsRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration, ServerSideEncryption as AwsEncryption,
};
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::LockMode;
use lifeboat_store::{
    Expiry, LifecycleRule, Purged, Retention, S3Options, S3Store, ServerSideEncryption, Store, StoreError, body,
};
use lifeboat_tests::s3::{KMS_KEY, S3Kind, S3Server};

use crate::places::{key, keys, noise, options, pieces, prefix, read};

const MIB: usize = 1 << 20;

/// The versions and the delete markers below a folder.
async fn versions(server: &S3Server, bucket: &str, below: &str) -> (usize, usize) {
    let request = server.client().list_object_versions().bucket(bucket).prefix(below);
    let listed = request.send().await.unwrap();
    (listed.versions().len(), listed.delete_markers().len())
}

async fn what_was_removed_goes_for_good(kind: S3Kind) {
    let server = S3Server::start(kind).await;
    server.create_bucket("locked", true).await;
    let store = S3Store::connect(S3Options { bucket: "locked".to_owned(), ..options(&server) }).await.unwrap();
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    let retention = Retention { mode: LockMode::Governance, until };
    for name in ["a/x", "a/y", "a/z/deep", "b/x"] {
        store.put_once(&key(name), body("twelve bytes")).await.unwrap();
    }
    store.put_retained(&key("a/held"), body("held"), retention).await.unwrap();
    store.put_once(&key("a/stays"), body("stays")).await.unwrap();
    assert_eq!(store.purge(&prefix("a")).await.unwrap(), Purged::default(), "nothing was removed yet");
    for name in ["a/x", "a/y", "a/z/deep", "a/held", "b/x"] {
        store.delete(&key(name)).await.unwrap();
    }
    let purged = store.purge(&prefix("a")).await.unwrap();
    assert_eq!(purged, Purged { versions: 6, bytes: 36, held: 1 });
    assert_eq!(keys(&store, "a").await, ["a/stays"]);
    // The held version, its delete marker, and what is there.
    assert_eq!(versions(&server, "locked", "some/where/a/").await, (2, 1));
    assert_eq!(versions(&server, "locked", "some/where/b/").await, (1, 1), "another folder is left alone");
    assert_eq!(store.purge(&prefix("a")).await.unwrap(), Purged { held: 1, ..Purged::default() });
    assert_eq!(read(&store, &key("a/stays")).await.unwrap(), "stays");
    // A bucket without versions has no old ones.
    let plain = S3Store::connect(options(&server)).await.unwrap();
    plain.put_once(&key("a/x"), body("x")).await.unwrap();
    plain.delete(&key("a/x")).await.unwrap();
    assert_eq!(plain.purge(&prefix("a")).await.unwrap(), Purged::default());
}

#[tokio::test]
async fn versitygw_ends_what_was_removed() {
    what_was_removed_goes_for_good(S3Kind::Versitygw).await;
}

#[tokio::test]
async fn minio_ends_what_was_removed() {
    what_was_removed_goes_for_good(S3Kind::Minio).await;
}

#[tokio::test]
async fn more_versions_than_a_page_has() {
    let server = S3Server::minio().await;
    server.create_bucket("locked", true).await;
    let store = S3Store::connect(S3Options { bucket: "locked".to_owned(), ..options(&server) }).await.unwrap();
    let names: Vec<String> = (0..1_200).map(|n| format!("many/{:03}", n % 400)).collect();
    // Three versions and three delete markers of each.
    for round in names.chunks(400) {
        let written = round.iter().map(|name| {
            let store = &store;
            async move {
                store.put_once(&key(name), body("x")).await.unwrap();
                store.delete(&key(name)).await.unwrap();
            }
        });
        futures::future::join_all(written).await;
    }
    store.put_once(&key("many/199"), body("there again")).await.unwrap();
    let purged = store.purge(&prefix("many")).await.unwrap();
    assert_eq!(purged, Purged { versions: 399 * 6, bytes: 399 * 3, held: 0 });
    assert_eq!(versions(&server, "locked", "some/where/many/").await, (4, 3));
    assert_eq!(read(&store, &key("many/199")).await.unwrap(), "there again");
}

#[tokio::test]
async fn a_server_without_versions_has_no_old_ones() {
    let server = S3Server::embedded().await;
    let store = S3Store::connect(options(&server)).await.unwrap();
    assert_eq!(store.purge(&prefix("a")).await.unwrap(), Purged::default());
}

fn rule(id: &str, prefix: &str) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
    let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
    AwsRule::builder().id(id).status(ExpirationStatus::Enabled).filter(filter)
}

#[tokio::test]
async fn the_rules_of_a_bucket_are_told() {
    let server = S3Server::minio().await;
    let store = S3Store::connect(options(&server)).await.unwrap();
    let found = store.capabilities(&key("probe/0"), Timestamp::now()).await.unwrap();
    assert_eq!(found.lifecycle, Some(Vec::new()));

    let days = |days| LifecycleExpiration::builder().days(days).build();
    let noncurrent = NoncurrentVersionExpiration::builder().noncurrent_days(7).build();
    let rules = [
        rule("all", "").expiration(days(30)),
        rule("ours", "some/where/prod/backups").noncurrent_version_expiration(noncurrent),
        rule("others", "some/other").expiration(days(1)),
        rule("off", "").expiration(days(2)).status(ExpirationStatus::Disabled),
    ];
    let rules = rules.map(|rule| rule.build().unwrap()).to_vec();
    let lifecycle = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().unwrap();
    let request = server.client().put_bucket_lifecycle_configuration().bucket(&server.bucket);
    request.lifecycle_configuration(lifecycle).send().await.unwrap();
    let mut found = store.capabilities(&key("probe/1"), Timestamp::now()).await.unwrap().lifecycle.unwrap();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let all = LifecycleRule { id: "all".to_owned(), expires: Some(Expiry::Days(30)), ..LifecycleRule::default() };
    let ours = LifecycleRule { id: "ours".to_owned(), noncurrent_days: Some(7), ..LifecycleRule::default() };
    assert_eq!(found, [all, ours]);
}

#[tokio::test]
async fn a_server_that_tells_no_rules_is_borne_with() {
    for kind in [S3Kind::Versitygw, S3Kind::Embedded] {
        let server = S3Server::start(kind).await;
        let store = S3Store::connect(options(&server)).await.unwrap();
        let found = store.capabilities(&key("probe/0"), Timestamp::now()).await.unwrap();
        assert_eq!(found.lifecycle, None, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_written_is_encrypted_as_asked() {
    let server = S3Server::minio().await;
    let kms = |id: &str| ServerSideEncryption::Kms { key_id: Some(id.to_owned()) };
    let asked = [
        ("s3", ServerSideEncryption::S3, AwsEncryption::Aes256),
        ("kms", kms(KMS_KEY), AwsEncryption::AwsKms),
        ("kms-default", ServerSideEncryption::Kms { key_id: None }, AwsEncryption::AwsKms),
    ];
    for (name, encryption, wanted) in asked {
        let options = S3Options { encryption: Some(encryption), ..options(&server) };
        let store = S3Store::connect(options).await.unwrap();
        for size in [10, 9 * MIB] {
            let key = key(&format!("{name}/{size}"));
            store.put_once(&key, pieces(&noise(1, size), MIB)).await.unwrap();
            assert!(read(&store, &key).await.unwrap() == noise(1, size));
            let head = server.client().head_object().bucket(&server.bucket).key(format!("some/where/{key}"));
            assert_eq!(head.send().await.unwrap().server_side_encryption(), Some(&wanted), "{key}");
        }
        let found = store.capabilities(&key(&format!("probe/{name}")), Timestamp::now()).await.unwrap();
        assert!(found.conditional_writes);
    }
    // There is no such key.
    let missing = S3Options { encryption: Some(kms("missing")), ..options(&server) };
    let refused = S3Store::connect(missing).await.unwrap().put_once(&key("missing"), body("x")).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_found_out() {
    let server = S3Server::embedded().await;
    let options = S3Options { encryption: Some(ServerSideEncryption::S3), ..options(&server) };
    let store = S3Store::connect(options).await.unwrap();
    let refused = store.put_once(&key("k"), body("x")).await;
    assert!(matches!(&refused, Err(StoreError::Unsupported { operation: "encrypt", .. })), "{refused:?}");
}
