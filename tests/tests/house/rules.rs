//! The page of the rules of a restore: its tables are those of the code.

use std::fmt::{Display, Write as _};

use lifeboat_recovery::rules::{
    CARRY_RULES, DIFFERENCES, FieldRule, MAPPING_RULES, OWNER_RULES, RULES_VERSION, SKIP_RULES, STRIP_RULES, WAVES,
    When,
};

use super::{read, root};

const UPDATE: &str = "LIFEBOAT_TEST_UPDATE";
const PAGE: &str = "docs/src/restore-rules.md";

/// A table of Markdown.
fn table<const N: usize>(out: &mut String, heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    writeln!(out, "| {} |", heads.join(" | ")).unwrap();
    writeln!(out, "| {} |", heads.map(|_| "---").join(" | ")).unwrap();
    for row in rows {
        assert!(row.iter().all(|cell| !cell.contains('|')), "{row:?} would break the table");
        writeln!(out, "| {} |", row.map(|cell| escaped(&cell)).join(" | ")).unwrap();
    }
    out.push('\n');
}

/// What Markdown would take for something else.
fn escaped(cell: &str) -> String {
    cell.replace('*', "\\*").replace('<', "&lt;")
}

fn kinds<K: Display>(kinds: &[K]) -> String {
    if kinds.is_empty() {
        return "all".to_owned();
    }
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn numbers(rules: &[u32]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn field_rules<A>(out: &mut String, rules: &[FieldRule<A>]) {
    let rows = rules.iter().map(|rule| {
        [rule.number.to_string(), kinds(rule.kinds), rule.what.into(), rule.reason.into(), rule.source.into()]
    });
    table(out, ["rule", "kinds", "what", "why", "source"], rows);
}

fn tables() -> String {
    let mut out = format!("These are the rules of version {RULES_VERSION}.\n\n## What is not restored\n\n");
    let skipped = SKIP_RULES
        .iter()
        .map(|rule| [rule.number.to_string(), rule.what.into(), rule.reason.into(), rule.source.into()]);
    let owned = OWNER_RULES.iter().map(|rule| {
        let what = format!("{}s that are controlled by a {}", rule.owned, kinds(rule.owners).replace(", ", " or "));
        [
            rule.number.to_string(),
            format!("{what}, if that is restored or there"),
            rule.reason.into(),
            rule.source.into(),
        ]
    });
    let mut rows: Vec<[String; 4]> = skipped.chain(owned).collect();
    rows.sort_by_key(|row| row[0].parse::<u32>().unwrap());
    table(&mut out, ["rule", "what", "why", "source"], rows);
    out.push_str("## The order\n\nEach wave begins when the one before is done.\n\n");
    let waves = WAVES.iter().map(|wave| {
        let kinds = if wave.kinds.is_empty() { "everything else".to_owned() } else { kinds(wave.kinds) };
        [wave.number.to_string(), wave.name.into(), kinds, wave.reason.into()]
    });
    table(&mut out, ["wave", "what", "kinds", "why"], waves);
    out.push_str("## What is stripped or rewritten\n\n");
    field_rules(&mut out, STRIP_RULES);
    out.push_str("## What is changed on request\n\n");
    field_rules(&mut out, MAPPING_RULES);
    out.push_str("## What a replacement keeps of the live object\n\n");
    field_rules(&mut out, CARRY_RULES);
    out.push_str("## What is different afterwards\n\n");
    out.push_str("After a restore into an empty cluster, besides what is not restored:\n\n");
    let differences = DIFFERENCES.iter().map(|difference| {
        let when = match difference.when {
            When::Always => "",
            When::WithControllers => " (where controllers run)",
        };
        let fields = difference.written().collect::<Vec<_>>().join(", ");
        let reason = format!("{}{when}", difference.reason);
        [difference.number.to_string(), kinds(difference.kinds), fields, reason, numbers(difference.rules)]
    });
    table(&mut out, ["number", "kinds", "fields", "what is different", "by rule"], differences);
    out
}

#[test]
fn the_page_of_the_rules_is_that_of_the_code() {
    let (begin, end) = ("<!-- rules: generated from the code -->\n\n", "<!-- end of rules -->");
    let page = read(PAGE);
    let (before, rest) = page.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let tables = tables();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(root().join(PAGE), format!("{before}{begin}{tables}{end}{after}")).unwrap();
    } else {
        assert!(found == tables, "{PAGE} is not that of the code: {UPDATE}=1 scripts/test house writes it");
    }
}
