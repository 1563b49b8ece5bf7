//! Tests of the whole: one binary, so that it is linked once.
#![cfg(test)]

mod e2e;
mod examples;
mod fidelity;
mod house;
mod program;
mod promises;
mod support;
