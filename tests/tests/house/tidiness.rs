//! What must not be left lying about.

use super::{files, has_extension, read};

/// Endings of files that hold text of ours.
const TEXTS: [&str; 9] = [".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".json", "/run", "/test"];

/// Marks of unfinished work, split so that this file has none of them.
const UNFINISHED: [(&str, &str); 4] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("HA", "CK:")];

fn texts() -> impl Iterator<Item = (String, String)> {
    let ours = |path: &String| TEXTS.iter().any(|ending| path.ends_with(ending)) || path.starts_with("scripts/");
    let generated = |path: &String| path.ends_with("go.sum") || path.contains("/testdata/");
    files().into_iter().filter(move |path| ours(path) && !generated(path)).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

#[test]
fn nothing_is_left_unfinished() {
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            for mark in UNFINISHED.map(|(a, b)| format!("{a}{b}")) {
                assert!(!line.contains(&mark), "{path}:{}: {line}", number + 1);
            }
        }
    }
}

#[test]
fn nothing_reaches_outside_of_the_repository() {
    for (path, text) in texts() {
        let depth = path.matches('/').count();
        for (number, line) in text.lines().enumerate() {
            for word in line.split(|c: char| !(c.is_alphanumeric() || "./_-".contains(c))) {
                let ups = word.split_inclusive('/').take_while(|segment| *segment == "../").count();
                // Code and its tests name hostile paths.
                assert!(ups <= depth || has_extension(&path, "rs"), "{path}:{}: '{word}' lies outside", number + 1);
            }
        }
    }
}

#[test]
fn texts_end_with_a_line_break_and_lines_without_blanks() {
    for (path, text) in texts() {
        assert!(text.is_empty() || text.ends_with('\n'), "{path} does not end with a line break");
        let blank = text.lines().position(|line| line.ends_with([' ', '\t', '\r']));
        assert_eq!(blank.map(|line| line + 1), None, "{path} has a line that ends with a blank");
    }
}

#[test]
fn libraries_do_not_read_clocks_or_the_environment() {
    let words = [
        "env::var",
        "env::args",
        "env::current_",
        "env::temp_dir",
        "env::home_dir",
        "Timestamp::now",
        "SystemTime::now",
        "fastrand::u64(",
        "std::process::exit",
    ];
    let of_tests = |path: &str| path.contains("/tests/") || path.ends_with("/tests.rs");
    let library = |path: &str| {
        path.starts_with("crates/") && path.contains("/src/") && !path.starts_with("crates/cli/") && !of_tests(path)
    };
    for path in files().into_iter().filter(|path| library(path) && has_extension(path, "rs")) {
        let text = read(&path);
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in words {
            assert!(!code.contains(word), "{path} uses {word}: it has to come in as a parameter");
        }
    }
}

#[test]
fn no_snapshot_waits_for_a_review() {
    let waiting = |path: &String| path.ends_with(".snap.new") || path.ends_with(".pending-snap");
    assert_eq!(files().into_iter().filter(waiting).collect::<Vec<_>>(), Vec::<String>::new());
}
