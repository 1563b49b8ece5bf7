//! The order of a restore.

use lifeboat_model::ResourceType;

use super::field::{Kind, kinds};

/// Resources that are restored together, after all of the waves before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// Its place.
    pub number: u8,
    /// What to call it.
    pub name: &'static str,
    /// Its resources; none stands for all that no other wave has.
    pub kinds: &'static [Kind],
    /// Why it stands there.
    pub reason: &'static str,
}

impl Wave {
    /// Whether its objects, once there, may alter or refuse whatever else is written: what is still to be written to
    /// other objects has to be done before.
    pub fn may_refuse(&self) -> bool {
        self.kinds.iter().any(|kind| kind.group == "admissionregistration.k8s.io")
    }
}

/// The waves, in order.
pub const WAVES: &[Wave] = &[
    Wave {
        number: 1,
        name: "custom resource definitions",
        kinds: &[kinds::CRD],
        reason: "their objects cannot be created before they are established",
    },
    Wave {
        number: 2,
        name: "namespaces",
        kinds: &[kinds::NAMESPACE],
        reason: "everything in them needs them, and not Terminating",
    },
    Wave {
        number: 3,
        name: "classes",
        kinds: &[
            kinds::STORAGE_CLASS,
            kinds::ATTRIBUTES_CLASS,
            kinds::CSI_DRIVER,
            kinds::PRIORITY_CLASS,
            kinds::RUNTIME_CLASS,
            kinds::INGRESS_CLASS,
            kinds::DEVICE_CLASS,
            kinds::SERVICE_CIDR,
        ],
        reason: "admission looks up the classes of pods and claims, and a kept cluster IP needs its range",
    },
    Wave {
        number: 4,
        name: "volume snapshot classes",
        kinds: &[kinds::SNAPSHOT_CLASS],
        reason: "named by the contents and snapshots that follow",
    },
    Wave {
        number: 5,
        name: "volume snapshot contents",
        kinds: &[kinds::SNAPSHOT_CONTENT],
        reason: "each snapshot names its content",
    },
    Wave { number: 6, name: "volume snapshots", kinds: &[kinds::SNAPSHOT], reason: "claims may be filled from them" },
    Wave {
        number: 7,
        name: "persistent volumes",
        kinds: &[kinds::VOLUME],
        reason: "a claim whose volume is missing is provisioned anew, or lost",
    },
    Wave {
        number: 8,
        name: "persistent volume claims",
        kinds: &[kinds::CLAIM],
        reason: "before the pods that mount them, and before a StatefulSet makes empty ones",
    },
    Wave {
        number: 9,
        name: "roles",
        kinds: &[kinds::CLUSTER_ROLE, kinds::ROLE],
        reason: "bindings name them, and a binding's role is looked up to refuse escalation",
    },
    Wave {
        number: 10,
        name: "service accounts",
        kinds: &[kinds::SERVICE_ACCOUNT],
        reason: "pods and token Secrets without their account are refused or deleted",
    },
    Wave {
        number: 11,
        name: "role bindings",
        kinds: &[kinds::CLUSTER_ROLE_BINDING, kinds::ROLE_BINDING],
        reason: "what starts later has its permissions from the start",
    },
    Wave { number: 12, name: "secrets", kinds: &[kinds::SECRET], reason: "pods wait for those they mount" },
    Wave { number: 13, name: "config maps", kinds: &[kinds::CONFIG_MAP], reason: "pods wait for those they mount" },
    Wave {
        number: 14,
        name: "services",
        kinds: &[kinds::SERVICE],
        reason: "addresses that were chosen by hand are taken before others get them, and pods find the variables of \
                 Services only if these were there before",
    },
    Wave {
        number: 15,
        name: "endpoints made by hand",
        kinds: &[kinds::ENDPOINTS, kinds::ENDPOINT_SLICE],
        reason: "the endpoints controller deletes Endpoints without a Service when it starts",
    },
    Wave {
        number: 16,
        name: "bare pods",
        kinds: &[kinds::POD],
        reason: "before limit ranges, which would write their defaults into pods that never had them",
    },
    Wave {
        number: 17,
        name: "limit ranges",
        kinds: &[kinds::LIMIT_RANGE],
        reason: "before workload owners, whose new pods have to get the defaults as the old ones did",
    },
    Wave {
        number: 18,
        name: "histories of workloads",
        kinds: &[kinds::REPLICA_SET, kinds::REVISION],
        reason: "a Deployment adopts the ReplicaSets that it finds, and so keeps its pods and its history; one that \
                 finds none makes another first",
    },
    Wave {
        number: 19,
        name: "workload owners",
        kinds: &[
            kinds::DEPLOYMENT,
            kinds::STATEFUL_SET,
            kinds::DAEMON_SET,
            kinds::CRON_JOB,
            kinds::REPLICATION_CONTROLLER,
            kinds::POD_TEMPLATE,
        ],
        reason: "they make their pods again",
    },
    Wave {
        number: 20,
        name: "jobs",
        kinds: &[kinds::JOB],
        reason: "a CronJob counts the unfinished Jobs that refer to it",
    },
    REST,
    Wave {
        number: 22,
        name: "resource quotas",
        kinds: &[kinds::RESOURCE_QUOTA],
        reason: "admission refuses whatever a quota counts until a controller has counted it",
    },
    Wave {
        number: 23,
        name: "aggregated APIs",
        kinds: &[kinds::API_SERVICE],
        reason: "while their servers do not answer, discovery is incomplete and namespaces cannot be deleted",
    },
    Wave {
        number: 24,
        name: "admission policies",
        kinds: &[kinds::VALIDATING_POLICY, kinds::VALIDATING_BINDING, kinds::MUTATING_POLICY, kinds::MUTATING_BINDING],
        reason: "they would alter or refuse what is restored",
    },
    Wave {
        number: 25,
        name: "webhook configurations",
        kinds: &[kinds::VALIDATING_WEBHOOKS, kinds::MUTATING_WEBHOOKS],
        reason: "they would alter or refuse what is restored, and their servers have to run first",
    },
];

