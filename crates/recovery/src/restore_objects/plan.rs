//! The plan of a restore: what happens to each object, in the order in which it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use lifeboat_model::{BackupId, Digest, ResourceType};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::entries::{Entries, Entry};

/// Names a plan's form, in its first line.
pub(super) const SCHEMA: &str = "lifeboat.dev/restore-plan/v1";

/// What becomes of objects that are there already and are not as in the backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// They stay as they are.
    #[default]
    Skip,
    /// They are made equal, in place.
    Apply,
    /// They are deleted and created anew.
    Recreate,
    /// They are made equal, in place, and what the backup does not have is deleted.
    Exact,
}

/// A patch, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchSource {
    /// What to call it in messages: the file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// How objects are changed on their way, and what is done with those that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// What becomes of objects that exist.
    pub mode: Mode,
    /// Whether the status is restored too.
    pub include_status: bool,
    /// Whether node ports are kept that the server chose.
    pub keep_node_ports: bool,
    /// Namespaces of the backup, by what they are called on the target.
    pub namespaces: BTreeMap<String, String>,
    /// Storage classes of the backup, by what they are called on the target.
    pub storage_classes: BTreeMap<String, String>,
    /// Patches, in order.
    pub patches: Vec<PatchSource>,
}

/// A plan of a restore. It can be saved, read again and performed; its hash stands for all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) header: Header,
    pub(super) entries: Entries,
}

/// What a plan says besides its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The form of the plan.
    pub schema: String,
    /// The backup.
    pub backup: BackupId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The id of the cluster that was backed up.
    pub backup_cluster: String,
    /// The id of the cluster that is restored into.
    pub target_cluster: String,
    /// The version of the rules by which objects are skipped, ordered and stripped.
    pub rules: u32,
    /// How objects are changed on their way.
    pub settings: Settings,
    /// The kinds of the objects, in the order of the restore.
    pub kinds: Vec<PlannedKind>,
    /// Owners that are not restored and are on the target: their UIDs in the backup, and there.
    pub owners: BTreeMap<String, String>,
    /// The volumes that there will be, where claims are restored.
    pub volumes: Option<BTreeSet<String>>,
    /// Resources that are never restored, with what the selection has of them.
    pub withheld: Vec<Withheld>,
    /// What preflight found.
    pub findings: Vec<Finding>,
}

/// A kind of objects in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedKind {
    /// As it was backed up.
    pub resource: ResourceType,
    /// The version at which the target serves it; absent where it serves none yet.
    pub served: Option<String>,
    /// When its turn is.
    pub wave: u8,
    /// What that wave is called.
    pub wave_name: String,
}

impl PlannedKind {
    /// As the target serves it. Where it does not yet, it will be as in the backup.
    pub fn target(&self) -> ResourceType {
        let version = self.served.clone().unwrap_or_else(|| self.resource.version.clone());
        ResourceType { version, ..self.resource.clone() }
    }
}

/// A resource that is never restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Withheld {
    /// The resource, such as `events.events.k8s.io`.
    pub resource: String,
    /// How many objects of it the backup has.
    pub objects: u64,
    /// The number of the rule.
    pub rule: u32,
    /// Why.
    pub reason: String,
}

/// Something that preflight found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// Whether the restore is not begun because of it.
    pub blocks: bool,
    /// What kind of finding it is: `otherCluster`, `permission`, `notServed`, ...
    pub code: String,
    /// What was found.
    pub message: String,
}

/// Where an object lies in the tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// What happens to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Verdict {
    /// It is not there and is created.
    Create {
        /// What the API server says against it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objection: Option<Box<str>>,
    },
    /// It is there and as in the backup.
    Unchanged {
        /// What is there.
        live: Live,
    },
    /// It is there, not as in the backup, and stays so.
    Leave {
        /// What is there.
        live: Live,
    },
    /// It is there, not as in the backup, and is made equal.
    Apply {
        /// What is there.
        live: Live,
        /// What the API server says against it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objection: Option<Box<str>>,
    },
    /// It is there, not as in the backup, and is deleted and created.
    Recreate {
        /// What is there.
        live: Live,
    },
    /// It is there, the backup does not have it, and it is deleted.
    Prune {
        /// What is there.
        live: Live,
    },
    /// A rule says that it is not restored.
    Skipped {
        /// The number of the rule.
        rule: u32,
        /// Why.
        reason: Box<str>,
    },
    /// It cannot be restored: what it needs is missing.
    Blocked {
        /// What is missing.
        reason: Box<str>,
    },
}

