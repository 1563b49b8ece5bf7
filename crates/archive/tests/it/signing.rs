//! Signatures, of ours and of others.

use lifeboat_archive::{ArchiveError, PublicKey, SignatureError, SigningKey, TrustedKeys};
use proptest::prelude::*;

const COMMENT: &str = "lifeboat 1b4e28ba-2fa1-11d2-883f-0016d3cca427 20261121T044500Z-k3f9qz 17";

fn trusting(key: &SigningKey) -> TrustedKeys {
    TrustedKeys::new(vec![key.public_key().unwrap()])
}

#[test]
fn signatures_verify_for_what_was_signed_and_nothing_else() {
    let key = SigningKey::generate().unwrap();
    let (manifest, keys) = (b"{\"format\":1}", trusting(&key));
    let minisig = key.sign(manifest, COMMENT).unwrap();
    let key_id = key.public_key().unwrap().key_id();
    assert_eq!(keys.verify(manifest, &minisig, COMMENT), Ok(key_id));
    assert_eq!(keys.verify(b"{\"format\":2}", &minisig, COMMENT), Err(SignatureError::Mismatch(key_id)));
    let other = "lifeboat 1b4e28ba-2fa1-11d2-883f-0016d3cca427 20261121T044500Z-k3f9qz 18";
    let differs = SignatureError::TrustedComment { expected: other.to_owned(), actual: COMMENT.to_owned() };
    assert_eq!(keys.verify(manifest, &minisig, other), Err(differs));
}

#[test]
fn an_unknown_key_is_named() {
    let (ours, theirs) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let minisig = theirs.sign(b"x", COMMENT).unwrap();
    let their_id = theirs.public_key().unwrap().key_id();
    let unknown = Err(SignatureError::UnknownKey(their_id));
    assert_eq!(trusting(&ours).verify(b"x", &minisig, COMMENT), unknown);
    assert_eq!(TrustedKeys::new(Vec::new()).verify(b"x", &minisig, COMMENT), unknown);
    let both = TrustedKeys::new(vec![ours.public_key().unwrap(), theirs.public_key().unwrap()]);
    assert_eq!(both.verify(b"x", &minisig, COMMENT), Ok(their_id));
    let shown = their_id.to_string();
    assert!(shown.len() == 16 && theirs.public_key().unwrap().to_file_text().contains(&shown));
}

#[test]
fn a_borrowed_key_id_does_not_help() {
    // A key of our own making under the id of a trusted one.
    let (ours, theirs) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let ours_public = ours.public_key().unwrap();
    let minisig = theirs.sign(b"x", COMMENT).unwrap();
    let mut lines: Vec<String> = minisig.lines().map(str::to_owned).collect();
    // "Ed" and the key id are 10 bytes: in base64, 13 characters and a part of the 14th.
    let ours_line = ours.sign(b"x", COMMENT).unwrap().lines().nth(1).unwrap().to_owned();
    lines[1].replace_range(..13, &ours_line[..13]);
    let forged = lines.join("\n");
    let outcome = TrustedKeys::new(vec![ours_public]).verify(b"x", &forged, COMMENT).unwrap_err();
    assert!(matches!(outcome, SignatureError::Mismatch(_) | SignatureError::UnknownKey(_)), "{outcome:?}");
}

