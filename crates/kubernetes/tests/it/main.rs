//! Lists, discovery and writes against real API servers, and against a fake one for what those cannot be made to do.
#![cfg(test)]

mod admission;
mod config;
mod contract;
mod discovery;
mod fake;
mod faults;
mod leases;
mod lost;
mod objects;
mod prefetch;
mod proxy;
mod real;
mod watches;
mod webhook;
mod writes;

use lifeboat_kubernetes::{Cluster, ConnectOptions, Error, ListEvent, ListOptions, Listing};
use lifeboat_model::ResourceType;
use std::path::Path;

/// A resource type of the fixtures.
pub(crate) fn resource_type(group: &str, version: &str, resource: &str, kind: &str) -> ResourceType {
    ResourceType {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        namespaced: true,
    }
}

/// Connects by a kubeconfig.
pub(crate) async fn connect(kubeconfig: &Path) -> Cluster {
    let options = ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), ..ConnectOptions::default() };
    Cluster::connect(options).await.unwrap()
}

/// All that came of a list.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) index: usize,
    /// The objects, those of void pages left out.
    pub(crate) objects: Vec<Vec<u8>>,
    /// The sizes of the pages in bytes and objects, void ones included.
    pub(crate) pages: Vec<(usize, usize)>,
    /// The expected number of objects, by the first page that counts.
    pub(crate) expected: Option<u64>,
    pub(crate) restarts: usize,
    pub(crate) resource_version: String,
    pub(crate) error: Option<Error>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, objects, pages, restarts, error, .. } = self;
        write!(f, "list {index}: {} objects, pages {pages:?}, {restarts} restarts, {error:?}", objects.len())
    }
}

/// Takes one event, and checks that it comes in order and adds up; false when it was the list's last.
pub(crate) async fn take(listing: &mut Listing, outcome: &mut Outcome) -> bool {
    let (index, event) = listing.next().await.expect("a list says how it ends");
    assert_eq!(index, outcome.index, "strictly in order");
    match event {
        ListEvent::Page(page) => {
            if outcome.objects.is_empty() {
                outcome.expected = Some(page.items.len() as u64 + page.remaining.unwrap_or(0));
            }
            outcome.pages.push((page.bytes.len(), page.items.len()));
            outcome.objects.extend(page.objects().map(<[u8]>::to_vec));
            return true;
        }
        ListEvent::Restarted { .. } => {
            outcome.restarts += 1;
            outcome.objects.clear();
            return true;
        }
        ListEvent::Finished { resource_version, items } => {
            assert_eq!(items, outcome.objects.len() as u64);
            outcome.resource_version = resource_version;
        }
        ListEvent::Failed(error) => outcome.error = Some(error),
    }
    false
}

/// Takes the events of so many lists.
pub(crate) async fn collect(mut listing: Listing, lists: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for index in 0..lists {
        let mut outcome = Outcome { index, ..Outcome::default() };
        while take(&mut listing, &mut outcome).await {}
        outcomes.push(outcome);
    }
    assert!(listing.next().await.is_none());
    outcomes
}

/// Lists resources.
pub(crate) async fn list_all(cluster: &Cluster, types: &[ResourceType], options: ListOptions) -> Vec<Outcome> {
    collect(cluster.list_all(types.to_vec(), options), types.len()).await
}

/// Lists one resource.
pub(crate) async fn list_one(cluster: &Cluster, kind: ResourceType, options: ListOptions) -> Outcome {
    list_all(cluster, &[kind], options).await.remove(0)
}
