//! Sealed parts, tars and signatures, from outside: round trips, stock tools, hostile input.
#![cfg(test)]

mod frames;
mod hostile;
mod keys;
mod sealing;
mod signing;
mod support;
mod tarball;
mod tools;
