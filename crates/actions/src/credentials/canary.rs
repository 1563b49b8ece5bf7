//! A token like those that were stolen, to see them die.

use std::time::Duration;

use lifeboat_kubernetes::{Token, TokenVerdict};
use lifeboat_playbook::{ActionError, Period, StepContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Api, refused};

/// The shortest life that a token can have.
pub(crate) const LIFE: u32 = 600;
/// The time between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of the canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Canary {
    /// Whether it was good before.
    pub(crate) good_before: bool,
    /// How often in a row it was refused in the end.
    pub(crate) refusals: u32,
    /// The API server's last words about it, or why there was none.
    pub(crate) words: String,
}

impl Canary {
    pub(crate) fn none(why: String) -> Self {
        Self { good_before: false, refusals: 0, words: why }
    }
}

/// Whether the API server takes a token now.
pub(crate) async fn is_good(api: &Api, token: &Token) -> Result<bool, ActionError> {
    Ok(matches!(api.cluster.review_token(token).await.map_err(refused)?, TokenVerdict::Good { .. }))
}

/// Asks until the token was refused so often in a row, or the time is over. One refusal is not enough: API servers keep
/// what they found good for a while, and there may be several of them.
pub(crate) async fn watch_die(
    api: &Api,
    token: &Token,
    wanted: u32,
    within: Period,
    context: &StepContext,
) -> Result<Canary, ActionError> {
    let until = tokio::time::Instant::now() + within.duration();
    let mut canary = Canary { good_before: true, refusals: 0, words: "it was never refused".to_owned() };
    while canary.refusals < wanted && tokio::time::Instant::now() < until {
        match api.cluster.review_token(token).await.map_err(refused)? {
            TokenVerdict::Refused { reason } => {
                canary.refusals += 1;
                canary.words = reason;
            }
            TokenVerdict::Good { user } => {
                canary.refusals = 0;
                canary.words = format!("it is still good, as {user}");
            }
        }
        if canary.refusals < wanted {
            context.sleep(PAUSE).await;
        }
    }
    Ok(canary)
}
