//! Admission webhooks that must agree and have nobody behind them, and which objects of a plan they would refuse.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_kubernetes::ObjectPath;
use serde_json::{Value, json};

use super::admission::{all, has_endpoints, warning};
use super::plan::{Finding, PlannedKind, Verdict};
use super::preflight::built_in;
use super::target::Target;
use super::wanted::{parse, text};
use crate::LabelSelector;
use crate::error::Result;

/// Their own configurations, and policies, are not shown to webhooks.
const EXEMPT: &str = "admissionregistration.k8s.io";
/// The label by which every namespace is known.
const NAME: &str = "kubernetes.io/metadata.name";

/// Webhooks that refuse whatever they would be asked about, since nobody answers.
#[derive(Debug, Default)]
pub(super) struct Webhooks(Vec<Webhook>);

#[derive(Debug)]
struct Webhook {
    /// What to call it.
    name: String,
    service: String,
    /// Its `rules`.
    rules: Vec<Value>,
    /// Whether other versions of a resource concern it too.
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// The names of its further conditions, which only the API server can evaluate.
    conditions: Vec<String>,
}

/// Which webhooks would be asked about which resources in which namespaces.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeSet<(usize, Option<Box<str>>, String)>);

impl Asked {
    /// Takes note of an object that is written, and of the webhooks that its labels concern.
    pub(super) fn note(&mut self, webhooks: &[usize], namespace: Option<&str>, kind: &PlannedKind) {
        for webhook in webhooks {
            self.0.insert((*webhook, namespace.map(Into::into), kind.resource.group_resource().to_string()));
        }
    }
}

impl Webhooks {
    /// Those of the target.
    pub(super) async fn unanswered(target: &Target) -> Result<Self> {
        let mut found = Vec::new();
        for (resource, kind) in [
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ] {
            for configuration in all(target, &built_in(EXEMPT, resource, kind, false)).await? {
                let hooks = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
                for hook in hooks.filter(|hook| text(hook, "/failurePolicy") != "Ignore") {
                    let service = "/clientConfig/service";
                    let (namespace, name) =
                        (text(hook, &format!("{service}/namespace")), text(hook, &format!("{service}/name")));
                    if !name.is_empty() && !has_endpoints(target, namespace, name).await? {
                        let of = format!("{kind} '{}'", text(&configuration, "/metadata/name"));
                        found.push(Webhook::read(hook, &of, format!("{namespace}/{name}")));
                    }
                }
            }
        }
        Ok(Self(found))
    }

    /// Those that would be asked about an object, as far as it can be told without its namespace and what is done to it.
    pub(super) fn of_object(&self, kind: &PlannedKind, object: &Value) -> Vec<usize> {
        let is_namespace = kind.is("", "namespaces");
        let concerned = self.0.iter().enumerate().filter(|(_, hook)| {
            hook.rules.iter().any(|rule| hook.covers(rule, kind))
                && hook.objects.matches(object)
                && (!is_namespace || hook.namespaces.matches(object))
        });
        concerned.map(|(number, _)| number).collect()
    }

    /// Of these, those that are asked about what a verdict does.
    pub(super) fn of_verdict(&self, hooks: &[usize], kind: &PlannedKind, verdict: &Verdict) -> Vec<usize> {
        let operations: &[&str] = match verdict {
            Verdict::Create { .. } => &["CREATE"],
            Verdict::Apply { .. } => &["UPDATE"],
            Verdict::Recreate { .. } => &["DELETE", "CREATE"],
            Verdict::Prune { .. } => &["DELETE"],
            _ => &[],
        };
        let asked = hooks.iter().copied().filter(|number| {
            self.0.get(*number).is_some_and(|hook| {
                let mut rules = hook.rules.iter().filter(|rule| hook.covers(rule, kind));
                rules.any(|rule| operations.iter().any(|operation| has(rule, "operations", operation)))
            })
        });
        asked.collect()
    }

