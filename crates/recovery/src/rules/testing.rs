//! What the tests of the rules share.

use lifeboat_model::ResourceType;

/// A resource at version v1.
pub(super) fn resource(group: &str, plural: &str) -> ResourceType {
    ResourceType {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: plural.to_owned(),
        kind: String::new(),
        singular: String::new(),
        short_names: Vec::new(),
        namespaced: true,
    }
}
