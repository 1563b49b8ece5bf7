//! Containing a namespace.

mod lockdown;
mod locks;

pub(crate) use lockdown::Lockdown;
