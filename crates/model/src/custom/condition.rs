//! Conditions, as `metav1.Condition` has them.
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties>

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest message that is kept, in characters. The API allows 32,768; people read the first lines.
pub(super) const MAX_MESSAGE: usize = 1024;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One aspect of the state of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect, such as `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object that this was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// Why, in one word for programs.
    #[schemars(regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"), length(max = 1024))]
    pub reason: String,
    /// Why, for people.
    #[schemars(length(max = 32_768))]
    pub message: String,
}

impl Condition {
    /// A condition as it is found now. The message is cut where it is too long, and cannot control a terminal.
    pub fn new(kind: &str, status: impl Into<ConditionStatus>, reason: &str, message: &str, now: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            status: status.into(),
            observed_generation: None,
            last_transition_time: settled(now),
            reason: reason.to_owned(),
            message: printable(message, MAX_MESSAGE),
        }
    }
}

/// Text from elsewhere, cut where it is too long, without characters that control a terminal.
pub(super) fn printable(text: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut: String = text.chars().take(longest).map(plain).collect();
    if text.chars().nth(longest).is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// A moment in whole seconds, as the API writes it.
pub fn settled(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// Puts a condition among the others, in the place of the one of its type. The time of its last transition stays unless
/// its status is another.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|known| known.kind == new.kind) {
        Some(known) => {
            if known.status == new.status {
                new.last_transition_time = known.last_transition_time;
            }
            *known = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_transition_is_that_of_the_status() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            Condition::new("Ready", true, "Fine", "all is well", at("2026-01-01T00:00:00.7Z")),
        );
        set_condition(&mut conditions, Condition::new("Ready", true, "Better", "still", at("2026-01-02T00:00:00Z")));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, at("2026-01-01T00:00:00Z"));
        assert_eq!(conditions[0].reason, "Better");
        set_condition(&mut conditions, Condition::new("Ready", false, "Broken", "alas", at("2026-01-03T00:00:00Z")));
        assert_eq!(conditions[0].last_transition_time, at("2026-01-03T00:00:00Z"));
    }

    #[test]
    fn a_message_is_bounded_and_plain() {
        let condition = Condition::new("Ready", false, "Bad", &"\u{1b}[31mx\n".repeat(1000), Timestamp::UNIX_EPOCH);
        assert_eq!(condition.message.chars().count(), MAX_MESSAGE);
        assert!(condition.message.ends_with('…') && !condition.message.contains(char::is_control));
    }
}
