//! Traffic that is still allowed for a pod after its labels were changed.
//!
//! Network policies only add: what any of them allows is allowed, so that a policy which denies everything does nothing
//! against one that still selects the pod.
//! Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use serde_json::Value;

use super::selects;
use crate::fields::{Labels, items, name, text};

/// Traffic that a policy lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Residual {
    /// The policy's name.
    pub(crate) policy: String,
    /// `ingress` or `egress`.
    pub(crate) direction: &'static str,
    /// The rule, in words.
    pub(crate) rule: String,
}

impl std::fmt::Display for Residual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkPolicy {} still allows {} {}", self.policy, self.direction, self.rule)
    }
}

/// What the policies of its namespace still allow a pod with those labels.
pub(crate) fn residual(policies: &[Value], labels: &Labels) -> Vec<Residual> {
    let empty = Value::Null;
    let selecting =
        policies.iter().filter(|policy| selects(policy.pointer("/spec/podSelector").unwrap_or(&empty), labels));
    let mut found = Vec::new();
    for policy in selecting {
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            if !is_about(policy, direction) {
                continue;
            }
            let rules = items(policy, &format!("/spec/{direction}"));
            found.extend(rules.map(|rule| Residual {
                policy: name(policy).to_owned(),
                direction,
                rule: words(rule, peers),
            }));
        }
    }
    found
}

/// Whether a policy says anything of a direction. Without `policyTypes` it does of ingress, and of egress if it has
/// rules for it.
fn is_about(policy: &Value, direction: &str) -> bool {
    let mut types = items(policy, "/spec/policyTypes").filter_map(Value::as_str).peekable();
    if types.peek().is_none() {
        return direction == "ingress" || items(policy, "/spec/egress").next().is_some();
    }
    types.any(|kind| kind.eq_ignore_ascii_case(direction))
}

/// `from namespaces {"team":"a"} on TCP 80, 443`.
fn words(rule: &Value, preposition: &str) -> String {
    let peers: Vec<String> = items(rule, &format!("/{preposition}")).map(peer).collect();
    let ports: Vec<String> = items(rule, "/ports").map(port).collect();
    let peers = if peers.is_empty() { "anywhere".to_owned() } else { peers.join(" or ") };
    let ports = if ports.is_empty() { "every port".to_owned() } else { ports.join(", ") };
    format!("{preposition} {peers} on {ports}")
}

fn peer(peer: &Value) -> String {
    if let Some(block) = peer.get("ipBlock") {
        return format!("addresses {block}");
    }
    match (peer.get("namespaceSelector"), peer.get("podSelector")) {
        (Some(namespaces), Some(pods)) => format!("pods {pods} of namespaces {namespaces}"),
        (Some(namespaces), None) => format!("all pods of namespaces {namespaces}"),
        (None, Some(pods)) => format!("pods {pods} of the same namespace"),
        (None, None) => peer.to_string(),
    }
}

