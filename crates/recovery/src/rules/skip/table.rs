//! The rules, with their reasons and sources.

use serde_json::Value;

use super::super::field::{get, kinds, list, text};
use super::super::owners::controller;
use super::{SkipRule, Which, annotation, is_generated_token_name, is_token_secret, label, name, namespace};

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
            controller(object).is_some_and(|owner| {
                text(owner, &["kind"]) == Some("Pod") && text(owner, &["apiVersion"]) == Some("v1")
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
