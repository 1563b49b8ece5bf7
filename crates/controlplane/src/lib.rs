//! A throwaway etcd and kube-apiserver as child processes: for drills, the demo and the tests alike.
//!
//! [`ControlPlane`] starts real programs found through [`Binaries`] on loopback ports, with certificates of its own
//! ([`Pki`]), waits until they answer, and stops them again: on [`ControlPlane::stop`], when it is dropped, and, on
//! Linux with util-linux' `setpriv`, when the program that uses it dies in any way, `kill -9` included. A program
//! that wants a clean end on SIGTERM or SIGINT catches the signal and calls `stop`; one that does not catch it leaves
//! nothing running either, since the children die with it.
//!
//! Nothing here reads the environment: where programs lie and where files go is given.

mod api_server;
mod binaries;
mod builder;
mod client;
mod controllers;
mod error;
mod etcd;
mod files;
mod kubeconfig;
mod pki;
mod plane;
mod ports;
mod process;
mod spawner;

pub use binaries::{Binaries, Version};
pub use builder::Builder;
pub use error::{Error, Result};
pub use etcd::EtcdAccess;
pub use pki::Pki;
pub use plane::ControlPlane;
pub use ports::{free_port, free_ports};
pub use process::{Process, ProcessSpec};
