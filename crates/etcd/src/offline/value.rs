//! Keys and values of etcd's bucket `key`, as far as an inspection needs them.

/// A revision key is `<main>_<sub>`, big-endian, with a `t` after it for a deletion (`mvcc/revision.go`).
pub(super) const REVISION: usize = 17;
pub(super) const MARKED_REVISION: usize = 18;

/// As much of a value as is looked at: room for the longest Kubernetes key and an encryption prefix.
pub(super) const VALUE_HEAD: u64 = 1024;

/// The main revision of a key of the bucket `key`, if it is one.
pub(super) fn main_revision(key: &[u8]) -> Option<i64> {
    let (main, rest) = key.split_first_chunk::<8>()?;
    let (separator, rest) = rest.split_first()?;
    let (sub, mark) = rest.split_first_chunk::<8>()?;
    let is_revision = *separator == b'_' && (mark.is_empty() || mark == b"t") && i64::from_be_bytes(*sub) >= 0;
    Some(i64::from_be_bytes(*main)).filter(|main| is_revision && *main >= 0)
}

/// What was seen in the values of a page, one bit each: that there are Kubernetes objects, and which encryption
/// prefixes (by their place in [`Prefixes`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(pub(super) u16);

impl Marks {
    const KUBERNETES: u16 = 1;

    pub(super) fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn has_kubernetes(self) -> bool {
        self.0 & Self::KUBERNETES != 0
    }

    fn has_prefix(self, place: usize) -> bool {
        self.0 & (2 << place) != 0
    }
}

/// The distinct encryption prefixes met so far, in pages in use or not; as many as [`Marks`] has room for.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<String>);

impl Prefixes {
    const MOST: usize = 15;

    /// Looks at a value of the bucket `key`, of which `head` is the beginning.
    pub(super) fn inspect(&mut self, head: &[u8]) -> Marks {
        let Some((key, value)) = key_and_value(head) else { return Marks::default() };
        let mut marks = Marks::default();
        if key.starts_with(b"/registry/") || value.starts_with(b"k8s\0") {
            marks.merge(Marks(Marks::KUBERNETES));
        }
        if let Some(place) = encryption(value).and_then(|prefix| self.place(prefix)) {
            marks.merge(Marks(Marks::KUBERNETES | 2 << place));
        }
        marks
    }

    fn place(&mut self, prefix: &str) -> Option<usize> {
        if let Some(place) = self.0.iter().position(|known| known == prefix) {
            return Some(place);
        }
        (self.0.len() < Self::MOST).then(|| {
            self.0.push(prefix.to_owned());
            self.0.len() - 1
        })
    }

    /// The prefixes that `marks` names, sorted.
    pub(super) fn named_by(self, marks: Marks) -> Vec<String> {
        let named = self.0.into_iter().enumerate().filter(|(place, _)| marks.has_prefix(*place));
        let mut named: Vec<_> = named.map(|(_, prefix)| prefix).collect();
        named.sort_unstable();
        named
    }
}

/// `aescbc:v1:key1` out of a value that begins with `k8s:enc:aescbc:v1:key1:` (the transformers of k8s.io/apiserver
/// are named so in `encryptionconfig/config.go`).
fn encryption(value: &[u8]) -> Option<&str> {
    let value = value.strip_prefix(b"k8s:enc:")?;
    let mut colons = value.iter().take(300).enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let prefix = str::from_utf8(value.get(..colons.nth(2)?)?).ok()?;
    prefix.chars().all(|c| c == ' ' || c.is_ascii_graphic()).then_some(prefix)
}

