//! `node.cordon` and `node.protect`.

use async_trait::async_trait;
use lifeboat_playbook::{ActionError, Permission, Proof};
use serde_json::Value;

use crate::api::Api;
use crate::fields::reference;
use crate::resources::{NODE, Resource};
use crate::switch::{Set, Switch};

/// The action `node.cordon`.
pub(crate) type Cordon = Set<Unschedulable>;
/// The action `node.protect`.
pub(crate) type Protect = Set<Protected>;

pub(crate) struct Unschedulable;
pub(crate) struct Protected;

const PERMISSIONS: &[Permission] = &[Permission { group: "", resource: "nodes", verbs: &["get", "patch"] }];

#[async_trait]
impl Switch for Unschedulable {
    const NAME: &'static str = "node.cordon";
    const SUMMARY: &'static str = "Let the scheduler put no more pods on a node";
    const DESCRIPTION: &'static str = "\
Sets `spec.unschedulable`. Pods that are there stay, and so do those that need no scheduler: DaemonSets, static pods, and \
pods that name the node themselves. A rollback sets what was there before.";
    const PERMISSIONS: &'static [Permission] = PERMISSIONS;
    const ATTACK: &'static [&'static str] = &[];
    const DEFEND: &'static [&'static str] = &["D3-EI"];
    const EXAMPLE: &'static str = "- id: cordon\n  uses: node.cordon\n  with:\n    target: {apiVersion: v1, kind: Node, name: \
                                   worker-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n";

    fn resource() -> &'static Resource {
        &NODE
    }

    fn fields() -> Vec<(&'static [&'static str], Value)> {
        vec![(&["spec", "unschedulable"], true.into())]
    }

    fn warnings(_: &Value) -> Vec<String> {
        Vec::new()
    }

    async fn seen(_: &Api, object: &Value) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("{} was read again and is unschedulable", reference(object))))
    }
}

#[async_trait]
impl Switch for Protected {
    const NAME: &'static str = "node.protect";
    const SUMMARY: &'static str = "Ask autoscalers to leave a node alone, with the evidence on it";
    const DESCRIPTION: &'static str = "\
Sets the annotations by which the cluster autoscaler (`cluster-autoscaler.kubernetes.io/scale-down-disabled`) and \
Karpenter (`karpenter.sh/do-not-disrupt`) spare a node. Whether either runs, and obeys, is not tried: it is observed that \
the annotations are there. People and clouds can delete the machine all the same. A rollback sets what was there before.";
    const PERMISSIONS: &'static [Permission] = PERMISSIONS;
    const ATTACK: &'static [&'static str] = &["T1070"];
    const DEFEND: &'static [&'static str] = &[];
    const EXAMPLE: &'static str = "- id: keep\n  uses: node.protect\n  with:\n    target: {apiVersion: v1, kind: Node, name: \
                                   worker-1, uid: 2f0d7a5e-4a55-4b6e-9a3c-0c8a3f1f6d11}\n";

    fn resource() -> &'static Resource {
        &NODE
    }

    fn fields() -> Vec<(&'static [&'static str], Value)> {
        vec![
            (&["metadata", "annotations", "cluster-autoscaler.kubernetes.io/scale-down-disabled"], "true".into()),
            (&["metadata", "annotations", "karpenter.sh/do-not-disrupt"], "true".into()),
        ]
    }

    fn warnings(_: &Value) -> Vec<String> {
        Vec::new()
    }

    async fn seen(_: &Api, object: &Value) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("{} was read again and has both annotations", reference(object))))
    }
}
