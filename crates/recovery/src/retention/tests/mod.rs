//! Retention against a model of it, and removals that are broken off at every call of the store.

mod model;
mod removal;
