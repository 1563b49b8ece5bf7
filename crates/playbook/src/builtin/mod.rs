//! Actions that need nothing but the run itself. Each is also an example of how one is written.

mod approve;
mod assert;
mod report;
mod wait;

pub use approve::Approve;
pub use assert::Assert;
pub use report::Report;
pub use wait::WaitTime;

use crate::{Registry, RegistryError};

/// Adds the actions that need nothing but the run itself: `approve`, `assert`, `report`, `wait.time`.
///
/// # Errors
/// When the registry has one of these names already.
pub fn add_builtin(registry: &mut Registry) -> Result<(), RegistryError> {
    registry.add(Approve)?;
    registry.add(Assert)?;
    registry.add(Report)?;
    registry.add(WaitTime)
}
