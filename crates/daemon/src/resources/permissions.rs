//! What the controllers may do: the rules of RBAC that they need, and no others.

/// A rule of RBAC, for the namespace that the daemon watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, with its subresource where it is one: `backups/status`.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What it is for.
    pub purpose: &'static str,
}

/// All that the controllers ask of the API server, in the one namespace that they watch. What a restore writes is besides:
/// the rights to it are the operator's to give.
pub const PERMISSIONS: &[Permission] = &[
    Permission {
        group: "lifeboat.dev",
        resource: "backups",
        verbs: &["create", "delete", "list", "watch"],
        purpose: "backups that are asked for; an object for each backup of the store, which goes with it",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "backups/status",
        verbs: &["patch"],
        purpose: "what became of a backup",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "drills",
        verbs: &["list", "watch"],
        purpose: "drills that are asked for",
    },
    Permission { group: "lifeboat.dev", resource: "drills/status", verbs: &["patch"], purpose: "what came of a drill" },
    Permission {
        group: "lifeboat.dev",
        resource: "restores",
        verbs: &["list", "watch"],
        purpose: "restores that are asked for",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "restores/status",
        verbs: &["patch"],
        purpose: "plan and report of a restore",
    },
    Permission { group: "lifeboat.dev", resource: "schedules", verbs: &["list", "watch"], purpose: "schedules" },
    Permission {
        group: "lifeboat.dev",
        resource: "schedules/status",
        verbs: &["patch"],
        purpose: "whether a schedule is in force, and when it is due",
    },
    Permission { group: "events.k8s.io", resource: "events", verbs: &["create"], purpose: "what happened, for people" },
    Permission {
        group: "",
        resource: "secrets",
        verbs: &["get"],
        purpose: "the identity that a restore or a drill names",
    },
];

/// All that the responder asks of the API server for itself, in the namespace of the playbooks. What playbooks do is
/// besides: `lifeboat playbook rbac` says what those that are installed need.
pub const RESPONDER_PERMISSIONS: &[Permission] = &[
    Permission { group: "lifeboat.dev", resource: "playbooks", verbs: &["get", "list", "watch"], purpose: "playbooks" },
    Permission {
        group: "lifeboat.dev",
        resource: "playbooks/status",
        verbs: &["patch"],
        purpose: "whether a playbook can be run, and what is wrong with it",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "playbookruns",
        verbs: &["create", "get", "list", "watch"],
        purpose: "runs that are asked for; dry runs that show whether anybody can pretend to be somebody else",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "playbookruns/status",
        verbs: &["patch"],
        purpose: "plan, steps and outcome of a run",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "playbookapprovals",
        verbs: &["create", "list"],
        purpose: "what people say to a plan; dry runs as of runs",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "playbookapprovals/status",
        verbs: &["patch"],
        purpose: "whether an approval counts",
    },
    Permission {
        group: "lifeboat.dev",
        resource: "playbookjournals",
        verbs: &["create", "get", "list", "update"],
        purpose: "the journals of runs; one is read again where the answer to a write was lost",
    },
    Permission { group: "events.k8s.io", resource: "events", verbs: &["create"], purpose: "what happened, for people" },
];
