//! The rules of a restore, as tables and pure functions: what is not restored, in which order the rest is, what of an
//! object changes on the way, how owners are found again, what a replacement keeps of the live object, and what is
//! therefore different afterwards.
//!
//! Nothing here talks to a server. Every rule has a number that reports quote, the reason for it, and the file or page
//! that it follows; files are those of Kubernetes 1.36 unless said otherwise. The page `restore-rules.md` of the book
//! is generated from these tables. Numbers are never given again: 1 to 99 are those of the canonical form
//! ([`lifeboat_model::RULES`]), 100 to 199 leave objects out, 200 to 299 change fields, 300 to 399 are what somebody
//! asked for, 400 to 499 keep fields of live objects, and 500 to 599 are differences that remain.

mod carry;
mod differences;
mod field;
mod mapping;
mod owners;
mod patch;
mod prepare;
mod service;
mod skip;
mod strip;
mod wave;

#[cfg(test)]
mod testing;

pub use carry::{CARRY_RULES, Carry, carry_over, merge_into};
pub use differences::{DIFFERENCES, Difference, When, allowed};
pub use field::{Applied, FieldRule, Fields, Kind};
pub use mapping::MAPPING_RULES;
pub use owners::{Links, OWNER_RULES, Owner, OwnerRule, Relinked, controller, relink};
pub use patch::{PatchError, PatchFile};
pub use prepare::{RESTORED_FROM, Rewrite, Transforms, prepare};
pub use service::{asks_for_addresses, release_addresses};
pub use skip::{SKIP_RULES, SkipContext, SkipRule, skip, skip_type};
pub use strip::STRIP_RULES;
pub use wave::{WAVES, Wave, wave};

/// Version of all of the rules, which plans and reports record.
pub const RULES_VERSION: u32 = 2;
