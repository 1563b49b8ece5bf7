//! Many lists, requested ahead and handed out in order.

use std::collections::VecDeque;
use std::sync::Arc;

use lifeboat_model::ResourceType;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::gate::Gate;
use crate::list::{List, ListOptions, Queued};
use crate::{Cluster, Error, Page};

/// What happens to a list. A list ends with `Finished` or `Failed`.
#[derive(Debug)]
pub enum ListEvent {
    /// Its next objects.
    Page(Page),
    /// The snapshot that the pages so far showed has expired. They are void: the list begins again.
    Restarted {
        /// What the API server says.
        reason: String,
    },
    /// All objects have been handed out.
    Finished {
        /// The resource version of the snapshot.
        resource_version: String,
        /// How many objects it has, those of void pages not counted.
        items: u64,
    },
    /// The list could not be brought to its end. The pages so far are true, and incomplete.
    Failed(Error),
}

/// Lists under way. Dropping it ends them.
#[derive(Debug)]
pub struct Listing {
    gate: Arc<Gate>,
    /// The list that the consumer is at, then those after it.
    queues: VecDeque<(String, UnboundedReceiver<Queued>)>,
    index: usize,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Lists the resources, in all namespaces. Must be called within a tokio runtime.
    ///
    /// The consumer gets them strictly in the order given, while the next pages and the next resources are already
    /// being fetched: [`ListOptions::requests`] at a time, and [`ListOptions::buffer_bytes`] of them in memory.
    pub fn list_all(&self, types: Vec<ResourceType>, options: ListOptions) -> Listing {
        self.list_in(types, None, options)
    }

    /// Lists the resources as [`Cluster::list_all`] does: those that live in namespaces in this one, where one is given.
    pub fn list_in(&self, types: Vec<ResourceType>, namespace: Option<&str>, options: ListOptions) -> Listing {
        let gate = Gate::new(options.requests, options.buffer_bytes);
        let mut tasks = JoinSet::new();
        let mut queues = VecDeque::with_capacity(types.len());
        for (index, kind) in types.into_iter().enumerate() {
            // The gate bounds what is in it.
            let (queue, receiver) = unbounded_channel();
            queues.push_back((kind.group_resource().to_string(), receiver));
            let (cluster, gate) = (self.clone(), Arc::clone(&gate));
            let namespace = namespace.map(str::to_owned);
            let list = List { cluster, gate, index, kind, namespace, options, queue };
            tasks.spawn(list.run());
        }
        Listing { gate, queues, index: 0, _tasks: tasks }
    }
}

impl Listing {
    /// The next event, with the index of the resource that it belongs to; `None` after the last one's end.
    ///
    /// Safe to cancel: an event that was not returned comes next time.
    pub async fn next(&mut self) -> Option<(usize, ListEvent)> {
        let (resource, queue) = self.queues.front_mut()?;
        let index = self.index;
        let event = match queue.recv().await {
            Some((event, ticket)) => {
                drop(ticket);
                event
            }
            None => ListEvent::Failed(Error::Interrupted { resource: std::mem::take(resource) }),
        };
        if matches!(event, ListEvent::Finished { .. } | ListEvent::Failed(_)) {
            self.queues.pop_front();
            self.index += 1;
            self.gate.advance(self.index);
        }
        Some((index, event))
    }
}
