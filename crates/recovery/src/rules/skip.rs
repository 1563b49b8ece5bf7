//! What is not restored: what belongs to the old servers and nodes, what controllers and API servers make by
//! themselves, and what was over.

use std::collections::HashSet;

use lifeboat_model::ResourceType;
use serde_json::Value;

use super::field::{Kind, get, kinds, list, text};

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

/// What is not restored.
pub const SKIP_RULES: &[SkipRule] = &[
    SkipRule {
        number: 101,
        what: "Nodes",
        reason: "each kubelet registers its own",
        source: "pkg/kubelet/kubelet_node_status.go",
        which: Which::Types(&[("", "nodes")]),
    },
    SkipRule {
        number: 102,
        what: "Events, of both groups",
        reason: "they tell of the old cluster, and expire",
        source: "pkg/registry/core/event/storage/storage.go",
        which: Which::Types(&[("", "events"), ("events.k8s.io", "events")]),
    },
    SkipRule {
        number: 103,
        what: "Leases and LeaseCandidates",
        reason: "whoever holds one renews it; an old one only delays the next holder",
        source: "https://kubernetes.io/docs/concepts/architecture/leases/",
        which: Which::Types(&[("coordination.k8s.io", "leases"), ("coordination.k8s.io", "leasecandidates")]),
    },
    SkipRule {
        number: 104,
        what: "CSINodes, VolumeAttachments and CSIStorageCapacities",
        reason: "kubelets, the attach controller and the drivers write what holds for their nodes",
        source: "pkg/volume/csi/nodeinfomanager/nodeinfomanager.go, pkg/controller/volume/attachdetach",
        which: Which::Types(&[
            ("storage.k8s.io", "csinodes"),
            ("storage.k8s.io", "volumeattachments"),
            ("storage.k8s.io", "csistoragecapacities"),
        ]),
    },
    SkipRule {
        number: 105,
        what: "ResourceSlices",
        reason: "drivers publish what their nodes have",
        source: "staging/src/k8s.io/dynamic-resource-allocation/resourceslice",
        which: Which::Types(&[("resource.k8s.io", "resourceslices")]),
    },
    SkipRule {
        number: 106,
        what: "IPAddresses",
        reason: "the API server makes one for each cluster IP that it gives",
        source: "pkg/registry/core/service/ipallocator/ipallocator.go",
        which: Which::Types(&[("networking.k8s.io", "ipaddresses")]),
    },
    SkipRule {
        number: 107,
        what: "StorageVersions",
        reason: "each API server writes its own",
        source: "staging/src/k8s.io/apiserver/pkg/storageversion/manager.go",
        which: Which::Types(&[("internal.apiserver.k8s.io", "storageversions")]),
    },
    SkipRule {
        number: 108,
        what: "CertificateSigningRequests and PodCertificateRequests",
        reason: "a request to the old signers, or its answer; approving an old one again would be a hole",
        source: "pkg/controller/certificates/cleaner/cleaner.go",
        which: Which::Types(&[
            ("certificates.k8s.io", "certificatesigningrequests"),
            ("certificates.k8s.io", "podcertificaterequests"),
        ]),
    },
    SkipRule {
        number: 109,
        what: "ComponentStatuses",
        reason: "computed when asked for",
        source: "pkg/registry/core/componentstatus/rest.go",
        which: Which::Types(&[("", "componentstatuses")]),
    },
    SkipRule {
        number: 110,
        what: "everything in the groups metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io",
        reason: "measured when asked for",
        source: "https://github.com/kubernetes/metrics",
        which: Which::Types(&[
            ("metrics.k8s.io", "*"),
            ("custom.metrics.k8s.io", "*"),
            ("external.metrics.k8s.io", "*"),
        ]),
    },
    SkipRule {
        number: 111,
        what: "CiliumEndpoints, CiliumNodes and CiliumIdentities",
        reason: "Cilium's agents and operator make them from pods and nodes",
        source: "https://docs.cilium.io/en/stable/network/kubernetes/concepts/",
        which: Which::Types(&[
            ("cilium.io", "ciliumendpoints"),
            ("cilium.io", "ciliumnodes"),
            ("cilium.io", "ciliumidentities"),
        ]),
    },
    SkipRule {
        number: 112,
        what: "StorageVersionMigrations",
        reason: "an order to rewrite the old cluster's storage, which would be carried out again",
        source: "pkg/controller/storageversionmigrator/storageversionmigrator.go",
        which: Which::Types(&[("storagemigration.k8s.io", "storageversionmigrations")]),
    },
    SkipRule {
        number: 120,
        what: "objects that were being deleted (metadata.deletionTimestamp is set)",
        reason: "somebody wanted them gone",
        source: "staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go",
        which: Which::Objects(&[], |object, _| {
            get(object, &["metadata", "deletionTimestamp"]).is_some_and(Value::is_string)
        }),
    },
    SkipRule {
        number: 121,
        what: "the Service 'kubernetes' in namespace default, its Endpoints and its EndpointSlice",
        reason: "the API server makes and corrects them",
        source: "pkg/controlplane/controller/kubernetesservice/controller.go, pkg/controlplane/reconcilers",
        which: Which::Objects(&[kinds::SERVICE, kinds::ENDPOINTS, kinds::ENDPOINT_SLICE], |object, _| {
            namespace(object) == "default" && name(object) == "kubernetes"
        }),
    },
    SkipRule {
        number: 122,
        what: "the ConfigMap 'kube-root-ca.crt' of each namespace",
        reason: "the controller manager publishes the target's own CA there",
        source: "pkg/controller/certificates/rootcacertpublisher/publisher.go",
        which: Which::Objects(&[kinds::CONFIG_MAP], |object, _| name(object) == "kube-root-ca.crt"),
    },
    SkipRule {
        number: 123,
        what: "the ConfigMaps 'extension-apiserver-authentication' and \
               'kube-apiserver-legacy-service-account-token-tracking' in namespace kube-system",
        reason: "the API server writes its own CAs and dates there; old CAs would be trusted by aggregated servers",
        source: "pkg/controlplane/controller/clusterauthenticationtrust, \
                 pkg/controlplane/controller/legacytokentracking",
        which: Which::Objects(&[kinds::CONFIG_MAP], |object, _| {
            let names = ["extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"];
            namespace(object) == "kube-system" && names.contains(&name(object))
        }),
    },
    SkipRule {
        number: 124,
        what: "roles and bindings labelled kubernetes.io/bootstrapping, unless their annotation \
               rbac.authorization.kubernetes.io/autoupdate is 'false'",
        reason: "the API server makes them as its version wants them, and leaves alone only those with 'false'",
        source: "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go, pkg/registry/rbac/rest/storage_rbac.go",
        which: Which::Objects(
            &[kinds::ROLE, kinds::CLUSTER_ROLE, kinds::ROLE_BINDING, kinds::CLUSTER_ROLE_BINDING],
            |object, _| {
                label(object, "kubernetes.io/bootstrapping").is_some()
                    && annotation(object, "rbac.authorization.kubernetes.io/autoupdate") != Some("false")
            },
        ),
    },
    SkipRule {
        number: 125,
        what: "PriorityClasses whose name begins with 'system-'",
        reason: "the API server makes them, and nobody else may use the prefix",
        source: "pkg/registry/scheduling/rest/storage_scheduling.go",
        which: Which::Objects(&[kinds::PRIORITY_CLASS], |object, _| name(object).starts_with("system-")),
    },
    SkipRule {
        number: 126,
        what: "FlowSchemas and PriorityLevelConfigurations with the annotation apf.kubernetes.io/autoupdate-spec: \
               'true'",
        reason: "the API server makes them as its version wants them, and deletes such that it does not know",
        source: "pkg/registry/flowcontrol/ensurer/strategy.go",
        which: Which::Objects(&[kinds::FLOW_SCHEMA, kinds::PRIORITY_LEVEL], |object, _| {
            annotation(object, "apf.kubernetes.io/autoupdate-spec") == Some("true")
        }),
    },
    SkipRule {
        number: 127,
        what: "the ServiceCIDR 'kubernetes'",
        reason: "the API server makes it of its own flags",
        source: "pkg/controlplane/controller/defaultservicecidr/default_servicecidr_controller.go",
        which: Which::Objects(&[kinds::SERVICE_CIDR], |object, _| name(object) == "kubernetes"),
    },
    SkipRule {
        number: 128,
        what: "APIServices labelled kube-aggregator.kubernetes.io/automanaged",
        reason: "the API server registers its own groups and those of custom resources",
        source: "staging/src/k8s.io/kube-aggregator/pkg/controllers/autoregister/autoregister_controller.go",
        which: Which::Objects(&[kinds::API_SERVICE], |object, _| {
            label(object, "kube-aggregator.kubernetes.io/automanaged").is_some()
        }),
    },
    SkipRule {
        number: 129,
        what: "Secrets of type bootstrap.kubernetes.io/token",
        reason: "they let nodes join, for some hours; one that expired or was revoked must not come back",
        source: "https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/",
        which: Which::Objects(&[kinds::SECRET], |object, _| {
            text(object, &["type"]) == Some("bootstrap.kubernetes.io/token")
        }),
    },
    SkipRule {
        number: 130,
        what: "Secrets of type kubernetes.io/service-account-token named ACCOUNT-token-XXXXX",
        reason: "made by the token controller before Kubernetes 1.24; such a token is signed by the old cluster's key",
        source: "pkg/controller/serviceaccount/tokens_controller.go of Kubernetes 1.23",
        which: Which::Objects(&[kinds::SECRET], |object, _| {
            let account = annotation(object, "kubernetes.io/service-account.name").unwrap_or_default();
            is_token_secret(object) && is_generated_token_name(name(object), account)
        }),
    },
    SkipRule {
        number: 131,
        what: "EndpointSlices whose label endpointslice.kubernetes.io/managed-by names a controller of Kubernetes",
        reason: "their controller makes them again; those made by hand or by others are restored",
        source: "staging/src/k8s.io/api/discovery/v1/well_known_labels.go",
        which: Which::Objects(&[kinds::ENDPOINT_SLICE], |object, _| {
            let controllers = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
            label(object, "endpointslice.kubernetes.io/managed-by").is_some_and(|by| controllers.contains(&by))
        }),
    },
    SkipRule {
        number: 132,
        what: "Endpoints labelled endpoints.kubernetes.io/managed-by: endpoint-controller, or whose Service has a \
               selector",
        reason: "the endpoints controller makes them again; the old ones point at pods that are gone",
        source: "pkg/controller/endpoint/endpoints_controller.go",
        which: Which::Objects(&[kinds::ENDPOINTS], |object, context| {
            label(object, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller")
                || context.selecting.contains(&(namespace(object).to_owned(), name(object).to_owned()))
        }),
    },
    SkipRule {
        number: 133,
        what: "mirror pods (annotation kubernetes.io/config.mirror)",
        reason: "a kubelet's picture of a static pod in its own folder",
        source: "pkg/kubelet/pod/mirror_client.go",
        which: Which::Objects(&[kinds::POD], |object, _| annotation(object, "kubernetes.io/config.mirror").is_some()),
    },
    SkipRule {
        number: 134,
        what: "Pods that have Succeeded or Failed",
        reason: "a restored pod would run again",
        source: "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
        which: Which::Objects(&[kinds::POD], |object, _| {
            matches!(text(object, &["status", "phase"]), Some("Succeeded" | "Failed"))
        }),
    },
    SkipRule {
        number: 135,
        what: "Jobs that are Complete or have Failed",
        reason: "a restored Job would run again",
        source: "https://kubernetes.io/docs/concepts/workloads/controllers/job/",
        which: Which::Objects(&[kinds::JOB], |object, _| {
            list(object, &["status", "conditions"]).iter().any(|condition| {
                matches!(text(condition, &["type"]), Some("Complete" | "Failed"))
                    && text(condition, &["status"]) == Some("True")
            })
        }),
    },
    SkipRule {
        number: 136,
        what: "PersistentVolumeClaims and ResourceClaims that a Pod controls",
        reason: "made for one pod's ephemeral volumes and claim templates, and again for its successor; one that is \
                 not owned by the new pod would keep it from starting",
        source: "pkg/controller/volume/ephemeral/controller.go, pkg/controller/resourceclaim/controller.go",
        which: Which::Objects(&[kinds::CLAIM, kinds::RESOURCE_CLAIM], |object, _| {
            list(object, &["metadata", "ownerReferences"]).iter().any(|owner| {
                text(owner, &["kind"]) == Some("Pod")
                    && text(owner, &["apiVersion"]) == Some("v1")
                    && get(owner, &["controller"]) == Some(&Value::Bool(true))
            })
        }),
    },
    SkipRule {
        number: 137,
        what: "ClusterTrustBundles of the signer kubernetes.io/kube-apiserver-serving",
        reason: "the controller manager publishes the target's own CA there",
        source: "pkg/controller/certificates/clustertrustbundlepublisher/publisher.go",
        which: Which::Objects(&[kinds::TRUST_BUNDLE], |object, _| {
            text(object, &["spec", "signerName"]) == Some("kubernetes.io/kube-apiserver-serving")
        }),
    },
];

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
