//! The shapes of objects, by families.

mod access;
mod core;
mod custom;
mod network;
mod owners;
mod policies;
mod storage;
mod workloads;

use proptest::prelude::*;

use super::shape::Shape;

/// A cluster of objects of every kind.
pub(crate) fn cluster() -> impl Strategy<Value = Vec<Shape>> {
    let families = (
        core::shapes(),
        network::shapes(),
        storage::shapes(),
        workloads::shapes(),
        access::shapes(),
        custom::shapes(),
        owners::shapes(),
        policies::shapes(),
    );
    families.prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].concat())
}

/// What Kubernetes' controllers act upon, and will again: rollouts, volumes that are bound, tokens that are filled in,
/// endpoints, quotas that are counted.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    let families =
        (core::controlled(), network::controlled(), storage::controlled(), workloads::controlled(), access::shapes());
    families.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}