/// An object of the target, as the plan knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Live {
    /// Its UID.
    pub uid: Box<str>,
    /// The digest of its canonical form.
    pub canonical: Digest,
}

/// How many objects have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Will be created.
    pub create: u64,
    /// Are as in the backup.
    pub unchanged: u64,
    /// Differ and stay so.
    pub leave: u64,
    /// Will be made equal.
    pub apply: u64,
    /// Will be deleted and created.
    pub recreate: u64,
    /// Will be deleted.
    pub prune: u64,
    /// Are not restored by a rule, resources that are withheld as a whole not counted.
    pub skipped: u64,
    /// Cannot be restored.
    pub blocked: u64,
    /// Of those that will be created or made equal: the API server objects now.
    pub objections: u64,
}

impl Verdict {
    /// What is there, where something is.
    pub fn live(&self) -> Option<&Live> {
        match self {
            Self::Unchanged { live }
            | Self::Leave { live }
            | Self::Apply { live, .. }
            | Self::Recreate { live }
            | Self::Prune { live } => Some(live),
            Self::Create { .. } | Self::Skipped { .. } | Self::Blocked { .. } => None,
        }
    }

    /// Whether anything is written because of it.
    pub fn acts(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Apply { .. } | Self::Recreate { .. } | Self::Prune { .. })
    }

    /// What the API server says against it.
    pub fn objection(&self) -> Option<&str> {
        match self {
            Self::Create { objection } | Self::Apply { objection, .. } => objection.as_deref(),
            _ => None,
        }
    }

    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Unchanged { .. } => "unchanged",
            Self::Leave { .. } => "leave",
            Self::Apply { .. } => "apply",
            Self::Recreate { .. } => "recreate",
            Self::Prune { .. } => "prune",
            Self::Skipped { .. } => "skipped",
            Self::Blocked { .. } => "blocked",
        }
    }
}

impl Plan {
    /// What it says besides its entries.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The objects, in the order of the restore; what is pruned comes last.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The kind of an entry.
    pub fn kind(&self, entry: Entry<'_>) -> Option<&PlannedKind> {
        self.header.kinds.get(usize::try_from(entry.kind).ok()?)
    }

    /// What an entry is called: `deployments.apps/web -n shop`.
    pub fn name(&self, entry: Entry<'_>) -> String {
        let resource = self.kind(entry).map(|kind| kind.resource.group_resource().to_string()).unwrap_or_default();
        match entry.namespace {
            Some(namespace) => format!("{resource}/{} -n {namespace}", entry.name),
            None => format!("{resource}/{}", entry.name),
        }
    }

    /// How many objects have which verdict.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            let count = match entry.verdict {
                Verdict::Create { .. } => &mut counts.create,
                Verdict::Unchanged { .. } => &mut counts.unchanged,
                Verdict::Leave { .. } => &mut counts.leave,
                Verdict::Apply { .. } => &mut counts.apply,
                Verdict::Recreate { .. } => &mut counts.recreate,
                Verdict::Prune { .. } => &mut counts.prune,
                Verdict::Skipped { .. } => &mut counts.skipped,
                Verdict::Blocked { .. } => &mut counts.blocked,
            };
            *count += 1;
            counts.objections += u64::from(entry.verdict.objection().is_some());
        }
        counts
    }

    /// The namespaces in which something is pruned.
    pub fn pruned_namespaces(&self) -> Vec<&str> {
        let pruned = self.entries.iter().filter(|entry| matches!(entry.verdict, Verdict::Prune { .. }));
        let mut namespaces: Vec<&str> = pruned.filter_map(|entry| entry.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// What preflight found that forbids to begin.
    pub fn blockers(&self) -> impl Iterator<Item = &Finding> {
        self.header.findings.iter().filter(|finding| finding.blocks)
    }

    /// The digest of all of it: of two equal plans the same.
    pub fn hash(&self) -> Digest {
        let mut hasher = Hasher(Sha256::new());
        // The plan's own types always serialise, and a hasher takes everything.
        let written = self.write_lines(&mut hasher);
        debug_assert!(written.is_ok(), "{written:?}");
        hasher.0.into()
    }

    /// Header and entries, a line each.
    pub(super) fn write_lines(&self, to: &mut impl Write) -> io::Result<()> {
        let mut line = |value: serde_json::Result<Vec<u8>>| {
            to.write_all(&value?)?;
            to.write_all(b"\n")
        };
        line(serde_json::to_vec(&self.header))?;
        self.entries.iter().try_for_each(|entry| line(serde_json::to_vec(&entry)))
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
