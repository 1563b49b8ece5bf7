//! A drill as one page of HTML that loads nothing, to be shown to an auditor.

use std::fmt::Write as _;

use super::form::{DrillForm, seconds};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #d8dee4}\
td{overflow-wrap:anywhere}.verdict{padding:.6rem 1rem;border-radius:.4rem;font-weight:600}\
.good{background:#dafbe1;color:#116329}.bad{background:#ffebe9;color:#82071e}\
.bar{display:flex;height:2rem;border-radius:.4rem;overflow:hidden}.bar div{min-width:2px}\
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.4rem}code{font-size:.9em}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}";
const COLOURS: [&str; 6] = ["#0969da", "#8250df", "#bf8700", "#1a7f37", "#cf222e", "#57606a"];

/// The page.
pub(super) fn page(form: &DrillForm) -> String {
    let title = format!("Restore drill {}", form.drill);
    let class = if form.passed { "good" } else { "bad" };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"verdict {class}\">{}</p>\n",
        escape(form.verdict())
    );
    facts(&mut page, form);
    timeline(&mut page, form);
    findings(&mut page, form);
    checks(&mut page, form);
    page.push_str("</body></html>\n");
    page
}

fn facts(page: &mut String, form: &DrillForm) {
    let target =
        |target: Option<u64>| target.map_or_else(String::new, |target| format!(" (at most {target} s allowed)"));
    let rto = form.rto_seconds.map(|rto| seconds(rto) + &target(form.targets.rto_seconds));
    let rpo = form.rpo_seconds.map(|rpo| format!("{rpo} s{}", target(form.targets.rpo_seconds)));
    let rows = [
        ("Cluster", Some(form.cluster.clone())),
        ("Backup", Some(form.backup.clone())),
        ("Begun", Some(form.started_at.to_string())),
        ("Tier", Some(form.tier.to_string())),
        ("Restored to", Some(form.target.clone())),
        ("Recovery time (command to every object readable)", rto),
        ("Age of the backup", rpo),
        ("Longest gap between backups, 30 days", form.longest_gap_seconds.map(|gap| format!("{gap} s"))),
        ("etcd", form.versions.etcd.clone()),
        ("Kubernetes", form.versions.kubernetes.clone()),
    ];
    page.push_str("<table>\n");
    for (name, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
        }
    }
    page.push_str("</table>\n");
}

fn timeline(page: &mut String, form: &DrillForm) {
    let whole = form.seconds();
    if whole <= 0.0 {
        return;
    }
    page.push_str("<h2>Timeline</h2>\n<div class=\"bar\">");
    let coloured = || form.phases.iter().zip(COLOURS.iter().cycle());
    for (phase, colour) in coloured() {
        let (share, name) = (100.0 * phase.seconds / whole, escape(&phase.name));
        let _ = write!(page, "<div style=\"width:{share:.2}%;background:{colour}\" title=\"{name}\"></div>");
    }
    page.push_str("</div>\n<table>\n");
    for (phase, colour) in coloured() {
        let (name, took) = (escape(&phase.name), seconds(phase.seconds));
        let key = format!("<span class=\"key\" style=\"background:{colour}\"></span>");
        let _ = writeln!(page, "<tr><th>{key}{name}</th><td>{took}</td></tr>");
    }
    page.push_str("</table>\n");
}

fn findings(page: &mut String, form: &DrillForm) {
    page.push_str("<h2>Findings</h2>\n");
    if form.findings.is_empty() {
        page.push_str("<p>None.</p>\n");
    } else {
        page.push_str("<table>\n<tr><th>Code</th><th>Object</th><th>Finding</th></tr>\n");
        for found in &form.findings {
            let (object, message) = (escape(found.object.as_deref().unwrap_or("-")), escape(&found.message));
            let code = found.code.name();
            let _ = writeln!(page, "<tr><td><code>{code}</code></td><td>{object}</td><td>{message}</td></tr>");
        }
        page.push_str("</table>\n");
    }
    if form.findings_omitted > 0 {
        let _ = writeln!(page, "<p>And {} more.</p>", form.findings_omitted);
    }
    if !form.explained.is_empty() {
        page.push_str("<h2>Differences that a rule explains</h2>\n<table>\n");
        page.push_str("<tr><th>Rule</th><th>What</th><th>Objects</th></tr>\n");
        for rule in &form.explained {
            let (number, reason, objects) = (rule.rule, escape(&rule.reason), rule.objects);
            let _ = writeln!(page, "<tr><td>{number}</td><td>{reason}</td><td>{objects}</td></tr>");
        }
        page.push_str("</table>\n");
    }
    for warning in &form.warnings {
        let _ = writeln!(page, "<p>Note: {}</p>", escape(warning));
    }
}

fn checks(page: &mut String, form: &DrillForm) {
    if !form.detailed {
        page.push_str("<p>Names of objects and single checks are sealed, and were not opened for this page.</p>\n");
        return;
    }
    page.push_str("<h2>Checks</h2>\n<table>\n<tr><th>Check</th><th>Result</th><th>Detail</th></tr>\n");
    for check in &form.checks {
        let (name, detail) = (escape(&check.name), escape(&check.detail));
        let result = if check.ok { "passed" } else { "failed" };
        let _ = writeln!(page, "<tr><td>{name}</td><td>{result}</td><td>{detail}</td></tr>");
    }
    page.push_str("</table>\n");
}

/// Text for an element or an attribute. Marks that reorder or hide text are made visible.
fn escape(text: &str) -> String {
    let shown = crate::output::printable(text);
    let mut escaped = String::with_capacity(shown.len());
    for c in shown.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(escape("<script>alert('x')</script>"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        assert_eq!(escape("a\u{202e}b\" c"), "a\\u{202e}b&quot; c");
    }
}
