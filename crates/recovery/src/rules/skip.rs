//! What is not restored: what belongs to the old servers and nodes, what controllers and API servers make by
//! themselves, and what was over.

mod table;

use std::collections::HashSet;

use lifeboat_model::ResourceType;
use serde_json::Value;

use super::field::{Kind, get, kinds, text};

pub use self::table::SKIP_RULES;

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
    which: Which,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    /// Every object of these: group and plural name, where `*` stands for all of the group.
    Types(&'static [(&'static str, &'static str)]),
    /// Those objects of these kinds for which it holds; no kind stands for all.
    Objects(&'static [Kind], fn(&Value, &SkipContext) -> bool),
}

/// What skipping one object depends on in others: the Services that select pods.
#[derive(Debug, Clone, Default)]
pub struct SkipContext {
    selecting: HashSet<(String, String)>,
}

impl SkipContext {
    /// Takes note of an object. Whoever passes the objects of the backup here in the order of the waves has shown each
    /// Service before its Endpoints.
    pub fn observe(&mut self, resource: &ResourceType, object: &Value) {
        let selects = get(object, &["spec", "selector"]).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
        if kinds::SERVICE.is(resource) && selects {
            self.selecting.insert((namespace(object).to_owned(), name(object).to_owned()));
        }
    }
}

/// The rule that leaves out every object of a resource.
pub fn skip_type(resource: &ResourceType) -> Option<&'static SkipRule> {
    SKIP_RULES.iter().find(|rule| match rule.which {
        Which::Types(types) => types
            .iter()
            .any(|(group, plural)| *group == resource.group && (*plural == "*" || *plural == resource.resource)),
        Which::Objects(..) => false,
    })
}

/// The rule that leaves out an object, which is to be as it is in the backup.
pub fn skip(resource: &ResourceType, object: &Value, context: &SkipContext) -> Option<&'static SkipRule> {
    let single = || {
        SKIP_RULES.iter().find(|rule| match rule.which {
            Which::Types(_) => false,
            Which::Objects(kinds, test) => {
                (kinds.is_empty() || kinds.iter().any(|kind| kind.is(resource))) && test(object, context)
            }
        })
    };
    skip_type(resource).or_else(single)
}

fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"]).unwrap_or_default()
}

fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"]).unwrap_or_default()
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    text(object, &["metadata", "labels", key])
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    text(object, &["metadata", "annotations", key])
}

/// Whether a Secret holds a token of a service account.
pub(super) fn is_token_secret(object: &Value) -> bool {
    text(object, &["type"]) == Some("kubernetes.io/service-account-token")
}

