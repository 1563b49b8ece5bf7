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

/// As above, without what controllers would act upon: volumes that are said to be bound, tokens, objects that say who
/// controls them and are not made so.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    let families = (core::namespaces_only(), workloads::rolling(), access::shapes(), custom::shapes());
    families.prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}
