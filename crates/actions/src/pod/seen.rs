//! What can be seen of a quarantine.

use lifeboat_playbook::{ActionError, Proof};
use serde_json::Value;

use super::probe::{Ends, Tried};
use super::quarantine::{is_quarantine, is_quarantined, policy_name};
use crate::api::{Api, Place};
use crate::fields::{has_ended, is_mirror, labels, name, text, texts, uid};
use crate::policy::residual;
use crate::resources::{DAEMON_SET, NETWORK_POLICY, POD, SERVICE};
use crate::target::Target;

/// The node agents of network plugins that enforce policies, by their names and where they are installed.
const ENFORCERS: [(&str, &str); 6] = [
    ("antrea-agent", "kube-system"),
    ("calico-node", "calico-system"),
    ("calico-node", "kube-system"),
    ("cilium", "kube-system"),
    ("kube-router", "kube-system"),
    ("weave-net", "kube-system"),
];

/// The Services whose endpoints a pod with those labels would be.
pub(crate) fn services<'a>(services: &'a [Value], pod: &Value) -> Vec<&'a str> {
    let labels = labels(pod);
    let selecting = services.iter().filter(|service| {
        let selector = texts(service, "/spec/selector");
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    });
    selecting.map(name).collect()
}

/// Looks at labels, policies and Services again. Even when all is as it should be, that packets are dropped is not seen
/// from here: what a probe saw says it, and without one that is said, and no success.
pub(crate) async fn prove(api: &Api, target: &Target, tried: Option<&Tried>) -> Result<Proof, ActionError> {
    if let Some(fault) = fault(api, target).await? {
        return Ok(Proof::NotObserved(format!("NOT ISOLATED: {fault}")));
    }
    if let Some(tried) = tried {
        return Ok(Ends::proof(tried, target));
    }
    let enforcer = match enforcer(api).await {
        Some(found) => format!(
            "{found} runs here and is known to enforce network policies, but no packet was sent to try it, and \
             connections that were open may live on"
        ),
        None => "nothing was found here that enforces network policies".to_owned(),
    };
    Ok(Proof::NotObserved(format!(
        "NOT PROVED ISOLATED: labels and policy are in force, no policy of the namespace allows anything and no Service \
         selects it; {enforcer}"
    )))
}

/// What of the quarantine is not in force.
async fn fault(api: &Api, target: &Target) -> Result<Option<String>, ActionError> {
    let namespace = target.namespace.as_deref();
    let not_isolated = |why: String| Ok(Some(why));
    let Some(pod) = api.get(target.place(&[&POD])?).await?.filter(|pod| uid(pod) == target.uid) else {
        return not_isolated(format!("{target} is not there any more"));
    };
    if !is_quarantined(&pod) {
        return not_isolated(format!("the labels of {target} are not those of the quarantine: {:?}", labels(&pod)));
    }
    let policies = api.list(&NETWORK_POLICY, namespace).await?;
    if !policies.iter().any(|policy| is_quarantine(policy, &target.uid)) {
        return not_isolated(format!("NetworkPolicy {} is not in force", policy_name(&target.uid)));
    }
    let open = residual(&policies, &labels(&pod));
    if !open.is_empty() {
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        return not_isolated(open.join("; "));
    }
    let all = api.list(&SERVICE, namespace).await?;
    let selecting = services(&all, &pod);
    if !selecting.is_empty() {
        return not_isolated(format!("Services still select it: {}", selecting.join(", ")));
    }
    Ok(None)
}

/// A network plugin that is known to enforce policies, and whose agents run.
async fn enforcer(api: &Api) -> Option<String> {
    for (name, namespace) in ENFORCERS {
        // What cannot be read is not found, which is what is then said.
        let found = api.get(Place::new(&DAEMON_SET, Some(namespace), name)).await.ok().flatten();
        let count = |pointer| found.as_ref().and_then(|set| set.pointer(pointer)).and_then(Value::as_u64).unwrap_or(0);
        let (ready, wanted) = (count("/status/numberReady"), count("/status/desiredNumberScheduled"));
        if ready > 0 {
            return Some(format!("DaemonSet {namespace}/{name} ({ready} of {wanted} nodes)"));
        }
    }
    None
}

/// Policies of other APIs, which may allow what network policies do not: named, since they are not recomputed.
pub(crate) async fn other_policies(api: &Api) -> Vec<String> {
    let Ok(discovery) = api.cluster.discover().await else {
        return vec!["which other policy APIs are there could not be found out".to_owned()];
    };
    let groups =
        ["cilium.io", "crd.projectcalico.org", "projectcalico.org", "policy.networking.k8s.io", "crd.antrea.io"];
    let other = discovery
        .types
        .iter()
        .filter(|known| groups.contains(&known.group.as_str()) && known.kind.ends_with("NetworkPolicy"));
    other
        .map(|known| format!("objects of {} may allow traffic too, and are not looked at", known.group_resource()))
        .collect()
}

/// Why a pod cannot be isolated by labels and policies.
pub(crate) fn refusal(pod: &Value) -> Option<String> {
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        let node = text(pod, "/spec/nodeName");
        return Some(format!(
            "it uses the network of its node, which network policies do not cover: isolate node {node} instead \
             (node.cordon, node.taint)"
        ));
    }
    if is_mirror(pod) {
        return Some(
            "it is the mirror of a static pod, which the kubelet makes again from a file on its node: isolate the node \
             instead"
                .to_owned(),
        );
    }
    if crate::fields::is_going(pod) {
        return Some("it is being deleted".to_owned());
    }
    let ended = has_ended(pod);
    ended.then(|| "nothing runs in it any more".to_owned())
}

/// Services that a pod serves before it is isolated, in words.
pub(crate) fn lost_services(all: &[Value], pod: &Value) -> Option<String> {
    let served = services(all, pod);
    (!served.is_empty()).then(|| format!("these Services lose it as an endpoint: {}", served.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_select_by_all_of_their_labels() {
        let service = |name: &str, selector: Value| json!({"metadata": {"name": name}, "spec": {"selector": selector}});
        let all = [
            service("web", json!({"app": "web"})),
            service("both", json!({"app": "web", "tier": "front"})),
            service("other", json!({"app": "api"})),
            json!({"metadata": {"name": "without"}, "spec": {}}),
        ];
        let pod = json!({"metadata": {"labels": {"app": "web", "x": "y"}}});
        assert_eq!(services(&all, &pod), ["web"]);
        assert_eq!(services(&all, &json!({"metadata": {}})), Vec::<&str>::new());
    }

    #[test]
    fn what_policies_do_not_cover_is_refused() {
        let host = json!({"spec": {"hostNetwork": true, "nodeName": "n1"}});
        assert!(refusal(&host).unwrap().contains("isolate node n1 instead"));
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert!(refusal(&mirror).unwrap().contains("static pod"));
        assert!(refusal(&json!({"status": {"phase": "Succeeded"}})).is_some());
        assert_eq!(refusal(&json!({"spec": {}, "status": {"phase": "Running"}})), None);
    }
}
