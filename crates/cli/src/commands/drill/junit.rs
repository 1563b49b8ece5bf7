//! A drill as `JUnit` XML, which CI systems show as tests. The form is that of
//! <https://github.com/testmoapp/junitxml>.

use std::fmt::Write as _;

use super::form::DrillForm;

/// The document.
pub(super) fn document(form: &DrillForm) -> String {
    let mut cases = String::new();
    for check in &form.checks {
        let name = escape(&check.name);
        let detail = escape(&check.detail);
        let _ = if check.ok {
            writeln!(cases, "    <testcase classname=\"lifeboat.drill\" name=\"{name}\"/>")
        } else {
            writeln!(
                cases,
                "    <testcase classname=\"lifeboat.drill\" name=\"{name}\"><failure message=\"{detail}\"/></testcase>"
            )
        };
    }
    // Findings of single objects belong to the checks above; each is told by itself all the same.
    let named: Vec<&str> = form.checks.iter().map(|check| check.name.as_str()).collect();
    let single = form.findings.iter().filter(|found| !found.object.as_deref().is_some_and(|o| named.contains(&o)));
    let mut failures = form.checks.iter().filter(|check| !check.ok).count();
    let mut tests = form.checks.len();
    for found in single {
        let (object, message) = (escape(found.object.as_deref().unwrap_or_default()), escape(&found.message));
        let code = found.code.name();
        let _ = writeln!(
            cases,
            "    <testcase classname=\"lifeboat.drill.{code}\" name=\"{object}\"><failure type=\"{code}\" message=\"{message}\"/></testcase>"
        );
        failures += 1;
        tests += 1;
    }
    let (name, time, started) = (escape(&form.backup), form.seconds(), form.started_at);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites tests=\"{tests}\" failures=\"{failures}\" time=\"{time:.3}\">\n\
         \x20 <testsuite name=\"drill of {name}, tier {}\" tests=\"{tests}\" failures=\"{failures}\" time=\"{time:.3}\" \
         timestamp=\"{started}\">\n{cases}  </testsuite>\n</testsuites>\n",
        form.tier
    )
}

/// Text for an attribute. Characters that XML 1.0 does not know are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out_of_its_attribute() {
        assert_eq!(escape("a\"><b>&\n\u{1b}"), "a&quot;&gt;&lt;b&gt;&amp;&#10;\u{fffd}");
    }
}
