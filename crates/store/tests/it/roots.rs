//! A machine without certificates of authorities, as a container from scratch is one.

use std::process::Command;

use lifeboat_store::{Credentials, S3Options, S3Store, StoreError};
use tempfile::TempDir;

/// Set in the process that has no authorities: which those are is read from the environment, once.
const CHILD: &str = "LIFEBOAT_TEST_NO_AUTHORITIES";
const NAME: &str = "roots::without_authorities_only_a_server_that_needs_none_is_taken";

#[tokio::test]
async fn without_authorities_only_a_server_that_needs_none_is_taken() {
    if std::env::var_os(CHILD).is_some() {
        return connect().await;
    }
    let empty = TempDir::new().unwrap();
    let nothing = [("SSL_CERT_FILE", empty.path().join("none.pem")), ("SSL_CERT_DIR", empty.path().to_owned())];
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .envs(nothing)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn connect() {
    let options = |endpoint: Option<&str>| S3Options {
        credentials: Credentials::Static { access_key: "a".to_owned(), secret_key: "s".to_owned() },
        region: Some("eu-central-1".to_owned()),
        ..S3Options::new("bucket", endpoint.map(str::to_owned))
    };
    for endpoint in [None, Some("https://127.0.0.1:9")] {
        match S3Store::connect(options(endpoint)).await {
            Err(StoreError::BadOption { option: "caFile", reason }) => {
                assert!(reason.contains("none.pem") && reason.contains("SSL_CERT_FILE"), "{reason}");
            }
            other => panic!("{endpoint:?}: {other:?}"),
        }
    }
    // One that is not encrypted, and one that somebody vouches for.
    S3Store::connect(options(Some("http://127.0.0.1:9"))).await.unwrap();
    let authority = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let trusted = S3Options { ca_file: Some(authority.into_bytes()), ..options(Some("https://127.0.0.1:9")) };
    S3Store::connect(trusted).await.unwrap();
}
