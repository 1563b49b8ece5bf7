//! The chain, and where it is kept.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Identity, Outcome, RunId};

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let text = "[ -~é\u{202e}\n]{0,12}";
    let one = prop_oneof![
        (text, 0_u32..3).prop_map(|(step, attempt)| Entry::StepBegan {
            step,
            uses: "set".to_owned(),
            attempt,
            inputs: serde_json::json!({"a": [1, null]}),
        }),
        text.prop_map(|name| Entry::Resumed { by: Identity(name) }),
        Just(Entry::Cancelled),
        Just(Entry::Ended { outcome: Outcome::Failed }),
    ];
    prop::collection::vec(one, 1..8)
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut head = Head::START;
    let mut bytes = Vec::new();
    for (entry, second) in entries.iter().zip(1_000_000..) {
        let (line, next) = head.line(Timestamp::from_second(second).unwrap(), entry).unwrap();
        bytes.extend(line);
        head = next;
    }
    bytes
}

proptest! {
    #[test]
    fn what_was_written_is_read(entries in entries()) {
        let chain = read(&written(&entries)).unwrap();
        prop_assert_eq!(chain.torn, 0);
        prop_assert_eq!(chain.lines.into_iter().map(|line| line.entry).collect::<Vec<_>>(), entries);
    }

    /// Whatever byte is changed: it is found, but for the last line break, which makes a torn line of the last one.
    #[test]
    fn every_altered_byte_is_found(entries in entries(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = written(&entries);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        match read(&bytes) {
            Err(_) => {}
            Ok(chain) => prop_assert!(place + 1 == bytes.len() && chain.torn > 0),
        }
    }

    #[test]
    fn no_line_can_be_taken_out_put_in_or_moved(entries in entries(), at in any::<prop::sample::Index>()) {
        let bytes = written(&entries);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let at = at.index(lines.len());
        let mut without = lines.clone();
        without.remove(at);
        // Cut off at the end, a chain is one still: that is for the head, which is kept elsewhere.
        prop_assert!(at + 1 == lines.len() || read(&without.concat()).is_err());
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        prop_assert!(read(&twice.concat()).is_err());
        if lines.len() > 1 {
            let mut moved = lines.clone();
            moved.rotate_left(1);
            prop_assert!(read(&moved.concat()).is_err());
        }
    }

    #[test]
    fn a_torn_line_is_left_out(entries in entries(), cut in any::<prop::sample::Index>()) {
        let bytes = written(&entries);
        let cut = cut.index(bytes.len() + 1);
        let chain = read(&bytes[..cut]).unwrap();
        prop_assert_eq!(chain.length + chain.torn, cut as u64);
        prop_assert_eq!(chain.lines.len(), bytes[..cut].split(|byte| *byte == b'\n').count() - 1);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = crate::verify(&bytes);
    }
}

fn id() -> RunId {
    "20261121T120000Z-k3f9qz".parse().unwrap()
}

#[tokio::test]
async fn a_directory_holds_a_journal_for_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let journals = DirectoryJournals::new(folder.path().join("runs"));
    assert_eq!(journals.list().await.unwrap(), []);
    assert!(matches!(journals.open(&id()).await, Err(StorageError::NotFound(_))));
    let mut file = journals.create(&id()).await.unwrap();
    file.append(b"one\n".to_vec()).await.unwrap();
    assert!(matches!(journals.create(&id()).await, Err(StorageError::Exists(_))));
    assert!(matches!(journals.open(&id()).await, Err(StorageError::Held(_))));
    assert_eq!(journals.read(&id()).await.unwrap(), Stored { bytes: b"one\n".to_vec(), held: true });
    file.append(b"tw".to_vec()).await.unwrap();
    drop(file);
    let (mut file, bytes) = journals.open(&id()).await.unwrap();
    assert_eq!(bytes, b"one\ntw");
    file.cut(4).await.unwrap();
    file.append(b"two\n".to_vec()).await.unwrap();
    drop(file);
    assert_eq!(journals.read(&id()).await.unwrap(), Stored { bytes: b"one\ntwo\n".to_vec(), held: false });
    assert_eq!(journals.list().await.unwrap(), [id()]);
}

#[tokio::test]
async fn a_key_is_taken_by_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let journals = DirectoryJournals::new(folder.path().to_owned());
    let other: RunId = "20261121T120001Z-k3f9qz".parse().unwrap();
    let taken = journals.claim("pod/../../x", &id()).await.unwrap();
    assert!(matches!(&taken, Claim::Taken(_)));
    assert!(matches!(journals.claim("pod/../../x", &other).await.unwrap(), Claim::Held(run) if run == id()));
    assert!(matches!(journals.claim("another", &other).await.unwrap(), Claim::Taken(_)));
    drop(taken);
    assert!(matches!(journals.claim("pod/../../x", &other).await.unwrap(), Claim::Taken(_)));
}
