//! What Lifeboat promises: a file for each promise, named after it.

mod a_plan_is_a_plan;
mod authentic;
mod flat_memory;
mod gaps_are_loud;
mod listed_means_restorable;
mod no_claim_without_proof;
mod opens_without_us;
mod sealed;
mod the_last_good_one_stays;
mod undo_before_do;

pub(crate) use opens_without_us::{commands, shell};
