//! As one page of HTML that loads nothing.

use std::fmt::Write as _;

use super::timeline::{evidence, outcome_name, timeline};
use crate::text::clean;
use crate::{Outcome, RunRecord};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #d8dee4}\
td{overflow-wrap:anywhere}.verdict{padding:.6rem 1rem;border-radius:.4rem;font-weight:600}\
.good{background:#dafbe1;color:#116329}.bad{background:#ffebe9;color:#82071e}code{font-size:.9em}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}";

/// The timeline of a run as one page of HTML that loads nothing. Everything that came from outside is shown as text.
pub fn html(record: &RunRecord) -> String {
    let title = format!("Run {} of {}", record.run, escape(&record.playbook));
    let good = matches!(record.outcome, Some(Outcome::Success | Outcome::Skipped));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"verdict {}\">{}</p>\n<table>\n",
        if good { "good" } else { "bad" },
        outcome_name(record.outcome),
    );
    let ended = record.ended.map(|ended| ended.to_string());
    let facts = [
        ("Asked for by", Some(record.plan.request.requester.0.clone())),
        ("Began", Some(record.began.to_string())),
        ("Ended", ended),
        ("Denied", record.refused.clone()),
        ("Plan", Some(record.plan.hash.to_string())),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            // Writing into a String cannot fail.
            let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
        }
    }
    page.push_str(
        "</table>\n<h2>Timeline</h2>\n<table>\n<tr><th>when</th><th>what</th><th>outcome</th><th>details</th></tr>\n",
    );
    for event in timeline(record) {
        let (what, details) = (escape(&event.what), escape(&event.details));
        let _ =
            writeln!(page, "<tr><td>{}</td><td>{what}</td><td>{}</td><td>{details}</td></tr>", event.at, event.outcome);
    }
    page.push_str("</table>\n");
    let found = evidence(record);
    if !found.is_empty() {
        page.push_str("<h2>Evidence</h2>\n<table>\n<tr><th>step</th><th>item</th><th>SHA-256</th></tr>\n");
        for item in found {
            let (step, path, sha256) = (escape(&item.step), escape(&item.path), escape(&item.sha256));
            let _ = writeln!(page, "<tr><td>{step}</td><td>{path}</td><td><code>{sha256}</code></td></tr>");
        }
        page.push_str("</table>\n");
    }
    page.push_str("</body></html>\n");
    page
}

/// Text that is nothing else in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::new();
    for character in clean(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            character => safe.push(character),
        }
    }
    safe
}
