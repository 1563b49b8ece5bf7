//! The page of drills against the code.

use lifeboat_model::{FindingClass, FindingCode};
use lifeboat_recovery::drill::RULES;

use super::read;

const PAGE: &str = "docs/src/drills.md";

/// The rows of the table behind a mark, without its head.
fn rows(page: &str, mark: &str) -> Vec<String> {
    let behind = page.split(mark).nth(1).unwrap().trim_start();
    behind.lines().take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

#[test]
fn every_finding_is_on_the_page_with_its_exit_code() {
    let code = |code: &FindingCode| match code.class() {
        FindingClass::Integrity => 4,
        FindingClass::Refused => 5,
        FindingClass::Failed => 1,
        FindingClass::Target => 3,
    };
    let gravity = |row: &&FindingCode| [4, 5, 1, 3].iter().position(|known| *known == code(row));
    let mut all: Vec<&FindingCode> = FindingCode::ALL.iter().collect();
    all.sort_by_key(gravity);
    let wanted = all.iter().map(|found| format!("| `{}` | {} | {} |", found.name(), code(found), found.meaning()));
    assert_eq!(rows(&read(PAGE), "<!-- findings: held to the code by a test -->"), wanted.collect::<Vec<_>>());
}

#[test]
fn every_rule_is_on_the_page() {
    let wanted = RULES.iter().map(|rule| format!("| {} | {} | {} |", rule.number, rule.what, rule.proof));
    assert_eq!(rows(&read(PAGE), "<!-- rules: held to the code by a test -->"), wanted.collect::<Vec<_>>());
}