    /// Those that would be asked about the deletion of an object whose labels are not known.
    pub(super) fn of_deletion(&self, kind: &PlannedKind, verdict: &Verdict) -> Vec<usize> {
        self.of_verdict(&(0..self.0.len()).collect::<Vec<_>>(), kind, verdict)
    }

    /// What to say of them. `planned` are the namespaces that are restored, as they will be.
    pub(super) async fn findings(
        &self,
        target: &Target,
        asked: &Asked,
        planned: &BTreeMap<String, Value>,
    ) -> Result<Vec<Finding>> {
        let namespaces = built_in("", "namespaces", "Namespace", false);
        let mut known: BTreeMap<&str, Value> = BTreeMap::new();
        let mut concerned: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for (number, namespace, resource) in &asked.0 {
            let Some(hook) = self.0.get(*number) else { continue };
            if let Some(name) = namespace.as_deref() {
                if !known.contains_key(name) {
                    let path = ObjectPath { resource: &namespaces, namespace: None, name };
                    let there = target.cluster.get(path).await?.map(|json| parse(&json)).transpose()?;
                    let bare = || json!({"metadata": {"labels": {NAME: name}}});
                    let namespace = there.or_else(|| planned.get(name).cloned()).unwrap_or_else(bare);
                    known.insert(name, namespace);
                }
                if known.get(name).is_some_and(|namespace| !hook.namespaces.matches(namespace)) {
                    continue;
                }
            }
            concerned.entry(*number).or_default().insert(resource);
        }
        let findings =
            concerned.into_iter().filter_map(|(number, resources)| Some(self.0.get(number)?.finding(&resources)));
        Ok(findings.collect())
    }
}

impl Webhook {
    fn read(hook: &Value, of: &str, service: String) -> Self {
        let array = |member: &str| hook.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
        let selector = |member: &str| hook.get(member).map(LabelSelector::of_json).unwrap_or_default();
        Self {
            name: format!("webhook '{}' of {of}", text(hook, "/name")),
            service,
            rules: array("rules"),
            equivalent: text(hook, "/matchPolicy") != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            conditions: array("matchConditions").iter().map(|condition| text(condition, "/name").to_owned()).collect(),
        }
    }

    /// Whether a rule is about objects of that kind.
    fn covers(&self, rule: &Value, kind: &PlannedKind) -> bool {
        let resource = kind.target();
        let scope = text(rule, "/scope");
        resource.group != EXEMPT
            && has(rule, "apiGroups", &resource.group)
            && (self.equivalent || has(rule, "apiVersions", &resource.version))
            && (has(rule, "resources", &resource.resource) || has(rule, "resources", "*/*"))
            && (scope.is_empty() || scope == "*" || (scope == "Namespaced") == resource.namespaced)
    }

    fn finding(&self, resources: &BTreeSet<&str>) -> Finding {
        let kinds = match resources.len() {
            1..=4 => resources.iter().copied().collect::<Vec<_>>().join(", "),
            count => format!("{count} kinds of the plan"),
        };
        let conditions = match self.conditions.as_slice() {
            [] => String::new(),
            conditions => format!(", unless its match conditions leave them out: {}", conditions.join(", ")),
        };
        let Self { name, service, .. } = self;
        let message =
            format!("{name} has to agree to {kinds}, and its service '{service}' has no endpoints{conditions}");
        warning("webhook", message)
    }
}