fn port(port: &Value) -> String {
    let protocol = Some(text(port, "/protocol")).filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
    match (port.get("port"), port.get("endPort")) {
        (Some(first), Some(last)) => format!("{protocol} {first}-{last}"),
        (Some(one), None) => format!("{protocol} {one}"),
        (None, _) => format!("every {protocol} port"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEYS: [&str; 3] = ["app", "tier", "lifeboat.dev/quarantine"];
    const VALUES: [&str; 3] = ["a", "b", "c"];

    fn labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map(
            proptest::sample::select(&KEYS[..]).prop_map(str::to_owned),
            proptest::sample::select(&VALUES[..]).prop_map(str::to_owned),
            0..3,
        )
    }

    fn selector() -> impl Strategy<Value = Value> {
        let expression = (
            proptest::sample::select(&KEYS[..]),
            proptest::sample::select(&["In", "NotIn", "Exists", "DoesNotExist"][..]),
            proptest::collection::vec(proptest::sample::select(&VALUES[..]), 1..3),
        )
            .prop_map(|(key, operator, values)| {
                let takes_values = operator.ends_with("In");
                json!({"key": key, "operator": operator, "values": if takes_values { values } else { Vec::new() }})
            });
        (labels(), proptest::collection::vec(expression, 0..2))
            .prop_map(|(labels, expressions)| json!({"matchLabels": labels, "matchExpressions": expressions}))
    }

    fn rules(peers: &'static str) -> impl Strategy<Value = Value> {
        let peer = prop_oneof![
            Just(json!({"ipBlock": {"cidr": "10.0.0.0/8"}})),
            selector().prop_map(|pods| json!({"podSelector": pods})),
        ];
        let rule =
            (proptest::collection::vec(peer, 0..2), proptest::option::of(0_u16..3)).prop_map(move |(found, port)| {
                let ports: Vec<Value> = port.into_iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
                json!({peers: found, "ports": ports})
            });
        proptest::collection::vec(rule, 0..3).prop_map(Value::from)
    }

    fn policy() -> impl Strategy<Value = Value> {
        let types = proptest::sample::select(vec![vec![], vec!["Ingress"], vec!["Egress"], vec!["Ingress", "Egress"]]);
        (selector(), types, rules("from"), rules("to")).prop_map(|(selector, types, ingress, egress)| {
            let spec = json!({"podSelector": selector, "policyTypes": types, "ingress": ingress, "egress": egress});
            json!({"metadata": {"name": "p"}, "spec": spec})
        })
    }

    /// Another writing of the same rules, connection by connection: the reference.
    mod model {
        use super::*;

        /// One end of a connection: a pod of the namespace, or an address outside.
        pub(super) enum Other<'a> {
            Pod(&'a Labels),
            Address,
        }

        fn selected(selector: &Value, labels: &Labels) -> bool {
            for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
                if labels.get(key).map(String::as_str) != value.as_str() {
                    return false;
                }
            }
            for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
                let value = labels.get(expression["key"].as_str().unwrap());
                let values: Vec<&str> =
                    expression["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
                let met = match (expression["operator"].as_str().unwrap(), value) {
                    ("In", Some(value)) => values.contains(&value.as_str()),
                    ("NotIn", Some(value)) => !values.contains(&value.as_str()),
                    ("Exists", value) => value.is_some(),
                    ("DoesNotExist", value) => value.is_none(),
                    ("NotIn", None) => true,
                    _ => false,
                };
                if !met {
                    return false;
                }
            }
            true
        }

        /// Whether a connection of a pod with `labels`, to which a policy that denies everything applies, gets through.
        pub(super) fn passes(policies: &[Value], labels: &Labels, inward: bool, other: &Other<'_>, port: u64) -> bool {
            policies.iter().any(|policy| {
                let spec = &policy["spec"];
                let types = spec["policyTypes"].as_array().unwrap();
                let (rules, peers, kind) =
                    if inward { ("ingress", "from", "Ingress") } else { ("egress", "to", "Egress") };
                let rules = spec[rules].as_array().unwrap();
                let counts = if types.is_empty() { inward || !rules.is_empty() } else { types.contains(&kind.into()) };
                counts
                    && selected(&spec["podSelector"], labels)
                    && rules.iter().any(|rule| {
                        let peers = rule[peers].as_array().unwrap();
                        let ports = rule["ports"].as_array().unwrap();
                        let from = peers.is_empty()
                            || peers.iter().any(|peer| match other {
                                Other::Pod(labels) => {
                                    peer.get("podSelector").is_some_and(|selector| selected(selector, labels))
                                }
                                Other::Address => peer.get("ipBlock").is_some(),
                            });
                        from && (ports.is_empty() || ports.iter().any(|found| found["port"] == port))
                    })
            })
        }
    }

    proptest! {
        /// Nothing gets through where nothing is said to.
        #[test]
        fn without_residual_traffic_no_connection_passes(
            policies in proptest::collection::vec(policy(), 0..4),
            own in labels(),
            others in proptest::collection::vec(labels(), 1..4),
        ) {
            let found = residual(&policies, &own);
            for inward in [true, false] {
                let direction = if inward { "ingress" } else { "egress" };
                let told = found.iter().any(|residual| residual.direction == direction);
                let ends = others.iter().map(model::Other::Pod).chain([model::Other::Address]);
                for other in ends {
                    for port in 0..4 {
                        let passes = model::passes(&policies, &own, inward, &other, port);
                        prop_assert!(told || !passes, "{direction} passes on {port} and is not told");
                    }
                }
            }
        }

        /// What is told is there: a rule of a policy that selects the pod.
        #[test]
        fn only_rules_of_policies_that_select_the_pod_are_told(policy in policy(), own in labels()) {
            let found = residual(std::slice::from_ref(&policy), &own);
            let selected = selects(&policy["spec"]["podSelector"], &own);
            let rules = policy["spec"]["ingress"].as_array().unwrap().len() + policy["spec"]["egress"].as_array().unwrap().len();
            prop_assert!(selected || found.is_empty());
            prop_assert!(found.len() <= rules);
        }
    }

    #[test]
    fn residual_traffic_is_told_in_words() {
        let policy = json!({"metadata": {"name": "dns"}, "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"protocol": "UDP", "port": 53}]}],
        }});
        let found = residual(&[policy], &Labels::new());
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [r#"NetworkPolicy dns still allows egress to all pods of namespaces {"matchLabels":{"a":"b"}} on UDP 53"#]
        );
    }
}