/// The fields `key` and `value` of an `mvccpb.KeyValue`, each as far as `head` goes. Servers write fields in the order
/// of their numbers: 1 key, 2 `create_revision`, 3 `mod_revision`, 4 version, 5 value.
fn key_and_value(mut head: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key: &[u8] = &[];
    loop {
        match head.split_off_first()? {
            0x0a => {
                let length = varint(&mut head)?;
                key = head.split_off(..usize::try_from(length).ok()?)?;
            }
            0x10 | 0x18 | 0x20 => _ = varint(&mut head)?,
            0x2a => {
                let length = usize::try_from(varint(&mut head)?).ok()?;
                return Some((key, head.get(..length).unwrap_or(head)));
            }
            _ => return None,
        }
    }
}

/// The whole of the field `key`, which comes first. An entry without content is that of the empty key.
pub(super) fn user_key(mut value: &[u8]) -> Option<&[u8]> {
    if value.first() != Some(&0x0a) {
        return Some(&[]);
    }
    value.split_off_first()?;
    let length = varint(&mut value)?;
    value.get(..usize::try_from(length).ok()?)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
        #[derive(Clone, PartialEq, prost::Message)]
        struct KeyValue {
            #[prost(bytes = "vec", tag = "1")]
            key: Vec<u8>,
            #[prost(int64, tag = "2")]
            create_revision: i64,
            #[prost(int64, tag = "3")]
            mod_revision: i64,
            #[prost(int64, tag = "4")]
            version: i64,
            #[prost(bytes = "vec", tag = "5")]
            value: Vec<u8>,
            #[prost(int64, tag = "6")]
            lease: i64,
        }
        let (key, value) = (key.to_vec(), value.to_vec());
        let message = KeyValue { key, create_revision: 1 << 40, mod_revision: 1 << 41, version: 300, value, lease: 7 };
        prost::Message::encode_to_vec(&message)
    }

    #[test]
    fn sees_kubernetes_and_encryption() {
        let mut prefixes = Prefixes::default();
        let mut all = Marks::default();
        for (key, value, kubernetes) in [
            ("/registry/pods/a/b", &b"k8s\0\n\x09\n\x02v1"[..], true),
            ("/registry/widgets/a/b", b"{\"kind\":1}", true),
            ("/prefix/secrets/a/b", b"k8s:enc:aescbc:v1:key1:\x00\x01", true),
            ("/prefix/secrets/a/c", b"k8s:enc:kms:v2:my kms:\x00", true),
            ("/prefix/secrets/a/d", b"k8s:enc:kms:v2:\x01:", false),
            ("/prefix/secrets/a/e", b"k8s:enc:kms:v2", false),
            ("plain", b"text with k8s:enc:aesgcm:v1:key9: inside", false),
            ("plain", b"", false),
        ] {
            let marks = prefixes.inspect(&key_value(key.as_bytes(), value));
            assert_eq!(marks.has_kubernetes(), kubernetes, "{key}");
            all.merge(marks);
        }
        assert_eq!(prefixes.named_by(all), ["aescbc:v1:key1", "kms:v2:my kms"]);
    }

    #[test]
    fn keeps_a_bounded_number_of_prefixes() {
        let mut prefixes = Prefixes::default();
        let mut all = Marks::default();
        for number in 0..100 {
            all.merge(prefixes.inspect(&key_value(b"k", format!("k8s:enc:aescbc:v1:key{number}:").as_bytes())));
        }
        assert_eq!(prefixes.named_by(all).len(), Prefixes::MOST);
    }

    #[test]
    fn garbage_is_no_key_value() {
        for garbage in [&b""[..], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x2a", b"\x10", b"\x32\x01"] {
            assert_eq!(key_and_value(garbage), None);
        }
    }

    #[test]
    fn revisions_are_told_from_other_keys() {
        assert_eq!(main_revision(b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\0"), Some(258));
        assert_eq!(main_revision(b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\0t"), Some(258));
        for other in [
            &b"\0\0\0\0\0\0\x01\x02-\0\0\0\0\0\0\0\0"[..],
            b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\0x",
            b"\xff\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\0",
            b"consistent_index",
            b"",
        ] {
            assert_eq!(main_revision(other), None);
        }
    }
}