fn has(rule: &Value, member: &str, wanted: &str) -> bool {
    let values = rule.get(member).and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).any(|value| value == "*" || value == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(hook: &Value) -> Webhooks {
        Webhooks(vec![Webhook::read(hook, "ValidatingWebhookConfiguration 'x'", "a/b".to_owned())])
    }

    fn hook(rule: &Value) -> Value {
        json!({"name": "hook.example.com", "rules": [rule]})
    }

    fn kind(group: &str, resource: &str, namespaced: bool) -> PlannedKind {
        PlannedKind::of(&built_in(group, resource, "Kind", namespaced))
    }

    fn pods(version: &str) -> Value {
        json!({"apiGroups": [""], "apiVersions": [version], "resources": ["pods"], "operations": ["CREATE"]})
    }

    #[test]
    fn rules_say_what_a_webhook_is_about() {
        let (pod, object) = (kind("", "pods", true), json!({}));
        let any = |member: &str, value: Value| {
            let mut rule = pods("v1");
            rule[member] = value;
            !webhooks(&hook(&rule)).of_object(&pod, &object).is_empty()
        };
        assert!(any("scope", json!("Namespaced")));
        assert!(!any("scope", json!("Cluster")));
        assert!(any("resources", json!(["*"])));
        assert!(any("resources", json!(["*/*"])));
        assert!(!any("resources", json!(["pods/status"])));
        assert!(!any("apiGroups", json!(["apps"])));
        assert!(any("apiVersions", json!(["v0"])), "an equivalent object is shown too");
        let mut exact = hook(&pods("v0"));
        exact["matchPolicy"] = json!("Exact");
        assert!(webhooks(&exact).of_object(&pod, &object).is_empty());
        let all = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]});
        let own = kind(EXEMPT, "validatingwebhookconfigurations", false);
        assert!(webhooks(&hook(&all)).of_object(&own, &object).is_empty());
    }

    #[test]
    fn what_is_done_decides_too() {
        let pod = kind("", "pods", true);
        let hooks = webhooks(&hook(&pods("v1")));
        let live = || super::super::plan::Live { uid: "u".into(), canonical: lifeboat_model::Digest::of(b"") };
        assert_eq!(hooks.of_verdict(&[0], &pod, &Verdict::Create { objection: None }), [0]);
        assert_eq!(hooks.of_verdict(&[0], &pod, &Verdict::Recreate { live: live() }), [0]);
        for verdict in [
            Verdict::Apply { live: live(), objection: None },
            Verdict::Unchanged { live: live() },
            Verdict::Leave { live: live() },
        ] {
            assert_eq!(hooks.of_verdict(&[0], &pod, &verdict), Vec::<usize>::new(), "{verdict:?}");
        }
        assert_eq!(hooks.of_deletion(&pod, &Verdict::Prune { live: live() }), Vec::<usize>::new());
    }

    #[test]
    fn labels_decide_and_a_namespace_is_judged_by_its_own() {
        let mut web = hook(&pods("v1"));
        web["objectSelector"] = json!({"matchLabels": {"app": "web"}});
        let pod = kind("", "pods", true);
        let labelled = |app: &str| json!({"metadata": {"labels": {"app": app}}});
        assert_eq!(webhooks(&web).of_object(&pod, &labelled("web")), [0]);
        assert!(webhooks(&web).of_object(&pod, &labelled("db")).is_empty());
        let mut strict =
            hook(&json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["*"], "operations": ["*"]}));
        strict["namespaceSelector"] =
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]});
        let namespaces = kind("", "namespaces", false);
        assert_eq!(webhooks(&strict).of_object(&namespaces, &labelled("web")), [0]);
        assert!(webhooks(&strict).of_object(&namespaces, &labelled("db")).is_empty());
        assert_eq!(webhooks(&strict).of_object(&pod, &labelled("db")), [0], "its namespace is judged later");
    }

    #[test]
    fn conditions_are_named() {
        let mut conditional = hook(&pods("v1"));
        conditional["matchConditions"] = json!([{"name": "not-ours", "expression": "true"}]);
        let Webhooks(hooks) = webhooks(&conditional);
        assert_eq!(
            hooks[0].finding(&["pods"].into()).message,
            "webhook 'hook.example.com' of ValidatingWebhookConfiguration 'x' has to agree to pods, and its service 'a/b' \
             has no endpoints, unless its match conditions leave them out: not-ours"
        );
    }
}
