//! Trying whether an isolated pod is isolated: two ends, one in the pod and one beside it, that reached each other
//! before.

mod judge;
mod script;

use std::time::Duration;

use lifeboat_playbook::{ActionError, Change, ObjectRef, Permission, Permit, Proof, StepContext, StepPlan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::judge::{Mark, NOTHING, Path, after, before};
use self::script::{CONTAINER, LABEL, Told, listener, peer, told};
use crate::api::{Api, Place};
use crate::container::{free_name, plan_container};
use crate::fields::{labels, text, uid};
use crate::planning::{plan_create, review};
use crate::resources::POD;
use crate::target::Target;
use crate::writing::Own;

pub(crate) use judge::{Paths, Tried};

/// How often it is looked at what the two ends tell.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks the two ends have to reach each other. The quarantine waits for it.
const LOOKS_BEFORE: usize = 45;
/// How many looks the quarantine has to come into force.
const LOOKS_AFTER: usize = 60;
/// How long the pod at the other end may take to get its address, and to go.
const START: Duration = Duration::from_mins(1);
/// The most of a log: an end tells some hundred short lines.
const LOG_BYTES: u32 = 256 * 1024;

/// What a probe needs besides, in the namespace of the pod.
const PERMISSIONS: &[Permission] = &[
    Permission { group: "", resource: "pods", verbs: &["create", "delete", "list", "watch"] },
    Permission { group: "", resource: "pods/ephemeralcontainers", verbs: &["patch"] },
    Permission { group: "", resource: "pods/log", verbs: &["get"] },
];

/// Try the network, before and after.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Probe {
    /// An image with `sh` and the `nc` of `BusyBox`, which runs as any user.
    image: String,
}

/// What the two ends are, as the plan has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ends {
    namespace: String,
    /// The pod beside it.
    peer: String,
    /// The container in the pod.
    container: String,
    /// The address of the pod.
    address: String,
}

/// The name of the pod beside a pod.
fn peer_name(pod_uid: &str) -> String {
    format!("lifeboat-probe-{pod_uid}")
}

/// Whether a pod is the one beside the pod with that UID.
fn is_peer(pod: &Value, pod_uid: &str) -> bool {
    labels(pod).get(LABEL).is_some_and(|uid| uid == pod_uid)
}

async fn gone(api: &Api, place: Place<'_>) -> Result<Proof, ActionError> {
    let Some(pod) = api.get(place).await? else { return Ok(Proof::Observed(format!("{place} is gone"))) };
    Ok(if api.wait_gone(place, uid(&pod), START).await? {
        Proof::Observed(format!("{place} is gone"))
    } else {
        Proof::NotObserved(format!("{place} is still there after {} s", START.as_secs()))
    })
}

impl Probe {
    /// Plans the two ends, unless the pod has no address.
    pub(crate) async fn plan<O>(
        &self,
        api: &Api,
        plan: &mut StepPlan<O>,
        (target, pod): (&Target, &Value),
    ) -> Result<Option<Ends>, ActionError> {
        let address = text(pod, "/status/podIP");
        if address.is_empty() {
            plan.warnings.push(format!("{target} has no address, so that nothing can be tried over the network"));
            return Ok(None);
        }
        let namespace = target.namespace.clone().unwrap_or_default();
        review(api, plan, PERMISSIONS, Some(&namespace)).await?;
        let ends = Ends {
            peer: peer_name(&target.uid),
            container: free_name(pod, "lifeboat-probe"),
            address: address.to_owned(),
            namespace,
        };
        let wanted = self.peer(&ends, target);
        plan_create(api, plan, "peer", ends.place(), &wanted).await?;
        // The address of a pod that is not there yet.
        let container = listener(&ends.container, &self.image, "peer");
        plan_container(api, plan, "listener", target.place(&[&POD])?, (pod, &container)).await?;
        Ok(Some(ends))
    }

    fn peer(&self, ends: &Ends, target: &Target) -> Value {
        peer(&ends.namespace, &ends.peer, &target.uid, &self.image, &ends.address)
    }

    /// Makes the pod beside it.
    pub(crate) async fn create(
        &self,
        api: &Api,
        permit: &Permit,
        ends: &Ends,
        target: &Target,
    ) -> Result<(), ActionError> {
        let is_it = |found: &Value| is_peer(found, &target.uid);
        Own { place: ends.place(), object: self.peer(ends, target), what: "a probe", is_it }.create(api, permit).await
    }

    /// Adds the container to the pod.
    pub(crate) async fn listen(
        &self,
        api: &Api,
        permit: &Permit,
        (ends, target): (&Ends, &Target),
        other: &str,
    ) -> Result<(), ActionError> {
        let container = listener(&ends.container, &self.image, other);
        api.add_container(permit, target.place(&[&POD])?, &target.uid, &container).await
    }
}

