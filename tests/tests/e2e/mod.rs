//! The whole program on real servers.

mod alerts;
mod catalog;
mod daemon;
mod deploy;
mod diff;
mod drill;
mod etcd_restore;
mod faults;
mod golden;

mod playbooks;
mod real;
mod requests;
mod restore_objects;
mod stores;
mod telemetry;
