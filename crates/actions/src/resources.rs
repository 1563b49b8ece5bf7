//! The resources that actions know.

use lifeboat_model::ResourceType;

/// A resource of the API, at the version that every supported cluster serves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
}

const fn of(group: &'static str, resource: &'static str, kind: &'static str) -> Resource {
    Resource { group, version: "v1", resource, kind, namespaced: true }
}

const fn of_cluster(group: &'static str, resource: &'static str, kind: &'static str) -> Resource {
    Resource { group, version: "v1", resource, kind, namespaced: false }
}

const RBAC: &str = "rbac.authorization.k8s.io";

pub(crate) static POD: Resource = of("", "pods", "Pod");
pub(crate) static NAMESPACE: Resource = of_cluster("", "namespaces", "Namespace");
pub(crate) static RESOURCE_QUOTA: Resource = of("", "resourcequotas", "ResourceQuota");
pub(crate) static NODE: Resource = of_cluster("", "nodes", "Node");
pub(crate) static EVENT: Resource = of("", "events", "Event");
pub(crate) static SECRET: Resource = of("", "secrets", "Secret");
pub(crate) static SERVICE: Resource = of("", "services", "Service");
pub(crate) static SERVICE_ACCOUNT: Resource = of("", "serviceaccounts", "ServiceAccount");
pub(crate) static NETWORK_POLICY: Resource = of("networking.k8s.io", "networkpolicies", "NetworkPolicy");
pub(crate) static DEPLOYMENT: Resource = of("apps", "deployments", "Deployment");
pub(crate) static REPLICA_SET: Resource = of("apps", "replicasets", "ReplicaSet");
pub(crate) static STATEFUL_SET: Resource = of("apps", "statefulsets", "StatefulSet");
pub(crate) static DAEMON_SET: Resource = of("apps", "daemonsets", "DaemonSet");
pub(crate) static CONTROLLER_REVISION: Resource = of("apps", "controllerrevisions", "ControllerRevision");
pub(crate) static JOB: Resource = of("batch", "jobs", "Job");
pub(crate) static CRON_JOB: Resource = of("batch", "cronjobs", "CronJob");
pub(crate) static ROLE: Resource = of(RBAC, "roles", "Role");
pub(crate) static ROLE_BINDING: Resource = of(RBAC, "rolebindings", "RoleBinding");
pub(crate) static CLUSTER_ROLE: Resource = of_cluster(RBAC, "clusterroles", "ClusterRole");
pub(crate) static CLUSTER_ROLE_BINDING: Resource = of_cluster(RBAC, "clusterrolebindings", "ClusterRoleBinding");
pub(crate) static DISRUPTION_BUDGET: Resource = of("policy", "poddisruptionbudgets", "PodDisruptionBudget");
pub(crate) static AUTOSCALER: Resource =
    Resource { version: "v2", ..of("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler") };

/// Those that can be targets, owners or evidence.
static KNOWN: [&Resource; 19] = [
    &POD,
    &NAMESPACE,
    &NODE,
    &EVENT,
    &SERVICE,
    &SERVICE_ACCOUNT,
    &NETWORK_POLICY,
    &DEPLOYMENT,
    &REPLICA_SET,
    &STATEFUL_SET,
    &DAEMON_SET,
    &JOB,
    &CRON_JOB,
    &ROLE,
    &ROLE_BINDING,
    &CLUSTER_ROLE,
    &CLUSTER_ROLE_BINDING,
    &DISRUPTION_BUDGET,
    &AUTOSCALER,
];

impl Resource {
    /// The resource of a kind, if it is known here.
    pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        KNOWN.into_iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// Whether objects of a resource live in namespaces; those not known here do.
    pub(crate) fn is_of_cluster(group: &str, resource: &str) -> bool {
        let reviews = ["tokenreviews", "subjectaccessreviews"];
        reviews.contains(&resource)
            || KNOWN.into_iter().any(|known| !known.namespaced && known.group == group && known.resource == resource)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn resource_type(&self) -> ResourceType {
        ResourceType {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            resource: self.resource.to_owned(),
            kind: self.kind.to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: self.namespaced,
        }
    }
}
