//! Recipients and identities.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use lifeboat_archive::{
    ArchiveError, Identities, PluginPrompt, Recipients, RecoveryKey, SealOptions, SealedReader, SealedWriter,
};

use crate::support::Key;

const PLUGIN_RECIPIENT: &str = "age1lifeboattest1qqqqwm6l53";
const PLUGIN_IDENTITY: &str = "AGE-PLUGIN-LIFEBOATTEST-1QQQQ50KJ4Y";

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
    let recipient = Recipients::parse([PLUGIN_RECIPIENT]).map(drop);
    let identity = Identities::parse(PLUGIN_IDENTITY).map(drop);
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

/// A plugin that hides nothing: its stanza is the file key itself, given back to whoever says "1234".
const PLUGIN: &str = r#"#!/bin/bash
stanza() { # reads one stanza: $command, $args, $body
    read -r arrow command args || exit 1
    body=
    while read -r line; do body+=$line; [ ${#line} -lt 64 ] && break; done
}
say() { printf -- '-> %s\n%s\n' "$1" "$(printf %s "$2" | base64 -w0 | tr -d =)"; }
while [ "$command" != done ]; do
    stanza
    case "$command $args" in
        wrap-file-key*|"recipient-stanza 0 lifeboattest") key=$body;;
    esac
done
if [ "$1" = --age-plugin=recipient-v1 ]; then
    printf -- '-> recipient-stanza 0 lifeboattest\n%s\n' "$key"; stanza
else
    say msg 'touch the key'; stanza
    say request-secret 'PIN?'; stanza
    if [ "$command $(printf %s "$body" | base64 -d 2>/dev/null)" = 'ok 1234' ]; then
        printf -- '-> file-key 0\n%s\n' "$key"; stanza
    else
        say 'error identity 0' 'wrong PIN'; stanza
    fi
fi
printf -- '-> done\n\n'
"#;

struct Person {
    pin: &'static str,
    seen: Mutex<Vec<String>>,
}

impl PluginPrompt for Person {
    fn message(&self, message: &str) {
        self.seen.lock().unwrap().push(message.to_owned());
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn ask(&self, _: &str) -> Option<String> {
        None
    }

    fn ask_secret(&self, description: &str) -> Option<String> {
        self.seen.lock().unwrap().push(description.to_owned());
        Some(self.pin.to_owned())
    }
}

#[test]
fn plugins_seal_and_open() {
    if std::env::var_os("LIFEBOAT_TEST_WITH_PLUGIN").is_some() {
        return seal_and_open_by_plugin();
    }
    // age looks for plugins in PATH, which only a process of its own can have changed.
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("age-plugin-lifeboattest");
    fs::write(&plugin, PLUGIN).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keys::plugins_seal_and_open", "--nocapture"])
        .env("PATH", path)
        .env("LIFEBOAT_TEST_WITH_PLUGIN", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn seal_and_open_by_plugin() {
    let native = Key::generate();
    let recipients = Recipients::parse([PLUGIN_RECIPIENT, native.file.recipient()]).unwrap();
    let mut writer = SealedWriter::new(Vec::new(), &recipients, SealOptions::default()).unwrap();
    writer.write_all(b"plain").unwrap();
    let finished = writer.finish().unwrap();
    let open = |identities: &Identities| {
        let mut reader = SealedReader::new(&finished.sink[..], identities, &finished.sealed)?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain)?;
        reader.finish().map(|()| plain)
    };
    assert_eq!(open(&native.identities).unwrap(), b"plain");

    let person = Arc::new(Person { pin: "1234", seen: Mutex::new(Vec::new()) });
    let prompt: Arc<dyn PluginPrompt> = Arc::<Person>::clone(&person);
    let identities = Identities::parse_with(PLUGIN_IDENTITY, &prompt).unwrap();
    assert!(identities.recipients().is_empty(), "only the plugin knows");
    assert_eq!(open(&identities).unwrap(), b"plain");
    assert_eq!(*person.seen.lock().unwrap(), ["touch the key", "PIN?"]);

    let prompt: Arc<dyn PluginPrompt> = Arc::new(Person { pin: "9999", seen: Mutex::new(Vec::new()) });
    let mistaken = Identities::parse_with(PLUGIN_IDENTITY, &prompt).unwrap();
    let nobody = Identities::parse(PLUGIN_IDENTITY).unwrap();
    for identities in [mistaken, nobody] {
        let error = open(&identities).unwrap_err();
        assert!(matches!(error, ArchiveError::IdentityFailed(_)), "{error:?}");
    }
}