/// Whether the token controller gave this name to a Secret of that account: five characters of those that generated
/// names are made of. Source: `staging/src/k8s.io/apimachinery/pkg/util/rand/rand.go`.
pub(super) fn is_generated_token_name(secret: &str, account: &str) -> bool {
    let suffix = secret.strip_prefix(account).and_then(|rest| rest.strip_prefix("-token-"));
    suffix.is_some_and(|suffix| suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::resource;
    use super::*;

    fn number(group: &str, plural: &str, object: &Value) -> Option<u32> {
        skip(&resource(group, plural), object, &SkipContext::default()).map(|rule| rule.number)
    }

    #[test]
    fn numbers_are_given_once_and_in_order() {
        assert!(SKIP_RULES.is_sorted_by(|a, b| a.number < b.number));
        assert!(SKIP_RULES.iter().all(|rule| (100..200).contains(&rule.number)));
    }

    #[test]
    fn whole_resources() {
        for (group, plural, expected) in [
            ("", "nodes", Some(101)),
            ("", "events", Some(102)),
            ("events.k8s.io", "events", Some(102)),
            ("coordination.k8s.io", "leases", Some(103)),
            ("storage.k8s.io", "volumeattachments", Some(104)),
            ("resource.k8s.io", "resourceslices", Some(105)),
            ("networking.k8s.io", "ipaddresses", Some(106)),
            ("internal.apiserver.k8s.io", "storageversions", Some(107)),
            ("certificates.k8s.io", "certificatesigningrequests", Some(108)),
            ("", "componentstatuses", Some(109)),
            ("metrics.k8s.io", "pods", Some(110)),
            ("cilium.io", "ciliumidentities", Some(111)),
            ("storagemigration.k8s.io", "storageversionmigrations", Some(112)),
            ("", "pods", None),
            ("example.com", "nodes", None),
            ("cilium.io", "ciliumnetworkpolicies", None),
            ("storage.k8s.io", "storageclasses", None),
        ] {
            assert_eq!(skip_type(&resource(group, plural)).map(|rule| rule.number), expected, "{plural}.{group}");
        }
    }

    /// For each rule of objects: one that it leaves out, and one of the same kind that is restored.
    #[test]
    fn each_rule_has_an_object_that_it_leaves_out_and_one_that_it_does_not() {
        const RBAC: &str = "rbac.authorization.k8s.io";
        const FLOW: &str = "flowcontrol.apiserver.k8s.io";
        let meta = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace}});
        let labelled = |key: &str, value: &str| json!({"metadata": {"name": "a", "labels": {key: value}}});
        let annotated = |key: &str, value: &str| json!({"metadata": {"name": "a", "annotations": {key: value}}});
        let token = |name: &str| {
            json!({"type": "kubernetes.io/service-account-token", "metadata": {
                "name": name, "annotations": {"kubernetes.io/service-account.name": "ci"}}})
        };
        let owned = |kind: &str, controller: bool| {
            json!({"metadata": {"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": kind, "name": "p", "uid": "u", "controller": controller}]}})
        };
        let job = |kind: &str, status: &str| {
            json!({"metadata": {"name": "a"},
            "status": {"conditions": [{"type": kind, "status": status}]}})
        };
        let deleted =
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}});
        let kept_role = json!({"metadata": {"name": "view",
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
        let cases = [
            ("", "configmaps", 120, deleted, json!({"metadata": {"name": "a", "finalizers": ["x/y"]}})),
            ("", "services", 121, meta("kubernetes", "default"), meta("kubernetes", "shop")),
            ("", "endpoints", 121, meta("kubernetes", "default"), meta("web", "default")),
            ("discovery.k8s.io", "endpointslices", 121, meta("kubernetes", "default"), meta("web", "default")),
            ("", "configmaps", 122, meta("kube-root-ca.crt", "shop"), meta("ca.crt", "shop")),
            (
                "",
                "configmaps",
                123,
                meta("extension-apiserver-authentication", "kube-system"),
                meta("extension-apiserver-authentication", "shop"),
            ),
            (RBAC, "clusterroles", 124, labelled("kubernetes.io/bootstrapping", "rbac-defaults"), kept_role),
            ("scheduling.k8s.io", "priorityclasses", 125, meta("system-node-critical", ""), meta("high", "")),
            (
                FLOW,
                "flowschemas",
                126,
                annotated("apf.kubernetes.io/autoupdate-spec", "true"),
                annotated("apf.kubernetes.io/autoupdate-spec", "false"),
            ),
            ("networking.k8s.io", "servicecidrs", 127, meta("kubernetes", ""), meta("more", "")),
            (
                "apiregistration.k8s.io",
                "apiservices",
                128,
                labelled("kube-aggregator.kubernetes.io/automanaged", "onstart"),
                labelled("app", "metrics-server"),
            ),
            (
                "",
                "secrets",
                129,
                json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"name": "bootstrap-token-abcdef"}}),
                json!({"type": "Opaque", "metadata": {"name": "bootstrap-token-abcdef"}}),
            ),
            ("", "secrets", 130, token("ci-token-x7k2p"), token("ci-token")),
            (
                "discovery.k8s.io",
                "endpointslices",
                131,
                labelled("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
                labelled("endpointslice.kubernetes.io/managed-by", "me"),
            ),
            (
                "",
                "endpoints",
                132,
                labelled("endpoints.kubernetes.io/managed-by", "endpoint-controller"),
                labelled("app", "db"),
            ),
            (
                "",
                "pods",
                133,
                annotated("kubernetes.io/config.mirror", "h"),
                annotated("kubernetes.io/config.hash", "h"),
            ),
            (
                "",
                "pods",
                134,
                json!({"metadata": {"name": "a"}, "status": {"phase": "Failed"}}),
                json!({"metadata": {"name": "a"}, "status": {"phase": "Pending"}}),
            ),
            ("batch", "jobs", 135, job("Complete", "True"), job("Complete", "False")),
            ("batch", "jobs", 135, job("Failed", "True"), job("Suspended", "True")),
            ("", "persistentvolumeclaims", 136, owned("Pod", true), owned("StatefulSet", true)),
            ("resource.k8s.io", "resourceclaims", 136, owned("Pod", true), owned("Pod", false)),
            (
                "certificates.k8s.io",
                "clustertrustbundles",
                137,
                json!({"metadata": {"name": "a"}, "spec": {"signerName": "kubernetes.io/kube-apiserver-serving"}}),
                json!({"metadata": {"name": "a"}, "spec": {"signerName": "example.com/mine"}}),
            ),
        ];
        let mut seen = HashSet::new();
        for (group, plural, expected, skipped, restored) in cases {
            assert_eq!(number(group, plural, &skipped), Some(expected), "{skipped}");
            assert_eq!(number(group, plural, &restored), None, "{restored}");
            assert_eq!(number("example.com", "others", &skipped), (expected == 120).then_some(120), "{skipped}");
            seen.insert(expected);
        }
        let rules = SKIP_RULES.iter().filter(|rule| matches!(rule.which, Which::Objects(..)));
        assert!(rules.map(|rule| rule.number).all(|number| seen.contains(&number)));
    }

    #[test]
    fn endpoints_of_a_service_that_selects_pods() {
        let services = resource("", "services");
        let service = |namespace: &str, selector: Value| {
            json!({"metadata": {"name": "db", "namespace": namespace},
            "spec": {"selector": selector}})
        };
        let mut context = SkipContext::default();
        context.observe(&services, &service("shop", json!({"app": "db"})));
        context.observe(&services, &service("bare", json!({})));
        context.observe(&resource("example.com", "services"), &service("other", json!({"app": "db"})));
        for (namespace, expected) in [("shop", Some(132)), ("bare", None), ("other", None)] {
            let endpoints = json!({"metadata": {"name": "db", "namespace": namespace}});
            let rule = skip(&resource("", "endpoints"), &endpoints, &context);
            assert_eq!(rule.map(|rule| rule.number), expected, "{namespace}");
        }
    }

    #[test]
    fn names_of_generated_tokens() {
        for (secret, account, expected) in [
            ("default-token-x7k2p", "default", true),
            ("default-token-x7k2", "default", false),
            ("default-token-admin", "default", false),
            ("other-token-x7k2p", "default", false),
            ("-token-x7k2p", "", true),
        ] {
            assert_eq!(is_generated_token_name(secret, account), expected, "{secret}");
        }
    }
}
