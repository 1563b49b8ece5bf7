//! Whether the target is still as it was when a plan was made.

use super::plan::{Live, Plan, Verdict};
use super::target::Target;
use crate::error::{Error, Result};

/// Objects that are named, at most.
const NAMED: usize = 3;

/// Refuses a plan whose objects are not as they were.
pub(super) async fn unchanged(target: &Target, plan: &Plan) -> Result<()> {
    let mut changed = Vec::new();
    for (number, kind) in (0_u32..).zip(&plan.header.kinds) {
        if kind.served != target.served(&kind.resource).await? {
            changed.push(format!("{} are served otherwise", kind.resource.group_resource()));
            continue;
        }
        if kind.served.is_none() {
            continue;
        }
        let of_kind = || {
            plan.entries.iter().filter(move |entry| {
                entry.kind == number && !matches!(entry.verdict, Verdict::Skipped { .. } | Verdict::Blocked { .. })
            })
        };
        let places: Vec<_> = of_kind().map(|entry| (entry.namespace, entry.name)).collect();
        let live = target.survey(&kind.target(), &places).await?;
        for (entry, live) in of_kind().zip(live) {
            if let Some(how) = change(entry.verdict, live.as_ref()) {
                changed.push(format!("{} {how}", plan.name(entry)));
            }
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let more = changed.len().saturating_sub(NAMED);
    changed.truncate(NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Err(Error::Refused(format!(
        "the target has changed since the plan was made: {}{more}; make a new plan",
        changed.join(", ")
    )))
}

/// How an object is not as planned.
fn change(verdict: &Verdict, live: Option<&Live>) -> Option<&'static str> {
    let (planned, live) = match (verdict.live(), live) {
        (None, None) => return None,
        (None, Some(_)) => return Some("is there now"),
        (Some(_), None) => return Some("is gone"),
        (Some(planned), Some(live)) => (planned, live),
    };
    if planned.uid != live.uid {
        return Some("is another one");
    }
    // What is left as it is may become anything.
    let matters = !matches!(verdict, Verdict::Leave { .. });
    (matters && planned.canonical != live.canonical).then_some("was changed")
}
