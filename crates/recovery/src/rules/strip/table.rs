//! The rules, with their reasons and sources.

use super::super::field::{FieldRule, kinds, remove_all, text};
use super::super::prepare::Rewrite;
use super::super::service;
use super::{
    is_built_in, remove_annotations, rewrite_preserve_unknown_fields, rewrite_snapshot, rewrite_snapshot_content,
    strip_account_secrets, strip_job_selector, strip_metadata, strip_token, strip_token_volumes, strip_volume_name,
};

/// What of every object, or of its kind, is stripped or rewritten, in the order in which it is done.
pub const STRIP_RULES: &[FieldRule<Rewrite>] = &[
    FieldRule {
        number: 210,
        kinds: &[kinds::SERVICE],
        what: "spec.clusterIP and spec.clusterIPs, unless 'None', set by hand, or of a Service that is created in the \
               cluster and namespace that it was backed up from",
        reason: "given by the old API server; the target may have another range, or given them to others. They were \
                 set by hand if managedFields or kubectl's last applied configuration say so",
        source: "pkg/registry/core/service/storage/storage.go",
        act: service::strip_cluster_ips,
    },
    FieldRule {
        number: 211,
        kinds: &[kinds::SERVICE],
        what: "spec.ports[*].nodePort, unless set by hand or --keep-node-ports is given",
        reason: "as rule 210",
        source: "pkg/registry/core/service/storage/alloc.go",
        act: service::strip_node_ports,
    },
    FieldRule {
        number: 212,
        kinds: &[kinds::SERVICE],
        what: "spec.healthCheckNodePort, unless set by hand or --keep-node-ports is given",
        reason: "as rule 210",
        source: "pkg/registry/core/service/storage/alloc.go",
        act: service::strip_health_port,
    },
    FieldRule {
        number: 220,
        kinds: &[kinds::POD],
        what: "spec.nodeName",
        reason: "the scheduler chooses among the nodes of the target",
        source: "pkg/registry/core/pod/storage/storage.go",
        act: |object, _| remove_all(object, &[&["spec", "nodeName"]]),
    },
    FieldRule {
        number: 221,
        kinds: &[kinds::POD],
        what: "spec.priority and spec.preemptionPolicy (spec.priorityClassName stays)",
        reason: "computed of the PriorityClass; a pod that brings others is refused",
        source: "plugin/pkg/admission/priority/admission.go",
        act: |object, _| remove_all(object, &[&["spec", "priority"], &["spec", "preemptionPolicy"]]),
    },
    FieldRule {
        number: 222,
        kinds: &[kinds::POD],
        what: "volumes of generated token Secrets (rule 130), and their mounts",
        reason: "the Secret is not restored, and the pod would wait for it. The projected volumes kube-api-access-* \
                 stay: they name nothing of the old cluster, and admission takes them for its own",
        source: "plugin/pkg/admission/serviceaccount/admission.go",
        act: strip_token_volumes,
    },
    FieldRule {
        number: 223,
        kinds: &[kinds::POD],
        what: "spec.ephemeralContainers",
        reason: "a pod that brings some is refused; kubectl debug adds them to running pods",
        source: "ValidatePodCreate of pkg/apis/core/validation/validation.go",
        act: |object, _| remove_all(object, &[&["spec", "ephemeralContainers"]]),
    },
    FieldRule {
        number: 230,
        kinds: &[kinds::JOB],
        what: "the labels controller-uid and batch.kubernetes.io/controller-uid in spec.selector and spec.template, \
               unless spec.manualSelector is true",
        reason: "they hold the old Job's uid; a Job that brings another's is refused, and the API server sets them",
        source: "generateSelector of pkg/registry/batch/job/strategy.go",
        act: strip_job_selector,
    },
    FieldRule {
        number: 240,
        kinds: &[kinds::VOLUME],
        what: "spec.claimRef.uid and spec.claimRef.resourceVersion",
        reason: "the claim has a new uid; with the old one the volume would be Released. Without one it waits for the \
                 claim of that name",
        source: "syncVolume of pkg/controller/volume/persistentvolume/pv_controller.go",
        act: |object, _| remove_all(object, &[&["spec", "claimRef", "uid"], &["spec", "claimRef", "resourceVersion"]]),
    },
    FieldRule {
        number: 241,
        kinds: &[kinds::VOLUME],
        what: "the annotation pv.kubernetes.io/bound-by-controller",
        reason: "it says that the claim in claimRef may be taken out again; this one has to wait for it",
        source: "pkg/controller/volume/persistentvolume/pv_controller.go",
        act: |object, _| remove_annotations(object, &["pv.kubernetes.io/bound-by-controller"]),
    },
    FieldRule {
        number: 242,
        kinds: &[kinds::CLAIM],
        what: "the annotations pv.kubernetes.io/bind-completed, pv.kubernetes.io/bound-by-controller, \
               volume.kubernetes.io/storage-provisioner, volume.beta.kubernetes.io/storage-provisioner and \
               volume.kubernetes.io/selected-node",
        reason: "a claim that says it is bound to a volume which does not say the same is Lost; the rest is for the \
                 provisioner and names a node",
        source: "syncBoundClaim of pkg/controller/volume/persistentvolume/pv_controller.go",
        act: |object, _| {
            remove_annotations(
                object,
                &[
                    "pv.kubernetes.io/bind-completed",
                    "pv.kubernetes.io/bound-by-controller",
                    "volume.kubernetes.io/storage-provisioner",
                    "volume.beta.kubernetes.io/storage-provisioner",
                    "volume.kubernetes.io/selected-node",
                ],
            )
        },
    },
    FieldRule {
        number: 243,
        kinds: &[kinds::CLAIM],
        what: "spec.volumeName, where that volume is neither restored nor on the target",
        reason: "the claim would be Lost; without it, its class provisions a new, empty volume",
        source: "syncUnboundClaim of pkg/controller/volume/persistentvolume/pv_controller.go",
        act: strip_volume_name,
    },
    FieldRule {
        number: 244,
        kinds: &[kinds::SNAPSHOT_CONTENT],
        what: "spec.volumeSnapshotRef.uid and .resourceVersion; spec.source becomes the snapshotHandle of its status",
        reason: "with a volumeHandle the driver would take a new snapshot instead of finding the old one",
        source: "https://kubernetes.io/docs/concepts/storage/volume-snapshots/#static",
        act: rewrite_snapshot_content,
    },
    FieldRule {
        number: 245,
        kinds: &[kinds::SNAPSHOT],
        what: "spec.source becomes the volumeSnapshotContentName that its status names",
        reason: "with a claim as its source a new snapshot would be taken",
        source: "https://kubernetes.io/docs/concepts/storage/volume-snapshots/#static",
        act: rewrite_snapshot,
    },
    FieldRule {
        number: 250,
        kinds: &[kinds::SERVICE_ACCOUNT],
        what: "secrets[*] that name generated token Secrets (rule 130)",
        reason: "they are not restored",
        source: "pkg/controller/serviceaccount/tokens_controller.go of Kubernetes 1.23",
        act: strip_account_secrets,
    },
    FieldRule {
        number: 251,
        kinds: &[kinds::SECRET],
        what: "of Secrets of type kubernetes.io/service-account-token: the annotation \
               kubernetes.io/service-account.uid and the data token, ca.crt and namespace",
        reason: "the token is signed by the old cluster; the token controller deletes a Secret with another uid, and \
                 fills in what is missing",
        source: "pkg/controller/serviceaccount/tokens_controller.go",
        act: strip_token,
    },
    FieldRule {
        number: 260,
        kinds: &[kinds::CRD],
        what: "spec.preserveUnknownFields: true becomes x-kubernetes-preserve-unknown-fields: true in the schema of \
               each version",
        reason: "apiextensions.k8s.io/v1 refuses the old form, which objects made by v1beta1 still have",
        source: "staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go",
        act: rewrite_preserve_unknown_fields,
    },
    FieldRule {
        number: 290,
        kinds: &[],
        what: "status, of the groups that Kubernetes itself serves (brought back by --include-status)",
        reason: "controllers observe the target anew, and the API server takes no status with a new object. Of a \
                 custom resource it stays: without a status subresource it is a field like any other",
        source: "PrepareForCreate of each strategy under pkg/registry",
        act: |object, _| if is_built_in(object) { remove_all(object, &[&["status"]]) } else { Vec::new() },
    },
    FieldRule {
        number: 291,
        kinds: &[],
        what: "metadata.managedFields",
        reason: "records who wrote to the old server; what a restore writes is its own",
        source: "https://kubernetes.io/docs/reference/using-api/server-side-apply/",
        act: |object, _| strip_metadata(object, &["managedFields"]),
    },
    FieldRule {
        number: 292,
        kinds: &[],
        what: "metadata.uid and metadata.selfLink",
        reason: "the API server gives a new uid; as a precondition the old one would be refused",
        source: "staging/src/k8s.io/apiserver/pkg/registry/rest/create.go",
        act: |object, _| strip_metadata(object, &["uid", "selfLink"]),
    },
    FieldRule {
        number: 293,
        kinds: &[],
        what: "metadata.resourceVersion, metadata.generation and metadata.creationTimestamp",
        reason: "the API server refuses a new object with a resource version, and sets the others",
        source: "staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go",
        act: |object, _| strip_metadata(object, &["resourceVersion", "generation", "creationTimestamp"]),
    },
    FieldRule {
        number: 294,
        kinds: &[],
        what: "metadata.deletionTimestamp and metadata.deletionGracePeriodSeconds",
        reason: "the restored object is not being deleted",
        source: "staging/src/k8s.io/apiserver/pkg/registry/rest/create.go",
        act: |object, _| strip_metadata(object, &["deletionTimestamp", "deletionGracePeriodSeconds"]),
    },
    FieldRule {
        number: 295,
        kinds: &[],
        what: "metadata.generateName, where there is a name",
        reason: "it means nothing beside a name, and some API servers answer that a name is taken as if they had \
                 generated it, with an advice to try again",
        source: "CheckGeneratedNameError of staging/src/k8s.io/apiserver/pkg/registry/rest/create.go",
        act: |object, _| {
            let named = text(object, &["metadata", "name"]).is_some_and(|name| !name.is_empty());
            if named { strip_metadata(object, &["generateName"]) } else { Vec::new() }
        },
    },
];
