//! Recipients and identities.

use lifeboat_archive::{ArchiveError, Identities, Recipients, RecoveryKey};

use crate::support::Key;

#[test]
fn recipients_keep_their_order() {
    let keys = [Key::generate(), Key::generate(), Key::generate()];
    let texts: Vec<&str> = keys.iter().map(|key| key.file.recipient()).collect();
    assert_eq!(Recipients::parse(&texts).unwrap().as_texts(), texts);
}

#[test]
fn a_bad_recipient_is_named_with_its_place() {
    let good = Key::generate();
    let good = good.file.recipient();
    let mut typo = good.to_owned();
    typo.replace_range(10..11, if &good[10..11] == "q" { "p" } else { "q" });
    for bad in ["", "bob", &typo, &good[..40], "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "age1\u{1b}[2J"] {
        match Recipients::parse([good, bad]).unwrap_err() {
            error @ ArchiveError::Recipient { position: 2, .. } => {
                assert!(!error.to_string().contains('\u{1b}'), "{error}");
                assert!(bad.starts_with("age1\u{1b}") || error.to_string().contains(bad), "{error}");
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn no_recipients_is_an_error() {
    assert!(matches!(Recipients::parse::<[&str; 0]>([]), Err(ArchiveError::NoRecipients)));
}

#[test]
fn a_secret_among_the_recipients_is_not_repeated() {
    let key = Key::generate();
    let secret = key.file.identity_file().lines().last().unwrap().to_owned();
    for text in [secret.clone(), secret.to_lowercase(), secret[..30].to_owned()] {
        let error = Recipients::parse([&text]).unwrap_err();
        assert!(matches!(error, ArchiveError::RecipientIsSecret { position: 1 }), "{error:?}");
        assert!(!format!("{error} {error:?}").to_uppercase().contains(&secret[20..30]));
    }
}

#[test]
fn a_missing_plugin_is_named() {
    // Well-formed, and of a plugin that nobody has.
    let recipient = Recipients::parse(["age1lifeboattest1qqqqwm6l53"]).map(drop);
    let identity = Identities::parse("AGE-PLUGIN-LIFEBOATTEST-1QQQQ50KJ4Y").map(drop);
    for found in [recipient, identity] {
        match found {
            Err(ArchiveError::Plugin { name, .. }) => assert_eq!(name, "lifeboattest"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn identity_files_may_have_comments_and_several_keys() {
    let (one, two) = (Key::generate(), Key::generate());
    let text = format!("{}\r\n\n  # another\n{}", one.file.identity_file(), two.file.identity_file());
    let identities = Identities::parse(&text).unwrap();
    assert_eq!(identities.recipients(), [one.file.recipient(), two.file.recipient()]);
}

#[test]
fn errors_of_identity_files_give_the_line_and_no_secret() {
    let key = Key::generate();
    let text = key.file.identity_file();
    let secret = text.lines().last().unwrap();
    let broken = text.replace(secret, &secret[..secret.len() - 1]);
    let error = Identities::parse(&broken).unwrap_err();
    assert!(matches!(error, ArchiveError::Identity { line: 3 }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(&secret[15..40]));

    assert!(matches!(Identities::parse("# nothing\n\n"), Err(ArchiveError::NoIdentities)));
    let large = "#".repeat(2 * 1024 * 1024);
    assert!(matches!(Identities::parse(&large), Err(ArchiveError::KeyTooLarge { .. })));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let key = Key::generate();
    let secret = key.file.identity_file().lines().last().unwrap();
    let shown = format!("{:?} {:?} {:?}", key.file, key.identities, key.recipients);
    assert!(!shown.contains(&secret[15..40]), "{shown}");
    assert!(shown.contains(key.file.recipient()));
}

#[test]
fn the_created_comment_stays_one_line() {
    let key = RecoveryKey::generate("today\nAGE-SECRET-KEY-1FAKE");
    assert_eq!(key.identity_file().lines().count(), 3);
    assert_eq!(Identities::parse(key.identity_file()).unwrap().recipients(), [key.recipient()]);
}
