//! What differs between a backup and a later one, or the cluster as it is now.
//!
//! Both sides are streams in the order of the objects' keys, merged resource by resource. That an object is unchanged is
//! told by the digest of its canonical form; only objects that differ are opened. Memory does not grow with either side.
//! What one side could not list is not taken for absent: it is among what [`Summary::uncompared`] names.

mod account;
mod live;
mod masks;
mod merge;
mod side;
mod stored;
mod window;

use lifeboat_kubernetes::Cluster;
use lifeboat_model::{CANONICAL_VERSION, FieldChange, ObjectKey, ResourcesConfig, ResourcesRecord, differences};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::blocking::run_blocking;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};
use crate::selector::Selection;
use account::{Account, Pair};
use live::Live;
use merge::Merge;
use side::Side;
use stored::Stored;

/// What a backup is compared with.
#[derive(Debug, Clone)]
pub enum Against {
    /// Another backup.
    Backup(OpenBackup),
    /// A cluster as it is, listed as a backup lists it.
    Cluster {
        /// The cluster.
        cluster: Box<Cluster>,
        /// Which of its resources a backup would capture.
        resources: ResourcesConfig,
    },
}

/// How much is said of each difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// Which object, and no more: no object is opened.
    Names,
    /// The fields of those that changed.
    #[default]
    Fields,
    /// Also the whole of those that are on one side only.
    Whole,
}

/// What becomes of the values in Secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Secrets {
    /// Each is replaced by a mark that says only whether it differs.
    #[default]
    Masked,
    /// They are shown.
    Shown,
}

/// What is compared, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which objects.
    pub selection: Selection,
    /// How much is said of each difference.
    pub detail: Detail,
    /// What becomes of the values in Secrets.
    pub secrets: Secrets,
}

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The backup does not have it.
    Added,
    /// Only the backup has it.
    Removed,
    /// Its canonical form is another.
    Changed,
}

/// An object that differs. The trees are canonical forms, masked unless Secrets are to be shown, and are there as far as
/// the [`Detail`] asked for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The object, under the name that it has in the backup, if it is there.
    pub key: ObjectKey,
    /// Its kind.
    pub kind: String,
    /// How it differs.
    pub change: Change,
    /// What it was in the backup.
    pub before: Option<Value>,
    /// What it is now, or in the other backup.
    pub after: Option<Value>,
}

impl Difference {
    /// The fields that changed. Of an object that is on one side only there are none.
    pub fn fields(&self) -> Vec<FieldChange<'_>> {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => differences(before, after),
            _ => Vec::new(),
        }
    }
}

/// Something that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncompared {
    /// A resource (`secrets`), an API (`metrics.k8s.io/v1beta1`), or an object (`secrets/db -n shop`).
    pub resource: String,
    /// Why.
    pub reason: String,
    /// How many objects were found on one side of which nothing can be said for that reason.
    pub objects: u64,
}

/// What came of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Objects that only the other side has.
    pub added: u64,
    /// Objects that only the backup has.
    pub removed: u64,
    /// Objects whose canonical form differs.
    pub changed: u64,
    /// Objects that are the same.
    pub unchanged: u64,
    /// What could not be compared.
    pub uncompared: Vec<Uncompared>,
    /// The id of the cluster that was compared with, where it is another than the one that was backed up.
    pub other_cluster: Option<String>,
}

impl Summary {
    /// Whether everything was compared and nothing differs.
    pub fn is_same(&self) -> bool {
        self.added + self.removed + self.changed == 0 && self.uncompared.is_empty()
    }
}

/// Compares a backup with another side. `each` gets the differences as they are found, resource by resource and in the
/// order of the keys, and may end it by an error.
///
/// # Errors
/// When a backup has no objects or is not what its manifest says, when the cluster does not answer at all, or when
/// neither side has a resource that is selected.
pub async fn compare(
    backup: &OpenBackup,
    against: Against,
    options: Options,
    each: impl FnMut(Difference) -> Result<()> + Send + 'static,
) -> Result<Summary> {
    let before = Account::of_backup(backup)?;
    let (after, other_cluster) = match &against {
        Against::Backup(other) => (Account::of_backup(other)?, None),
        Against::Cluster { cluster, resources } => {
            let discovery = cluster.discover().await?;
            (Account::of_cluster(&discovery, resources), other_cluster(backup, cluster).await)
        }
    };
    account::check_kinds(&before, &after, &options.selection)?;
    let (pairs, uncompared) = account::pairs(&before, &after, &options.selection);
    let summary = Summary { uncompared, other_cluster, ..Summary::default() };
    let (handle, backup) = (Handle::current(), backup.clone());
    run_blocking("comparing", move || {
        let ahead = options.selection.labels.is_some();
        let mut left = Stored::new(&backup, &handle, &options.selection, ahead);
        let merge = Merge::new(&options, summary, each);
        match &against {
            Against::Backup(other) => {
                let mut right = Stored::new(other, &handle, &options.selection, ahead);
                run(merge, &pairs, &mut left, &mut right)
            }
            Against::Cluster { cluster, resources } => {
                let cancel = backup.backup().context().cancel.clone();
                let mut right = Live::new(cluster, resources, &pairs, &options.selection, &handle, cancel);
                run(merge, &pairs, &mut left, &mut right)
            }
        }
    })
    .await
}

fn run<F: FnMut(Difference) -> Result<()>>(
    mut merge: Merge<'_, F>,
    pairs: &[Pair],
    left: &mut dyn Side,
    right: &mut dyn Side,
) -> Result<Summary> {
    for pair in pairs {
        merge.pair(pair, left, right)?;
    }
    Ok(merge.finish())
}

/// The id of a cluster that is not the one that was backed up. Who may not ask compares all the same.
async fn other_cluster(backup: &OpenBackup, cluster: &Cluster) -> Option<String> {
    let ours = &backup.backup().manifest().cluster_id;
    match cluster.cluster_id().await {
        Ok(id) if id == *ours => None,
        Ok(id) => {
            tracing::warn!("the backup is of the cluster {ours}, and is compared with the cluster {id}");
            Some(id)
        }
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the cluster's id is not known");
            None
        }
    }
}

/// Digests of other rules say nothing about these, and without objects there is nothing to compare.
fn check_comparable(backup: &OpenBackup) -> Result<()> {
    let manifest = backup.backup().manifest();
    if let ResourcesRecord::Absent { reason } = &manifest.resources {
        return Err(Error::NoObject(format!("backup {} has no objects: {reason}", manifest.id)));
    }
    if manifest.canonical_version != CANONICAL_VERSION {
        return Err(Error::Usage(format!(
            "the digests of backup {} follow version {} of the canonical rules, and this program knows version {}",
            manifest.id, manifest.canonical_version, CANONICAL_VERSION
        )));
    }
    Ok(())
}
