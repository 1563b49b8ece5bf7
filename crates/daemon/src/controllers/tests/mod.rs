//! The controllers on a real API server, with no more rights than they say they need, a store in memory, and a runner
//! that the test is.

mod admission;
mod asked;
mod restored;
mod stage;
mod timed;
mod view;