const REST: Wave = Wave {
    number: 21,
    name: "custom resources and the rest",
    kinds: &[],
    reason: "what they refer to is there; nothing is known of what they do",
};

/// The wave of a resource.
pub fn wave(resource: &ResourceType) -> &'static Wave {
    WAVES.iter().find(|wave| wave.kinds.iter().any(|kind| kind.is(resource))).unwrap_or(&REST)
}

#[cfg(test)]
mod tests {
    use super::super::testing::resource;
    use super::*;

    #[test]
    fn waves_are_in_order_and_each_resource_has_one() {
        assert!(WAVES.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
        let all: Vec<&Kind> = WAVES.iter().flat_map(|wave| wave.kinds).collect();
        for (place, kind) in all.iter().enumerate() {
            assert!(!all[..place].contains(kind), "{kind} has two waves");
        }
        assert_eq!(WAVES.iter().filter(|wave| wave.kinds.is_empty()).count(), 1);
        let refusing: Vec<u8> = WAVES.iter().filter(|wave| wave.may_refuse()).map(|wave| wave.number).collect();
        assert_eq!(refusing, [24, 25], "the last ones");
    }

    #[test]
    fn what_is_needed_comes_first() {
        let number = |group: &str, plural: &str| wave(&resource(group, plural)).number;
        let rest = number("example.com", "widgets");
        assert_eq!(wave(&resource("example.com", "widgets")).name, "custom resources and the rest");
        assert_eq!(number("example.com", "deployments"), rest, "of another group");
        let apps = "apps";
        let order = [
            number("apiextensions.k8s.io", "customresourcedefinitions"),
            number("", "namespaces"),
            number("scheduling.k8s.io", "priorityclasses"),
            number("", "persistentvolumes"),
            number("", "persistentvolumeclaims"),
            number("rbac.authorization.k8s.io", "clusterroles"),
            number("", "serviceaccounts"),
            number("rbac.authorization.k8s.io", "rolebindings"),
            number("", "secrets"),
            number("", "services"),
            number("discovery.k8s.io", "endpointslices"),
            number("", "pods"),
            number("", "limitranges"),
            number(apps, "replicasets"),
            number(apps, "deployments"),
            number("batch", "jobs"),
            rest,
            number("", "resourcequotas"),
            number("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
            number("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }
}
