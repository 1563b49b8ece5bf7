//! What the promises and the whole runs share: clusters, an operator's folder, and the store as an intruder sees it.

mod clusters;
mod collector;
mod daemon;
mod damage;
mod files;
mod gate;
mod keys;
mod library;
mod objects;
mod responder;
mod site;

pub(crate) use clusters::{MARKERS, apply, ballast, boot, etcdctl, large, shop, small, turn, until};
pub(crate) use collector::{Collector, attribute};
pub(crate) use daemon::{Daemon, PATIENCE, chain, configure, scrape};
pub(crate) use damage::{DAMAGES, Scene};
pub(crate) use files::{Files, Place, in_folder, names_in_folder};
pub(crate) use gate::Gate;
pub(crate) use keys::{Keys, backup_key, part_key};
pub(crate) use library::{Still, context, memory, request, stored_files, verify};
pub(crate) use objects::{assert_same, digests, digests_of_index};
pub(crate) use responder::{Responder, Watcher};
pub(crate) use site::{Run, Site};
