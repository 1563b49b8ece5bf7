//! Servers and fixtures for the tests.

pub mod cluster;
pub mod s3;
