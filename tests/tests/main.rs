//! Tests of the whole: one binary, so that it is linked once.
#![cfg(test)]

mod house;
mod program;