#[test]
fn every_flipped_bit_of_a_signature_is_found() {
    let key = SigningKey::generate().unwrap();
    let keys = trusting(&key);
    let minisig = key.sign(b"manifest", COMMENT).unwrap();
    let comment_end = minisig.find('\n').unwrap();
    for index in comment_end + 1..minisig.len() - 1 {
        for bit in 0..7 {
            let mut altered = minisig.clone().into_bytes();
            altered[index] ^= 1 << bit;
            let altered = String::from_utf8(altered).unwrap();
            assert!(keys.verify(b"manifest", &altered, COMMENT).is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn what_is_no_signature_is_said_to_be_none() {
    let key = SigningKey::generate().unwrap();
    let keys = trusting(&key);
    let good = key.sign(b"x", COMMENT).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let with_line = |index: usize, line: &str| {
        let mut lines = lines.clone();
        lines[index] = line;
        lines.join("\n")
    };
    let huge = format!("{good}{}", "\n".repeat(20_000));
    let bad = [
        String::new(),
        "hello".to_owned(),
        lines[..3].join("\n"),
        format!("{good}more\n"),
        with_line(0, "no comment"),
        with_line(1, ""),
        with_line(1, &lines[1][..96]),
        with_line(1, &"A".repeat(100)),
        with_line(2, "a comment"),
        with_line(3, ""),
        with_line(3, "AAAA"),
        with_line(3, &format!("{}{}", &lines[3][..86], "AA")),
        with_line(3, &"é".repeat(44)),
        huge,
    ];
    for text in bad {
        let outcome = keys.verify(b"x", &text, COMMENT);
        assert!(matches!(outcome, Err(SignatureError::NotASignature(_))), "{outcome:?} for {text:.80}");
    }
}

#[test]
fn signatures_of_the_bytes_themselves_are_not_taken() {
    // "Ed" instead of "ED": the algorithm of minisign before 0.9. Without the hash, a signature of a hash would pass for
    // one of a file.
    let key = SigningKey::generate().unwrap();
    let minisig = key.sign(b"x", COMMENT).unwrap();
    let altered = minisig.replacen("\nRU", "\nRW", 1);
    assert_ne!(altered, minisig);
    assert!(matches!(trusting(&key).verify(b"x", &altered, COMMENT), Err(SignatureError::NotASignature(_))));
}

#[test]
fn trusted_comments_are_one_plain_line() {
    let key = SigningKey::generate().unwrap();
    for comment in ["two\nlines", " padded", "padded ", "tab\there", &"x".repeat(1025)] {
        assert!(matches!(key.sign(b"x", comment), Err(ArchiveError::TrustedComment { .. })), "{comment:?}");
    }
    let minisig = key.sign(b"x", "").unwrap();
    assert!(trusting(&key).verify(b"x", &minisig, "").is_ok());
}

#[test]
fn keys_round_trip_as_text() {
    let key = SigningKey::generate().unwrap();
    let public = key.public_key().unwrap();
    let loaded = SigningKey::from_text(&key.to_file_text().unwrap(), None).unwrap();
    assert_eq!(loaded.public_key().unwrap(), public);
    for text in [public.to_base64(), format!(" {}\n", public.to_base64()), public.to_file_text()] {
        assert_eq!(PublicKey::parse(&text).unwrap(), public, "{text}");
    }
    assert!(public.to_base64().starts_with("RW"));
}

#[test]
fn a_password_is_needed_where_there_is_one() {
    let pair = minisign::KeyPair::generate_encrypted_keypair(Some("correct horse".to_owned())).unwrap();
    let text = pair.sk.to_box(None).unwrap().into_string();
    assert!(matches!(SigningKey::from_text(&text, None), Err(ArchiveError::PasswordNeeded)));
    assert!(matches!(SigningKey::from_text(&text, Some("wrong")), Err(ArchiveError::WrongPassword)));
    let key = SigningKey::from_text(&text, Some("correct horse")).unwrap();
    let keys = trusting(&key);
    assert!(keys.verify(b"x", &key.sign(b"x", COMMENT).unwrap(), COMMENT).is_ok());
    assert!(key.to_file_text().is_err(), "it must not be written without its password");
}

#[test]
fn a_key_without_checksum_must_still_be_a_key() {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = SigningKey::generate().unwrap();
    let text = key.to_file_text().unwrap();
    let mut bytes = base64.decode(text.lines().nth(1).unwrap()).unwrap();
    bytes[126..].fill(0);
    let load = |bytes: &[u8]| SigningKey::from_text(&format!("untrusted comment: x\n{}\n", base64.encode(bytes)), None);
    assert_eq!(load(&bytes).unwrap().public_key().unwrap(), key.public_key().unwrap());
    // A bit of the secret half, and one of the public half.
    for index in [62 + 5, 62 + 40] {
        let mut altered = bytes.clone();
        altered[index] ^= 1;
        assert!(matches!(load(&altered), Err(ArchiveError::SigningKey { .. })), "byte {index}");
    }
}

#[test]
fn what_is_no_key_is_said_to_be_none() {
    let key = SigningKey::generate().unwrap();
    let secret = key.to_file_text().unwrap();
    let mut corrupt = secret.clone().into_bytes();
    let index = corrupt.len() - 60;
    corrupt[index] = if corrupt[index] == b'A' { b'B' } else { b'A' };
    let corrupt = String::from_utf8(corrupt).unwrap();
    for text in ["", "one line", "untrusted comment: x\nRWQ", "a\nRWQAAEIy", &corrupt] {
        let error = SigningKey::from_text(text, None).unwrap_err();
        assert!(matches!(error, ArchiveError::SigningKey { .. }), "{text}: {error:?}");
        assert!(!format!("{error:?}").contains(&secret[80..120]), "the secret shows");
    }
    let public = key.public_key().unwrap().to_base64();
    let two = format!("{public}\n{public}");
    for text in ["", "RWQ", "untrusted comment: only", &public[..55], &public.replacen("RW", "QQ", 1), &two, &secret] {
        let error = PublicKey::parse(text).unwrap_err();
        assert!(matches!(error, ArchiveError::SigningKey { .. }), "{text}: {error:?}");
    }
    assert!(matches!(PublicKey::parse(&"x".repeat(5000)), Err(ArchiveError::KeyTooLarge { .. })));
    assert!(matches!(SigningKey::from_text(&"x".repeat(5000), None), Err(ArchiveError::KeyTooLarge { .. })));
}

#[test]
fn secrets_do_not_show_in_debug() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        format!("{key:?}").len(),
        "SigningKey()".len() + format!("{:?}", key.public_key().unwrap().key_id()).len()
    );
}

proptest! {
    #[test]
    fn noise_never_panics(text in "(untrusted comment: .{0,5}\n)?[A-Za-z0-9+/=]{0,100}\n(trusted comment: x\n)?[A-Za-z0-9+/=]{0,88}={0,2}\n?") {
        let keys = TrustedKeys::new(Vec::new());
        prop_assert!(keys.verify(b"x", &text, "x").is_err());
        let _ = PublicKey::parse(&text);
        let _ = SigningKey::from_text(&text, Some("x"));
    }
}
