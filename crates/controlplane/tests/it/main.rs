//! The control plane, with real servers.

mod cluster;
