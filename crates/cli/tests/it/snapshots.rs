//! What is printed, word for word.

use crate::program::{expect, expect_json};

#[test]
fn texts_are_as_written_down() {
    trycmd::TestCases::new().env("COLUMNS", "100").env("HOME", "/nowhere").case("tests/it/cmd/*.trycmd");
}

#[test]
fn init_leaves_what_works_and_touches_nothing_that_is_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    expect(0, folder.path(), &["init", "--dir", "new", "--cluster", "prod"]);
    assert_eq!(["new", "new/recovery.key", "new/signing.key"].map(mode), [0o700, 0o600, 0o600]);

    let keys =
        expect_json(0, folder.path(), &["key", "show", "--config", "new/lifeboat.yaml", "-i", "new/recovery.key"]);
    assert_eq!(keys["recipients"], keys["identity"]);
    assert_eq!(keys["trustedKeys"][0], keys["signingKey"]);
    assert_eq!(keys["recipients"].as_array().unwrap().len(), 1);

    for name in ["lifeboat.yaml", "signing.key", "signing.pub"] {
        std::fs::remove_file(folder.path().join("new").join(name)).unwrap();
    }
    let before = std::fs::read(folder.path().join("new/recovery.key")).unwrap();
    let failure = expect_json(5, folder.path(), &["init", "--dir", "new"]);
    assert_eq!(failure["error"]["code"], "refused");
    assert_eq!(failure["error"]["message"], "new/recovery.key is already there: nothing was written");
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    assert_eq!(std::fs::read(folder.path().join("new/recovery.key")).unwrap(), before);
}

#[test]
fn a_secret_goes_to_stdout_only_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let printed = expect(0, folder.path(), &["key", "generate", "recovery", "--out", "-"]);
    assert!(printed.contains("AGE-SECRET-KEY-1"), "{printed}");
    let printed = expect(0, folder.path(), &["key", "generate", "recovery"]);
    assert!(!printed.contains("AGE-SECRET-KEY-1"), "{printed}");
    let printed = expect_json(0, folder.path(), &["key", "generate", "signing", "--out", "new.key"]);
    let public = std::fs::read_to_string(folder.path().join("new.pub")).unwrap();
    assert_eq!(public.lines().nth(1), printed["publicKey"].as_str());
    expect(5, folder.path(), &["key", "generate", "signing", "--out", "new.key"]);
}
