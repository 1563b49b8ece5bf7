//! The whole program on real servers.

mod etcd_restore;
mod faults;
mod golden;

mod requests;
mod stores;
