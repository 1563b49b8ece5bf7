//! Differences between index and restored etcd that are no findings. Each needs a proof: a revision, or the very object
//! that the API server is known to write by itself.

use lifeboat_model::ObjectKey;
use serde_json::Value;

/// A rule that explains a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its number, quoted in reports.
    pub number: u32,
    /// What it explains.
    pub what: &'static str,
    /// How it is known.
    pub proof: &'static str,
}

/// Every rule. Numbers are never used again.
pub const RULES: &[Rule] = &[
    Rule {
        number: 1,
        what: "written after its list was taken, and in the snapshot",
        proof: "its restored resourceVersion is later than that of the list, and not later than the snapshot",
    },
    Rule {
        number: 2,
        what: "deleted after its list was taken",
        proof: "the snapshot has the deletion, later than the list",
    },
    Rule { number: 3, what: "not captured by the backup, which says so", proof: "the coverage has the gap" },
    Rule { number: 4, what: "leases, which their holders renew", proof: WRITTEN },
    Rule {
        number: 5,
        what: "configmap extension-apiserver-authentication of kube-system, with the API server's own authorities",
        proof: WRITTEN,
    },
    Rule { number: 6, what: "RBAC labelled kubernetes.io/bootstrapping", proof: WRITTEN },
    Rule {
        number: 7,
        what: "FlowSchemas and PriorityLevelConfigurations that are kept up to date by the API server",
        proof: WRITTEN,
    },
    Rule { number: 8, what: "APIServices that the API server registers by itself", proof: WRITTEN },
    Rule {
        number: 9,
        what: "service kubernetes of namespace default, its endpoints, the ServiceCIDR kubernetes and its addresses",
        proof: WRITTEN,
    },
    Rule { number: 10, what: "the namespaces and PriorityClasses that every cluster has", proof: WRITTEN },
    Rule { number: 11, what: "events", proof: WRITTEN },
    Rule {
        number: 12,
        what: "the node of the drill's cluster of kind: its node, CSINode, and the pods of its control plane",
        proof: WRITTEN,
    },
];

const WRITTEN: &str = "its restored resourceVersion is later than the boot of etcd: the drill's API server wrote it";

/// The rules' numbers, by name.
pub(super) const AFTER_LIST: u32 = 1;
pub(super) const DELETED: u32 = 2;
pub(super) const GAP: u32 = 3;
const NODE: u32 = 12;

/// Whether it is what the kubelet of that node registers: itself, and pods that it has from files.
///
/// Source: `kubetypes.ConfigSourceAnnotationKey` of `k8s.io/kubernetes/pkg/kubelet/types`.
fn is_of_node(key: &ObjectKey, object: &Value, node: &str) -> bool {
    match (key.group.as_str(), key.resource.as_str()) {
        ("", "nodes") | ("storage.k8s.io", "csinodes") => key.name == node,
        ("", "pods") => {
            let source = object.pointer("/metadata/annotations/kubernetes.io~1config.source").and_then(Value::as_str);
            source == Some("file") && object.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node)
        }
        _ => false,
    }
}

/// The rule for an object that the drill's API server wrote, if it is one that an API server writes by itself, or that
/// the kubelet of `node` registers.
pub(super) fn own_write(key: &ObjectKey, object: &Value, node: Option<&str>) -> Option<u32> {
    if node.is_some_and(|node| is_of_node(key, object, node)) {
        return Some(NODE);
    }
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let name = key.name.as_str();
    let marked = |kind: &str, mark: &str| {
        object.pointer(&format!("/metadata/{kind}")).and_then(|marks| marks.get(mark)).is_some()
    };
    let parent = |member: &str| object.pointer("/spec/parentRef")?.get(member)?.as_str();
    match (key.group.as_str(), key.resource.as_str()) {
        ("coordination.k8s.io", "leases") => Some(4),
        ("", "configmaps") if (namespace, name) == ("kube-system", "extension-apiserver-authentication") => Some(5),
        ("rbac.authorization.k8s.io", _) if marked("labels", "kubernetes.io/bootstrapping") => Some(6),
        ("flowcontrol.apiserver.k8s.io", _) if marked("annotations", "apf.kubernetes.io/autoupdate-spec") => Some(7),
        ("apiregistration.k8s.io", "apiservices") if marked("labels", "kube-aggregator.kubernetes.io/automanaged") => {
            Some(8)
        }
        ("", "services" | "endpoints") | ("discovery.k8s.io", "endpointslices")
            if (namespace, name) == ("default", "kubernetes") =>
        {
            Some(9)
        }
        ("networking.k8s.io", "servicecidrs") if name == "kubernetes" => Some(9),
        ("networking.k8s.io", "ipaddresses")
            if parent("namespace") == Some("default") && parent("name") == Some("kubernetes") =>
        {
            Some(9)
        }
        ("", "namespaces") if ["default", "kube-node-lease", "kube-public", "kube-system"].contains(&name) => Some(10),
        ("scheduling.k8s.io", "priorityclasses")
            if ["system-cluster-critical", "system-node-critical"].contains(&name) =>
        {
            Some(10)
        }
        ("" | "events.k8s.io", "events") => Some(11),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_counted_up() {
        assert!(RULES.iter().zip(1..).all(|(rule, number)| rule.number == number));
    }

    #[test]
    fn only_what_api_servers_write_is_theirs() {
        let rule = |group: &str, resource: &str, namespace: &str, name: &str, object: Value| {
            let key = ObjectKey {
                group: group.to_owned(),
                version: "v1".to_owned(),
                resource: resource.to_owned(),
                namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                name: name.to_owned(),
            };
            own_write(&key, &object, Some("kind-node"))
        };
        let none = json!({});
        assert_eq!(rule("", "configmaps", "kube-system", "extension-apiserver-authentication", none.clone()), Some(5));
        assert_eq!(rule("", "configmaps", "shop", "extension-apiserver-authentication", none.clone()), None);
        let labelled = json!({"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}});
        assert_eq!(rule("rbac.authorization.k8s.io", "clusterroles", "", "admin", labelled.clone()), Some(6));
        assert_eq!(rule("rbac.authorization.k8s.io", "clusterroles", "", "admin", none.clone()), None);
        assert_eq!(rule("", "secrets", "shop", "db", labelled), None);
        assert_eq!(rule("", "services", "default", "kubernetes", none.clone()), Some(9));
        assert_eq!(rule("", "services", "default", "web", none.clone()), None);
        assert_eq!(rule("", "nodes", "", "kind-node", none.clone()), Some(12));
        assert_eq!(rule("", "nodes", "", "other", none.clone()), None);
        let pod = |source: &str, node: &str| json!({"metadata": {"annotations": {"kubernetes.io/config.source": source}}, "spec": {"nodeName": node}});
        assert_eq!(rule("", "pods", "kube-system", "etcd-kind-node", pod("file", "kind-node")), Some(12));
        assert_eq!(rule("", "pods", "kube-system", "etcd-kind-node", pod("file", "other")), None);
        assert_eq!(rule("", "pods", "shop", "web", pod("api", "kind-node")), None);
    }
}
