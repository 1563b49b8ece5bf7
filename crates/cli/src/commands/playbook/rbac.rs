//! `playbook rbac`.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_playbook::Registry;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::PlaybookRbacArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::playbooks;

pub(crate) fn run(app: &App, arguments: &PlaybookRbacArgs) -> Result<ExitCode> {
    let registry = playbooks::registry()?;
    let mut actions = BTreeSet::new();
    for name in &arguments.playbooks {
        let playbook = playbooks::named(name, &registry, &arguments.library)?;
        actions.extend(playbook.actions().into_iter().map(str::to_owned));
    }
    app.output.print_document(&role(&registry, &actions, &arguments.name))?;
    Ok(ExitCode::Done)
}

/// A `ClusterRole` of what the actions state, one rule for each group and set of verbs.
fn role(registry: &Registry, actions: &BTreeSet<String>, name: &str) -> Value {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for manual in actions.iter().filter_map(|action| registry.manual(action)) {
        for permission in manual.statement.permissions {
            verbs.entry((permission.group, permission.resource)).or_default().extend(permission.verbs);
        }
    }
    let mut rules: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        rules.entry((group, verbs.into_iter().collect())).or_default().push(resource);
    }
    let rules: Vec<Value> = rules
        .into_iter()
        .map(|((group, verbs), resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
        .collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    })
}
