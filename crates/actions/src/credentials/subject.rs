//! Whoever rights are given to.

use lifeboat_kubernetes::SubjectAccess;
use lifeboat_playbook::ActionError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fields::{items, text};

/// The kinds of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Kind {
    /// A user, by the name that the API server knows.
    User,
    /// A group.
    Group,
    /// A service account.
    ServiceAccount,
}

/// Whoever rights are given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Subject {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: String,
    /// Of a service account: its namespace.
    #[serde(default)]
    pub(crate) namespace: Option<String>,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, name, namespace } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind:?} {namespace}/{name}"),
            None => write!(f, "{kind:?} {name}"),
        }
    }
}

impl Subject {
    /// Refuses what cannot be told apart from others, or what RBAC has no say in.
    pub(crate) fn check(&self) -> Result<(), ActionError> {
        match (self.kind, &self.namespace) {
            (Kind::ServiceAccount, None) => Err(ActionError::denied(format!("{self} needs its namespace"))),
            (Kind::User | Kind::Group, Some(_)) => Err(ActionError::denied(format!("{self} has no namespace"))),
            (Kind::Group, None) if self.name == "system:masters" => {
                Err(ActionError::denied("the group system:masters may do everything, whatever RBAC says"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an entry of a binding is this one.
    pub(crate) fn is(&self, entry: &Value) -> bool {
        text(entry, "/kind") == format!("{:?}", self.kind)
            && text(entry, "/name") == self.name
            && (self.kind != Kind::ServiceAccount || Some(text(entry, "/namespace")) == self.namespace.as_deref())
    }

    /// The entry of a binding.
    pub(crate) fn entry(&self) -> Value {
        match self.kind {
            Kind::ServiceAccount => json!({"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}),
            kind => json!({"kind": format!("{kind:?}"), "name": self.name, "apiGroup": "rbac.authorization.k8s.io"}),
        }
    }

    /// Its user and groups, as the API server sees them. Groups of a user are known to whoever lets users in only.
    fn identity(&self) -> (String, Vec<String>) {
        let authenticated = "system:authenticated".to_owned();
        match (self.kind, &self.namespace) {
            (Kind::User, _) => (self.name.clone(), vec![authenticated]),
            (Kind::Group, _) => (String::new(), vec![self.name.clone(), authenticated]),
            (Kind::ServiceAccount, namespace) => {
                let namespace = namespace.as_deref().unwrap_or_default();
                let groups = vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    authenticated,
                ];
                (format!("system:serviceaccount:{namespace}:{}", self.name), groups)
            }
        }
    }

    /// What rules of a role let it do, as questions; at most `most`.
    pub(crate) fn questions(&self, rules: &[Value], namespace: Option<&str>, most: usize) -> Vec<SubjectAccess> {
        let (user, groups) = self.identity();
        let mut questions = Vec::new();
        for rule in rules {
            let listed = |pointer| items(rule, pointer).filter_map(Value::as_str);
            for group in listed("/apiGroups") {
                for resource in listed("/resources") {
                    for verb in listed("/verbs") {
                        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                        questions.push(SubjectAccess {
                            user: user.clone(),
                            groups: groups.clone(),
                            verb: verb.to_owned(),
                            group: group.to_owned(),
                            resource: resource.to_owned(),
                            subresource: subresource.to_owned(),
                            namespace: namespace.unwrap_or_default().to_owned(),
                            name: listed("/resourceNames").next().unwrap_or_default().to_owned(),
                        });
                        if questions.len() == most {
                            return questions;
                        }
                    }
                }
            }
        }
        questions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_asked_about_right_by_right() {
        let subject =
            Subject { kind: Kind::ServiceAccount, name: "web".to_owned(), namespace: Some("shop".to_owned()) };
        let rules = [json!({"apiGroups": ["", "apps"], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]})];
        let questions = subject.questions(&rules, Some("shop"), 100);
        assert_eq!(questions.len(), 8);
        assert_eq!(questions[0].user, "system:serviceaccount:shop:web");
        assert_eq!((questions[2].resource.as_str(), questions[2].subresource.as_str()), ("pods", "log"));
        assert_eq!(subject.questions(&rules, None, 3).len(), 3);
    }

    #[test]
    fn entries_are_told_apart() {
        let account =
            Subject { kind: Kind::ServiceAccount, name: "web".to_owned(), namespace: Some("shop".to_owned()) };
        assert!(account.is(&account.entry()));
        assert!(!account.is(&json!({"kind": "ServiceAccount", "name": "web", "namespace": "other"})));
        let user = Subject { kind: Kind::User, name: "web".to_owned(), namespace: None };
        assert!(user.is(&user.entry()) && !user.is(&account.entry()));
        let masters = Subject { kind: Kind::Group, name: "system:masters".to_owned(), namespace: None };
        assert!(masters.check().is_err() && user.check().is_ok());
    }
}
