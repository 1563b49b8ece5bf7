//! Nodes.

mod cordon;
mod drain;
mod pods;
mod taint;

pub(crate) use cordon::{Cordon, Protect};
pub(crate) use drain::Drain;
pub(crate) use taint::Taint;
