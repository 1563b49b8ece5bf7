//! A cluster as one side of a comparison: its lists, as they come.

use bytes::Bytes;
use lifeboat_kubernetes::{Cluster, ListEvent, ListOptions, Listing, Page};
use lifeboat_model::{CanonicalError, Digest, Object, ObjectKey, ResourceType, ResourcesConfig};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::account::{Known, Pair};
use super::side::{Body, Closing, Item, Side};
use super::window::Window;
use crate::error::{Error, Result, chain};
use crate::selector::Selection;

/// What a page is to have about, and what may wait in memory: as for a backup.
const PAGE_BYTES: usize = 256 << 10;
const BUFFERED_PAGES: usize = 1 << 20;
/// What is set aside to put objects in order that come in none, as from aggregated APIs.
const ROOM: usize = 4 << 20;

/// The objects of a cluster.
pub(super) struct Live<'a> {
    cluster: &'a Cluster,
    options: ListOptions,
    /// The namespace that is listed, where only one is selected.
    namespace: Option<String>,
    listing: Listing,
    selection: &'a Selection,
    handle: Handle,
    cancel: CancellationToken,
    current: Option<Current>,
}

struct Current {
    known: Known,
    /// The resource as it is asked for.
    asked: ResourceType,
    shared: ResourceType,
    window: Window<(Option<Digest>, Bytes)>,
    /// A list of its own, in the version that the cluster prefers.
    detour: Option<Listing>,
    ended: bool,
    /// The list began again, so that objects come a second time.
    again: bool,
    failure: Option<String>,
    /// The first object that cannot be compared, and why.
    unreadable: Option<String>,
    /// One of them has no name: it may be any.
    nameless: bool,
}

/// The resource in the version, and under the group, that the backup has. The cluster converts its objects.
fn asked(known: &Known, shared: &ResourceType) -> ResourceType {
    ResourceType { namespaced: known.resource.namespaced, ..shared.clone() }
}

impl<'a> Live<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        resources: &ResourcesConfig,
        pairs: &[Pair],
        selection: &'a Selection,
        handle: &Handle,
        cancel: CancellationToken,
    ) -> Self {
        let options = ListOptions {
            page_limit: resources.page_size,
            page_bytes: PAGE_BYTES,
            buffer_bytes: BUFFERED_PAGES,
            ..ListOptions::default()
        };
        let namespace = match selection.namespaces.as_slice() {
            [namespace] => Some(namespace.clone()),
            _ => None,
        };
        let types = pairs.iter().filter_map(|pair| Some(asked(pair.after.as_ref()?, pair.resource()?))).collect();
        let _entered = handle.enter();
        let listing = cluster.list_in(types, namespace.as_deref(), options);
        let (handle, cancel) = (handle.clone(), cancel);
        Self { cluster, options, namespace, listing, selection, handle, cancel, current: None }
    }

    fn event(&mut self) -> Result<ListEvent> {
        let detour = self.current.as_mut().and_then(|current| current.detour.as_mut());
        let listing = detour.unwrap_or(&mut self.listing);
        let event = self.handle.block_on(self.cancel.run_until_cancelled(listing.next())).ok_or(Error::Cancelled)?;
        event.map(|(_, event)| event).ok_or(Error::Lost("listing"))
    }

    /// Lists what the cluster does not serve in the backup's version in its own: at least the names are known then.
    fn detour(&mut self) -> bool {
        let Some(current) = self.current.as_mut() else { return false };
        if current.detour.is_some() || current.known.resource.api_version() == current.asked.api_version() {
            return false;
        }
        let _entered = self.handle.enter();
        let types = vec![current.known.resource.clone()];
        current.detour = Some(self.cluster.list_in(types, self.namespace.as_deref(), self.options));
        true
    }

    fn page(&mut self, page: &Page) {
        let Some(current) = self.current.as_mut() else { return };
        for (json, span) in page.objects().zip(&page.items) {
            match read(json, &current.shared, self.selection) {
                Ok(None) => {}
                // It was compared before the list began again.
                Ok(Some((key, _))) if current.again && current.window.has_passed(&key) => {}
                Ok(Some((key, digest))) => {
                    if let Err(error) = &digest {
                        current.unreadable.get_or_insert_with(|| format!("{key}: {}", chain(error)));
                    }
                    let body = page.bytes.slice(span.clone());
                    current.window.push(key, json.len(), (digest.ok(), body));
                }
                Err(error) => {
                    current.unreadable.get_or_insert_with(|| chain(&error));
                    current.nameless = true;
                }
            }
        }
    }
}

