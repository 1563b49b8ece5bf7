//! Events about objects, which `kubectl describe` shows.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};
use lifeboat_recovery::chain;

use super::driver::{Document, Guarded, MANAGER};

/// The longest note that the API server takes, in bytes. <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>
const MAX_NOTE: usize = 1024;

/// Tells of objects, as one daemon of several.
#[derive(Clone)]
pub(crate) struct Notes {
    client: Client,
    reporter: Reporter,
}

/// How an event is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Notes {
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        // As the API server wants it: at most 128 characters.
        let instance = Some(instance.chars().take(128).collect());
        Self { client, reporter: Reporter { controller: format!("lifeboat.dev/{MANAGER}"), instance } }
    }

    /// Tells what happened to an object. That it could not be told holds nothing up.
    pub(crate) async fn tell<K: Document>(&self, object: &Guarded<K>, gravity: Gravity, reason: &str, note: &str) {
        let event = Event {
            type_: match gravity {
                Gravity::Normal => EventType::Normal,
                Gravity::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(bounded(note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // Each event is told once, so there is nothing for a recorder to remember.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(reason, error = chain(&error), "an event could not be told");
        }
    }
}

/// Text from elsewhere, as a note.
fn bounded(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.get(..plain.floor_char_boundary(MAX_NOTE)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_bounded_and_plain() {
        let note = bounded(&"ä\n".repeat(1000));
        assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 4 && !note.contains('\n'), "{}", note.len());
    }
}
