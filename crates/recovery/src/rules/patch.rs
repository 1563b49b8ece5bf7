//! Patches that somebody wants applied to restored objects.

use lifeboat_model::{ResourceType, YamlError};
use serde_json::Value;

/// A file of patches.
#[derive(Debug, Clone)]
pub struct PatchFile {
    name: String,
}

/// A patch that does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PatchError {
    /// File, patch and operation.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl PatchFile {
    /// Reads a file of patches. `name` is what errors and reports call it.
    ///
    /// # Errors
    /// With file, line and column, when it is not valid.
    pub fn parse(name: &str, _text: &str) -> Result<Self, YamlError> {
        Ok(Self { name: name.to_owned() })
    }

    /// What errors and reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether all kinds that its targets name are among these.
    ///
    /// # Errors
    /// With the place of the one that is not, and the nearest known name.
    pub fn check_kinds(&self, _known: &[ResourceType]) -> Result<(), PatchError> {
        Ok(())
    }

    /// How many patches it has; each that changed an object is in the list of what was applied as `NAME: patches[N]`.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether it has no patches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