type Read = (ObjectKey, std::result::Result<Digest, CanonicalError>);

/// An object's key, and the digest of its canonical form; `None` where it is not selected.
fn read(
    json: &[u8],
    shared: &ResourceType,
    selection: &Selection,
) -> std::result::Result<Option<Read>, CanonicalError> {
    let object = Object::parse(json)?;
    let meta = object.meta()?;
    if !selection.wants_key(meta.namespace, meta.name) {
        return Ok(None);
    }
    let key = shared.key(meta.namespace, meta.name);
    Ok(Some((key, object.digest(&shared.api_version(), &shared.kind))))
}

impl Side for Live<'_> {
    fn begin(&mut self, known: Option<&Known>, shared: &ResourceType) -> Result<()> {
        self.current = known.map(|known| Current {
            known: known.clone(),
            asked: asked(known, shared),
            shared: shared.clone(),
            window: Window::new(ROOM),
            detour: None,
            ended: false,
            again: false,
            failure: None,
            unreadable: None,
            nameless: false,
        });
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Item>> {
        loop {
            let Some(current) = self.current.as_mut() else { return Ok(None) };
            if let Some((key, (digest, json))) = current.window.pop(current.ended) {
                return Ok(Some(Item { key, digest, body: Body::Here(json) }));
            }
            if current.ended {
                return Ok(None);
            }
            let event = self.event()?;
            let is_gone = matches!(event, ListEvent::Failed(lifeboat_kubernetes::Error::NotFound { .. }));
            if is_gone && self.detour() {
                continue;
            }
            if let ListEvent::Page(page) = &event {
                self.page(page);
                continue;
            }
            let Some(current) = self.current.as_mut() else { return Ok(None) };
            match event {
                ListEvent::Restarted { .. } => {
                    current.window.clear();
                    current.again = true;
                }
                ListEvent::Failed(error) => {
                    current.failure = Some(chain(&error));
                    current.ended = true;
                }
                ListEvent::Page(_) | ListEvent::Finished { .. } => current.ended = true,
            }
        }
    }

    fn json(&mut self, body: &Body) -> Result<Bytes> {
        match body {
            Body::Here(bytes) => Ok(bytes.clone()),
            Body::Stored { .. } => Err(Error::Lost("comparing")),
        }
    }

    fn is_sure_without(&self, key: &ObjectKey) -> bool {
        self.current.as_ref().is_none_or(|current| {
            let is_whole = current.failure.is_none() && !current.nameless && current.window.late() == 0;
            is_whole && current.known.is_whole_but_for(key)
        })
    }

    fn has_contents(&self) -> bool {
        self.current.as_ref().is_none_or(|current| current.detour.is_none())
    }

    fn close(&mut self) -> Result<Closing> {
        let Some(current) = self.current.take() else { return Ok(Closing::default()) };
        let listed = |reason: String| format!("the cluster did not list all: {reason}");
        let unreadable = |what: String| format!("the cluster has what cannot be compared: {what}");
        let disorder = || "the cluster lists them in no order, and too many to be put in order: some may be told as removed that are there";
        let trouble = current.failure.map(listed).or(current.unreadable.map(unreadable));
        let versions = current.detour.is_some().then(|| {
            let (served, wanted) = (current.known.resource.api_version(), current.asked.api_version());
            format!("the cluster serves {served} and not {wanted}: compared by name only")
        });
        Ok(Closing {
            trouble: trouble.or_else(|| (current.window.late() > 0).then(|| disorder().to_owned())),
            names_only: versions,
        })
    }
}
