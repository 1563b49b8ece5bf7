//! A page of a list, cut into the raw JSON of its objects.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Error;

/// A page of a list: the API server's bytes, and where in them each object lies.
///
/// Objects of built-in types come without `apiVersion` and `kind`; both are here, to be put in by who needs them.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    /// The answer as the API server sent it.
    pub bytes: Bytes,
    /// The span of each object in `bytes`: one JSON object from `{` to `}`, valid and in UTF-8.
    pub items: Vec<Range<usize>>,
    /// The `apiVersion` of the objects, as the list states it.
    pub api_version: String,
    /// The kind of the objects, as discovery states it.
    pub kind: String,
    /// The resource version of the snapshot that the list shows; the same on all its pages.
    pub resource_version: String,
    /// The token for the next page; empty on the last.
    pub continue_token: String,
    /// How many objects follow this page, where the API server says so.
    pub remaining: Option<u64>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The objects may be Secrets: sizes only.
        f.debug_struct("Page")
            .field("kind", &self.kind)
            .field("items", &self.items.len())
            .field("bytes", &self.bytes.len())
            .field("resource_version", &self.resource_version)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl Page {
    /// The objects' raw JSON, in the order of the list.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        // A span from anywhere but `parse` may lie outside; there is no object there.
        self.items.iter().map(|span| self.bytes.get(span.clone()).unwrap_or_default())
    }

    /// Cuts an answer to a list request. `resource` names it in errors, `kind` is that of its objects.
    pub(crate) fn parse(bytes: Bytes, resource: &str, kind: &str) -> Result<Self, Error> {
        let list: List<'_> = serde_json::from_slice(&bytes).map_err(|source| Error::decode(resource, source))?;
        let mut items = Vec::new();
        for item in list.items.unwrap_or_default() {
            let text = item.get();
            if !text.starts_with('{') {
                return Err(Error::decode(resource, "an item of the list is not an object"));
            }
            let start = text.as_ptr().addr() - bytes.as_ptr().addr();
            items.push(start..start + text.len());
        }
        Ok(Self {
            items,
            api_version: list.api_version.into_owned(),
            kind: kind.to_owned(),
            resource_version: list.metadata.resource_version.into_owned(),
            continue_token: list.metadata.r#continue.into_owned(),
            remaining: list.metadata.remaining_item_count.and_then(|count| u64::try_from(count).ok()),
            bytes,
        })
    }
}

/// A `List` of the API conventions, its items left as they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: ListMeta<'a>,
    #[serde(borrow, deserialize_with = "present")]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    r#continue: Cow<'a, str>,
    remaining_item_count: Option<i64>,
}

