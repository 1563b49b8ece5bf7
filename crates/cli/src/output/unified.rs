//! Differences of two documents as a unified diff, as `kubectl diff` shows them.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{Style, printable, yaml};
use crate::error::Result;

/// Unchanged lines around each change.
const CONTEXT: usize = 3;
/// After this a diff becomes coarser instead of smaller: two large documents can take minutes.
const PATIENCE: Duration = Duration::from_secs(1);

/// A document of a diff.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    /// Where it is from.
    pub(crate) origin: &'a str,
    /// What it holds; nothing where it does not exist.
    pub(crate) content: Option<&'a Value>,
}

/// The diff of two documents of that name, in YAML. Nothing where they are the same.
pub(crate) fn unified(name: &str, before: Document<'_>, after: Document<'_>, style: Style) -> Result<String> {
    let text = |document: Document<'_>| document.content.map_or(Ok(String::new()), yaml);
    let (old, new) = (text(before)?, text(after)?);
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&old, &new);
    let mut hunks = String::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(hunks, "{}", style.strong(&hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let line = format!("{}{}", change.tag(), printable(change.value().trim_end_matches(['\r', '\n'])));
            let line = match change.tag() {
                ChangeTag::Equal => line,
                ChangeTag::Delete => style.bad(&line),
                ChangeTag::Insert => style.good(&line),
            };
            let _ = writeln!(hunks, "{line}");
        }
    }
    if hunks.is_empty() {
        return Ok(hunks);
    }
    let title = |document: Document<'_>| match document.content {
        Some(_) => format!("{}/{}", document.origin, printable(name)),
        None => "/dev/null".to_owned(),
    };
    let (old, new) = (format!("--- {}", title(before)), format!("+++ {}", title(after)));
    Ok(format!("{}\n{}\n{hunks}", style.strong(&old), style.strong(&new)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style { colored: false };

    fn diff(before: Option<&Value>, after: Option<&Value>) -> String {
        let before = Document { origin: "20261121T044500Z-k3f9qz", content: before };
        unified("v1.ConfigMap.shop.web", before, Document { origin: "live", content: after }, PLAIN).unwrap()
    }

    #[test]
    fn changes_with_the_lines_around_them() {
        let object = |image: &str| json!({"apiVersion": "v1", "data": {"a": "1", "b": "2", "c": image, "d": "4"}, "kind": "ConfigMap", "metadata": {"name": "web"}});
        let text = "\
--- 20261121T044500Z-k3f9qz/v1.ConfigMap.shop.web
+++ live/v1.ConfigMap.shop.web
@@ -2,7 +2,7 @@
 data:
   a: \"1\"
   b: \"2\"
-  c: web
+  c: \"web\\e[2J\"
   d: \"4\"
 kind: ConfigMap
 metadata:
";
        assert_eq!(diff(Some(&object("web")), Some(&object("web\u{1b}[2J"))), text);
        assert_eq!(diff(Some(&object("web")), Some(&object("web"))), "");
    }

    #[test]
    fn a_text_of_several_lines_is_compared_line_by_line() {
        let object = |flag: &str| json!({"data": {"features": format!("checkout=v2\ngift-cards={flag}\n\nlast=1\n")}});
        let text = diff(Some(&object("off")), Some(&object("on")));
        assert!(text.contains("\n-    gift-cards=off\n+    gift-cards=on\n"), "{text}");
    }

    #[test]
    fn what_is_on_one_side_only_is_shown_whole() {
        let object = json!({"kind": "ConfigMap"});
        assert_eq!(
            diff(None, Some(&object)),
            "--- /dev/null\n+++ live/v1.ConfigMap.shop.web\n@@ -0,0 +1 @@\n+kind: ConfigMap\n"
        );
        assert_eq!(
            diff(Some(&object), None),
            "--- 20261121T044500Z-k3f9qz/v1.ConfigMap.shop.web\n+++ /dev/null\n@@ -1 +0,0 @@\n-kind: ConfigMap\n"
        );
    }

    /// What `patch` makes of the old text with that diff.
    fn patched(old: &str, diff: &str) -> String {
        let (mut out, mut rest) = (String::new(), old.lines());
        let mut taken = 0;
        for line in diff.lines().skip(2) {
            if let Some(header) = line.strip_prefix("@@ -") {
                let (start, count) =
                    header.split_once(' ').map(|(range, _)| range.split_once(',').unwrap_or((range, "1"))).unwrap();
                let (start, count): (usize, usize) = (start.parse().unwrap(), count.parse().unwrap());
                let before = if count == 0 { start } else { start - 1 };
                while taken < before {
                    out.extend([rest.next().unwrap(), "\n"]);
                    taken += 1;
                }
                continue;
            }
            let (mark, text) = line.split_at(1);
            if mark != "+" {
                assert_eq!(rest.next(), Some(text));
                taken += 1;
            }
            if mark != "-" {
                out.extend([text, "\n"]);
            }
        }
        rest.for_each(|line| out.extend([line, "\n"]));
        out
    }

    proptest! {
        #[test]
        fn a_diff_makes_one_document_of_the_other(
            before in proptest::collection::vec("[a-c]{1,2}", 1..30), after in proptest::collection::vec("[a-c]{1,2}", 1..30),
        ) {
            let (before, after) = (json!(before), json!(after));
            let text = diff(Some(&before), Some(&after));
            prop_assert_eq!(text.is_empty(), before == after);
            prop_assert_eq!(patched(&yaml(&before).unwrap(), &text), yaml(&after).unwrap());
        }
    }
}
