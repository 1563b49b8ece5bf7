use std::fmt;
use std::str::FromStr;

/// The longest key, in bytes. With a bucket prefix as long it stays below S3's 1,024.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const MAX_LENGTH: usize = 511;
/// The longest segment, in bytes: with the additions of an unfinished file it stays below the 255 of file systems.
const MAX_SEGMENT: usize = 200;

/// Where an object lies in a store: a relative path such as `prod/backups/20261121T044500Z-k3f9qz/manifest.json`.
///
/// Segments are separated by single slashes and hold `A-Z a-z 0-9 . _ -` only, and none begins with a dot: so every
/// key is also a safe file name, and no name that a store gives to its unfinished files is a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A folder of keys: the whole store, or a path under which keys lie. Never a part of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Prefix(String);

/// The text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a key: {reason}")]
pub struct KeyError {
    text: String,
    reason: &'static str,
}

impl Key {
    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder that the key lies in.
    pub fn parent(&self) -> Prefix {
        Prefix(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Prefix {
    /// The folder of everything.
    pub const ROOT: Self = Self(String::new());

    /// The key of that name (one or more segments) in this folder.
    pub fn key(&self, name: &str) -> Result<Key, KeyError> {
        if self.0.is_empty() { name.parse() } else { format!("{}/{name}", self.0).parse() }
    }

    /// The folder of that name (one or more segments) in this folder.
    pub fn folder(&self, name: &str) -> Result<Self, KeyError> {
        self.key(name).map(|key| Self(key.0))
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether the key lies in this folder or in one below it.
    pub fn contains(&self, key: &Key) -> bool {
        self.below(key.as_str()).is_some()
    }

    /// The path without a slash at its end; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows this folder and its slash in a path.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.0.is_empty() { Some(path) } else { path.strip_prefix(&self.0)?.strip_prefix('/') }
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = |reason| KeyError { text: text.chars().take(80).collect(), reason };
        if text.len() > MAX_LENGTH {
            return Err(error("it is longer than 511 bytes"));
        }
        text.split('/').try_for_each(check_segment).map_err(error)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Prefix {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() { Ok(Self::ROOT) } else { text.parse().map(|Key(path)| Self(path)) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("it is empty, or begins or ends with a slash, or has two in a row");
    }
    if segment.starts_with('.') {
        return Err("a segment begins with a dot");
    }
    if segment.len() > MAX_SEGMENT {
        return Err("a segment is longer than 200 bytes");
    }
    if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err("only A-Z a-z 0-9 . _ - and / are allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_keys_are_kept_as_they_are() {
        for text in ["a", "a/b", "prod/backups/20261121T044500Z-k3f9qz/etcd.db.zst.age", "-x/_y", "a..b"] {
            assert_eq!(text.parse::<Key>().unwrap().as_str(), text);
        }
        assert!("x".repeat(200).parse::<Key>().is_ok());
        assert!(vec!["x"; 256].join("/").parse::<Key>().is_ok());
    }

    #[test]
    fn bad_keys_are_refused() {
        let long = "x".repeat(201);
        let deep = vec!["x"; 257].join("/");
        let bad = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/./b",
            "a/../b",
            ".a",
            "a/.b.part-0",
            "a b",
            "a\\b",
            "a\0",
            "a\n",
            "ä",
            "a:b",
            "a*",
            "a?",
            "%2e",
            &long,
            &deep,
        ];
        for text in bad {
            assert!(text.parse::<Key>().is_err(), "{text:?} was taken");
            assert!(text.is_empty() || text.parse::<Prefix>().is_err(), "{text:?} was taken as a prefix");
        }
    }

    #[test]
    fn folders_hold_whole_segments() {
        let key: Key = "a/bc/d".parse().unwrap();
        assert_eq!((key.name(), key.parent().as_str()), ("d", "a/bc"));
        assert_eq!("top".parse::<Key>().unwrap().parent(), Prefix::ROOT);
        for (prefix, contains) in [("", true), ("a", true), ("a/bc", true), ("a/b", false), ("a/bc/d", false)] {
            assert_eq!(prefix.parse::<Prefix>().unwrap().contains(&key), contains, "{prefix}");
        }
        assert_eq!(Prefix::ROOT.folder("a").unwrap().folder("b/c").unwrap().key("d").unwrap().as_str(), "a/b/c/d");
        assert!(Prefix::ROOT.folder("..").is_err());
    }

    proptest! {
        #[test]
        fn a_key_never_leaves_its_folder(text in any::<String>()) {
            if let Ok(key) = text.parse::<Key>() {
                let path = std::path::Path::new(key.as_str());
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert_eq!(path.components().count(), key.as_str().split('/').count());
            }
        }
    }
}
