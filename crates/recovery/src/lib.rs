//! Backup, catalog, verification, browsing and restores: joins archive, store, etcd and kubernetes.
//!
//! A [`Catalog`] knows the backups of one cluster in one store and hands out a [`Backup`] only after its manifest's
//! signature was checked against trusted keys. [`backup::create`] takes one, [`verify::verify`] proves one,
//! [`OpenBackup`] looks inside one by ranged reads that are proved frame by frame, and [`restore_etcd`] brings etcd
//! back from one. [`retention`] removes old ones. Nothing here touches the terminal, the environment or the clock.

mod blocking;
mod catalog;
mod context;
mod error;
mod expression;
mod known;
mod layout;
mod nearest;
mod overview;
mod progress;
#[cfg(test)]
mod scene;
mod selector;
mod trust;

pub mod backup;
pub mod browse;
pub mod diff;
pub mod download;
pub mod drill;
pub mod evidence;
pub mod restore_etcd;
pub mod restore_objects;
pub mod retention;
pub mod rules;
pub mod verify;

pub use browse::OpenBackup;
pub use catalog::{Backup, BackupRef, Catalog, Entry, Listing, Problem};
pub use context::{Clock, Context};
pub use error::{Class, Error, Result, chain};
pub use expression::Expression;
pub use known::known_since;
pub use overview::{Changes, Overview, Summary};
pub use progress::{Progress, Snapshot as ProgressSnapshot, Track};
pub use selector::{LabelSelector, ObjectArg, Selection};
