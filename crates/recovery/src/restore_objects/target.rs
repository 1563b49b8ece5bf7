//! The cluster that is restored into: what it serves, and what is there already.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_kubernetes::{Cluster, Discovery, Error as KubernetesError, ListEvent, ListOptions, ObjectPath};
use lifeboat_model::{Object, ResourceType};

use super::plan::Live;
use crate::error::{Error, Result};

/// Up to so many objects of one kind are asked for one by one; more are listed.
const ONE_BY_ONE: usize = 64;
/// Requests under way at a time while the target is looked at.
const REQUESTS: usize = 16;

/// Where an object is on the target.
pub(super) type Place<'a> = (Option<&'a str>, &'a str);

/// A cluster that is restored into.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) cluster: Cluster,
    /// The UID of its namespace `kube-system`.
    pub(super) id: String,
    discovery: Discovery,
}

/// An object that a list found.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
    pub(super) live: Live,
}

impl Target {
    /// Asks who the cluster is and what it serves.
    pub(super) async fn learn(cluster: Cluster) -> Result<Self> {
        let (id, discovery) = tokio::try_join!(cluster.cluster_id(), cluster.discover())?;
        Ok(Self { cluster, id, discovery })
    }

    /// Asks again what it serves.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        self.discovery = self.cluster.discover().await?;
        Ok(())
    }

    /// What it serves, each resource once.
    pub(super) fn types(&self) -> &[ResourceType] {
        &self.discovery.types
    }

    /// The version at which the resource is asked for: that of the backup where the target serves it, and otherwise
    /// the one that it prefers.
    pub(super) async fn served(&self, wanted: &ResourceType) -> Result<Option<String>> {
        let same = |known: &&ResourceType| known.group == wanted.group && known.resource == wanted.resource;
        let Some(known) = self.discovery.types.iter().find(same) else { return Ok(None) };
        if known.version == wanted.version {
            return Ok(Some(known.version.clone()));
        }
        let namespace = wanted.namespaced.then_some("default");
        // Nothing has to be there: whether the version is served shows in how it is missed.
        match self.cluster.get(ObjectPath { resource: wanted, namespace, name: "lifeboat" }).await {
            Ok(_) => Ok(Some(wanted.version.clone())),
            Err(KubernetesError::NotServed { .. } | KubernetesError::Forbidden { .. }) => {
                Ok(Some(known.version.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Why the resource may be served although discovery does not show it.
    pub(super) fn failure_of(&self, wanted: &ResourceType) -> Option<&str> {
        let group_version = wanted.api_version();
        let failures = self.discovery.failures.iter();
        failures
            .filter(|failure| failure.group_version == group_version || failure.group_version == wanted.group)
            .map(|failure| failure.message.as_str())
            .next()
    }

    /// What is there of these objects, in their order.
    pub(super) async fn survey(&self, kind: &ResourceType, wanted: &[Place<'_>]) -> Result<Vec<Option<Live>>> {
        if wanted.len() <= ONE_BY_ONE {
            return self.one_by_one(kind, wanted).await;
        }
        let places: HashSet<&Place<'_>> = wanted.iter().collect();
        let keep = |place: Place<'_>, _: &[u8]| Ok(places.contains(&place));
        let first = wanted.first().and_then(|(namespace, _)| *namespace);
        let only = first.filter(|_| wanted.iter().all(|(namespace, _)| *namespace == first));
        match self.list(kind, only, keep).await {
            Ok(listed) => {
                let mut found: HashMap<Place<'_>, Live> = HashMap::with_capacity(listed.len());
                for item in &listed {
                    found.insert((item.namespace.as_deref(), &item.name), item.live.clone());
                }
                Ok(wanted.iter().map(|place| found.remove(place)).collect())
            }
            // Whoever may read single namespaces only.
            Err(Error::Kubernetes(KubernetesError::Forbidden { .. })) => self.one_by_one(kind, wanted).await,
            Err(error) => Err(error),
        }
    }

    async fn one_by_one(&self, kind: &ResourceType, wanted: &[Place<'_>]) -> Result<Vec<Option<Live>>> {
        let asked = stream::iter(wanted.iter().copied()).map(|(namespace, name)| async move {
            let json = self.cluster.get(ObjectPath { resource: kind, namespace, name }).await?;
            json.map(|json| live(&json, kind)).transpose()
        });
        asked.buffered(REQUESTS).try_collect().await
    }

    /// All objects of a kind, in one namespace or in all, that are to be kept in mind.
    pub(super) async fn list(
        &self,
        kind: &ResourceType,
        namespace: Option<&str>,
        mut keep: impl FnMut(Place<'_>, &[u8]) -> Result<bool>,
    ) -> Result<Vec<Listed>> {
        let mut listing = self.cluster.list_in(vec![kind.clone()], namespace, ListOptions::default());
        let mut found = Vec::new();
        while let Some((_, event)) = listing.next().await {
            match event {
                ListEvent::Page(page) => {
                    for json in page.objects() {
                        let object = Object::parse(json).map_err(|source| incomparable(kind, source))?;
                        let meta = object.meta().map_err(|source| incomparable(kind, source))?;
                        if !keep((meta.namespace, meta.name), json)? {
                            continue;
                        }
                        let (namespace, name) = (meta.namespace.map(Into::into), meta.name.into());
                        let uid = meta.uid.into();
                        let digest = object.digest(&page.api_version, &page.kind);
                        let canonical = digest.map_err(|source| incomparable(kind, source))?;
                        found.push(Listed { namespace, name, live: Live { uid, canonical } });
                    }
                }
                ListEvent::Restarted { .. } => found.clear(),
                ListEvent::Finished { .. } => {}
                ListEvent::Failed(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

fn incomparable(kind: &ResourceType, source: lifeboat_model::CanonicalError) -> Error {
    Error::Canonical { object: format!("an object of {} on the target", kind.group_resource()), source }
}

/// What a plan knows of an object of the target.
pub(super) fn live(json: &[u8], kind: &ResourceType) -> Result<Live> {
    let object = Object::parse(json).map_err(|source| incomparable(kind, source))?;
    let uid = object.meta().map_err(|source| incomparable(kind, source))?.uid.into();
    let canonical = object.digest(&kind.api_version(), &kind.kind).map_err(|source| incomparable(kind, source))?;
    Ok(Live { uid, canonical })
}
