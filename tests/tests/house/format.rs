//! The page of the backup format against the code.

use lifeboat_model::{Digest, FORMAT_VERSION, MAX_DOCUMENT_BYTES, Object, RULES};

use super::book::blocks;
use super::read;

const PAGE: &str = "docs/src/backup-format.md";

#[test]
fn the_test_vectors_hold() {
    let page = read(PAGE);
    let section = page.split("### Test vectors").nth(1).unwrap().split("\n## ").next().unwrap();
    let vectors = blocks(section).0;
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let lines: Vec<&str> = vector.text.lines().collect();
        let [object, canonical, digest] = lines[..] else { panic!("line {} of the section", vector.line) };
        let bytes = Object::parse(object.as_bytes()).unwrap().canonical("v1", "ConfigMap").unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), canonical);
        assert_eq!(format!("\"{}\"", Digest::of(canonical.as_bytes())), digest);
    }
}

#[test]
fn the_numbers_are_those_of_the_code() {
    let page = read(PAGE);
    assert!(page.contains(&format!("Version {FORMAT_VERSION}. ")));
    assert_eq!(MAX_DOCUMENT_BYTES, 1 << 20, "the page says 1 MiB");
    for rule in RULES {
        assert!(page.contains(&format!("   | {} | ", rule.number)), "rule {}: {}", rule.number, rule.field);
    }
    assert!(!page.contains(&format!("   | {} | ", RULES.len() + 1)), "the page has a rule more than the code");
}