impl Ends {
    fn place(&self) -> Place<'_> {
        Place::new(&POD, Some(&self.namespace), &self.peer)
    }

    /// Waits for the address of the pod beside it.
    pub(crate) async fn other(&self, api: &Api) -> Result<String, ActionError> {
        let has_address = |pod: &Value| !text(pod, "/status/podIP").is_empty();
        if !api.wait_for(self.place(), START, has_address).await? {
            let seconds = START.as_secs();
            return Err(ActionError::failed(format!("{} has no address after {seconds} s", self.place())));
        }
        let pod = api.get(self.place()).await?.unwrap_or_default();
        Ok(text(&pod, "/status/podIP").to_owned())
    }

    /// The change that deletes the pod beside it.
    pub(crate) fn end(&self) -> Change {
        let object = ObjectRef {
            api_version: POD.api_version(),
            kind: POD.kind.to_owned(),
            namespace: Some(self.namespace.clone()),
            name: self.peer.clone(),
            uid: None,
        };
        let change = Change {
            id: "end".to_owned(),
            verb: "delete".to_owned(),
            object,
            fields: Vec::new(),
            irreversible: None,
            loses: None,
        };
        change.irreversible("the pod is of this step only")
    }

    /// What both ends have told. What cannot be had yet is nothing yet.
    async fn look(&self, api: &Api, target: &Target) -> Result<(Told, Told), ActionError> {
        let pod = api.log(target.place(&[&POD])?, &self.container, LOG_BYTES).await?;
        let peer = api.log(self.place(), CONTAINER, LOG_BYTES).await?;
        Ok((told(&pod), told(&peer)))
    }

    /// Waits until both ends reach each other, and says where they do not.
    pub(crate) async fn before(&self, api: &Api, target: &Target, context: &StepContext) -> Result<Paths, ActionError> {
        let mut last = Err(ActionError::failed("the two ends of the probe were never asked"));
        for _ in 0..LOOKS_BEFORE {
            last = self.look(api, target).await.map(|(pod, peer)| before(&pod, &peer));
            if last.as_ref().is_ok_and(|paths| paths.all(Path::Works)) {
                break;
            }
            context.sleep(LOOK).await;
        }
        last
    }

    /// What was tried, once the quarantine is in force.
    pub(crate) async fn tried(
        &self,
        api: &Api,
        target: &Target,
        before: Result<Paths, ActionError>,
        context: &StepContext,
    ) -> Tried {
        match before {
            // What did not work before proves nothing by not working now.
            Ok(before) if !before.all(Path::Works) => Tried { before, after: NOTHING, trouble: None },
            Ok(before) => match self.after(api, target, context).await {
                Ok(after) => Tried { before, after, trouble: None },
                Err(error) => Tried { before, after: NOTHING, trouble: Some(error.chain()) },
            },
            Err(error) => Tried { before: NOTHING, after: NOTHING, trouble: Some(error.chain()) },
        }
    }

    /// Watches, from when the quarantine is in force, until nothing comes through any more or the time is over.
    async fn after(&self, api: &Api, target: &Target, context: &StepContext) -> Result<Paths, ActionError> {
        let (pod, peer) = self.look(api, target).await?;
        let (mark, mut open, mut quiet) = (Mark::of(&pod, &peer), peer.open, 0);
        let mut paths = after(&pod, &peer, mark, quiet);
        for _ in 0..LOOKS_AFTER {
            context.sleep(LOOK).await;
            let (pod, peer) = self.look(api, target).await?;
            quiet = if peer.open == open { quiet + 1 } else { 0 };
            open = peer.open;
            paths = after(&pod, &peer, mark, quiet);
            if paths.all(Path::Cut) {
                break;
            }
        }
        Ok(paths)
    }

    /// Asks for the deletion of the pod beside it, if it is ours.
    pub(crate) async fn delete(&self, api: &Api, permit: &Permit, target: &str) -> Result<(), ActionError> {
        match api.get(self.place()).await?.filter(|pod| is_peer(pod, target)) {
            Some(pod) => api.delete(permit, self.place(), uid(&pod), None).await,
            None => Ok(()),
        }
    }

    /// Deletes the pod beside it, if it is ours, and waits until it is gone.
    pub(crate) async fn remove(&self, api: &Api, permit: &Permit, target: &str) -> Result<Proof, ActionError> {
        self.delete(api, permit, target).await?;
        gone(api, self.place()).await
    }

    /// Waits until the pod beside that pod is gone.
    pub(crate) async fn gone(api: &Api, target: &Target) -> Result<Proof, ActionError> {
        gone(api, Place::new(&POD, target.namespace.as_deref(), &peer_name(&target.uid))).await
    }

    /// What is proved, where labels and policies are in force.
    pub(crate) fn proof(tried: &Tried, target: &Target) -> Proof {
        judge::proof(tried, &target.to_string(), "the pod of the probe")
    }
}
