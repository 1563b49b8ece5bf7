//! What is not restored.

use std::collections::HashSet;

use lifeboat_model::ResourceType;
use serde_json::Value;

/// A rule that leaves objects out.
#[derive(Debug, Clone, Copy)]
pub struct SkipRule {
    /// Its number, quoted in reports.
    pub number: u32,
    /// Which objects.
    pub what: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The file of Kubernetes or the page that it follows.
    pub source: &'static str,
}

/// What skipping one object depends on in others: the Services of the backup that select pods.
#[derive(Debug, Clone, Default)]
pub struct SkipContext {
    with_selector: HashSet<(String, String)>,
}

impl SkipContext {
    /// Takes note of an object. Whoever passes all objects here in the order of the waves has seen each Service before
    /// its Endpoints.
    pub fn observe(&mut self, _resource: &ResourceType, _object: &Value) {
        let _ = &self.with_selector;
    }
}

/// What is not restored.
pub const SKIP_RULES: &[SkipRule] = &[];

/// The rule that leaves out every object of a resource.
pub fn skip_type(_resource: &ResourceType) -> Option<&'static SkipRule> {
    None
}

/// The rule that leaves out an object, as it is in the backup.
pub fn skip(_resource: &ResourceType, _object: &Value, _context: &SkipContext) -> Option<&'static SkipRule> {
    None
}
