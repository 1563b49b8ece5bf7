//! The stores on real servers and folders: one contract for all, and what is each one's own.
#![cfg(test)]

mod connections;
mod contract;
mod directory;
mod faults;
mod model;
mod places;
mod proxy;
mod roots;
mod s3;
mod versions;