/// `items` may be null, as Go writes an empty list, but has to be there: its absence means that this is no list.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<&'a RawValue>>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn parse(text: &str) -> Result<Page, Error> {
        Page::parse(Bytes::copy_from_slice(text.as_bytes()), "pods", "Pod")
    }

    #[test]
    fn the_envelope_is_read_and_the_objects_are_left_alone() {
        let text = concat!(
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc","#,
            r#""remainingItemCount":12},"items":[ {"a" : "}]\"\\"} ,{"b":[{}]}]}"#
        );
        let page = parse(text).unwrap();
        assert_eq!(page.objects().collect::<Vec<_>>(), [br#"{"a" : "}]\"\\"}"#.as_slice(), br#"{"b":[{}]}"#]);
        assert_eq!((page.api_version.as_str(), page.kind.as_str()), ("v1", "Pod"));
        assert_eq!((page.resource_version.as_str(), page.continue_token.as_str()), ("7", "abc"));
        assert_eq!(page.remaining, Some(12));
    }

    #[test]
    fn an_empty_list_may_be_null_but_not_absent() {
        for items in ["null", "[]", " [ ] "] {
            let page = parse(&format!(r#"{{"apiVersion":"v1","items":{items}}}"#)).unwrap();
            assert_eq!((page.items.len(), page.continue_token.as_str(), page.remaining), (0, "", None));
        }
        assert!(parse(r#"{"kind":"Status","apiVersion":"v1","metadata":{}}"#).is_err());
    }

    #[test]
    fn what_is_no_list_of_objects_is_refused() {
        for body in ["", "[]", "{", r#"{"apiVersion":"v1","items":{}}"#, r#"{"apiVersion":"v1","items":[1]}"#] {
            assert!(matches!(parse(body), Err(Error::Decode { resource, .. }) if resource == "pods"), "{body}");
        }
        let not_utf8 = [br#"{"apiVersion":"v1","items":[{"a":""#.as_slice(), &[0xff], br#""}]}"#].concat();
        assert!(Page::parse(Bytes::from(not_utf8), "pods", "Pod").is_err());
    }

    #[test]
    fn debug_output_has_no_object_in_it() {
        let page = parse(r#"{"apiVersion":"v1","items":[{"data":{"password":"c2VjcmV0"}}]}"#).unwrap();
        assert!(!format!("{page:?}").contains("c2VjcmV0"));
    }

    /// JSON text and the value that it stands for, with escapes and white space where they are allowed.
    fn json() -> impl Strategy<Value = (String, Value)> {
        let leaf = prop_oneof![
            Just(("null".to_owned(), Value::Null)),
            any::<bool>().prop_map(|b| (b.to_string(), b.into())),
            any::<i64>().prop_map(|n| (n.to_string(), n.into())),
            string().prop_map(|(text, value)| (text, value.into())),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                (proptest::collection::vec((inner.clone(), space()), 0..6)).prop_map(|items| {
                    let texts: Vec<_> =
                        items.iter().map(|((text, _), space)| format!("{space}{text}{space}")).collect();
                    (format!("[{}]", texts.join(",")), items.into_iter().map(|((_, value), _)| value).collect())
                }),
                object(inner),
            ]
        })
    }

    fn object(inner: impl Strategy<Value = (String, Value)>) -> impl Strategy<Value = (String, Value)> {
        proptest::collection::vec((string(), inner, space()), 0..6).prop_map(|fields| {
            let texts: Vec<_> = fields
                .iter()
                .map(|((key, _), (text, _), space)| format!("{space}{key}{space}:{space}{text}{space}"))
                .collect();
            let fields = fields.into_iter().map(|((_, key), (_, value), _)| (key, value));
            (format!("{{{}}}", texts.join(",")), Value::Object(fields.collect()))
        })
    }

    fn string() -> impl Strategy<Value = (String, String)> {
        let tricky = prop_oneof![any::<char>(), proptest::sample::select(vec!['"', '\\', '{', '}', '[', ']', '\n'])];
        proptest::collection::vec((tricky, any::<bool>()), 0..12).prop_map(|chars| {
            let mut text = String::from("\"");
            for (c, escape) in &chars {
                if *escape {
                    text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
                } else {
                    let quoted = serde_json::to_string(c).unwrap();
                    text.push_str(&quoted[1..quoted.len() - 1]);
                }
            }
            (text + "\"", chars.into_iter().map(|(c, _)| c).collect())
        })
    }

    fn space() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["", "", " ", "\n\t", "\r\n  "])
    }

    proptest! {
        #[test]
        fn any_list_is_cut_where_a_json_parser_would(
            items in proptest::collection::vec(object(json()), 0..8),
            other in json(),
            space in space(),
            items_first in any::<bool>(),
        ) {
            let texts: Vec<_> = items.iter().map(|(text, _)| text.as_str()).collect();
            let list = format!("\"items\":{space}[{space}{}{space}]", texts.join(&format!("{space},")));
            let rest = format!("\"apiVersion\":\"v1\",{space}\"other\":{}", other.0);
            let text = if items_first { format!("{{{list},{rest}}}") } else { format!("{{{rest},{list}}}{space}") };

            let page = parse(&text).unwrap();
            let found: Vec<_> = page.objects().map(|object| std::str::from_utf8(object).unwrap()).collect();
            prop_assert_eq!(&found, &texts);
            for (object, (_, value)) in found.iter().zip(&items) {
                prop_assert_eq!(&serde_json::from_str::<Value>(object).unwrap(), value);
            }
        }

        #[test]
        fn a_list_that_was_cut_off_is_refused(items in proptest::collection::vec(object(json()), 1..4), at in any::<proptest::sample::Index>()) {
            let texts: Vec<_> = items.iter().map(|(text, _)| text.as_str()).collect();
            let text = format!("{{\"apiVersion\":\"v1\",\"items\":[{}]}}", texts.join(","));
            let at = at.index(text.len());
            prop_assert!(Page::parse(Bytes::copy_from_slice(&text.as_bytes()[..at]), "pods", "Pod").is_err());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Page::parse(Bytes::from(bytes), "pods", "Pod");
        }
    }
}
