//! Tests of the whole: one binary, so that it is linked once.
#![cfg(test)]

mod examples;
mod house;
mod program;
