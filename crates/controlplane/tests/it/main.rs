//! The control plane, with real servers.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod process;
#[cfg(test)]
mod support;
