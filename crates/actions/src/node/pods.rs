//! The pods of a node.

use lifeboat_playbook::ActionError;
use serde_json::Value;

use crate::api::Api;
use crate::fields::{controller, has_ended, is_mirror, items, labels, name, namespace, text};
use crate::policy::selects;
use crate::resources::POD;

/// The pods of a node that have not ended.
pub(crate) async fn pods_on(api: &Api, node: &str) -> Result<Vec<Value>, ActionError> {
    let mut pods = api.list(&POD, None).await?;
    pods.retain(|pod| text(pod, "/spec/nodeName") == node && !has_ended(pod));
    pods.sort_by_cached_key(|pod| (namespace(pod).map(str::to_owned), name(pod).to_owned()));
    Ok(pods)
}

/// Whether a pod is made again on the same node whatever becomes of it, so that evicting it is in vain.
pub(crate) fn belongs_to_node(pod: &Value) -> bool {
    is_mirror(pod) || controller(pod).is_some_and(|owner| owner.kind == "DaemonSet")
}

/// Whether a pod tolerates a taint for good.
///
/// Source: `ToleratesTaint` of `k8s.io/component-helpers/scheduling/corev1`.
pub(crate) fn tolerates(pod: &Value, (key, value, effect): (&str, &str, &str)) -> bool {
    items(pod, "/spec/tolerations").any(|toleration| {
        let own = |pointer| text(toleration, pointer);
        let for_good = toleration.get("tolerationSeconds").is_none_or(Value::is_null);
        let fits_effect = ["", effect].contains(&own("/effect"));
        let fits_key = own("/key") == key || (own("/key").is_empty() && own("/operator") == "Exists");
        let fits_value = own("/operator") == "Exists" || own("/value") == value;
        for_good && fits_effect && fits_key && fits_value
    })
}

/// The disruption budgets that let no pod like this one go now.
pub(crate) fn blocking<'a>(budgets: &'a [Value], pod: &Value) -> Vec<&'a str> {
    let is_blocking = |budget: &&Value| {
        let allowed = budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
        let selector = budget.pointer("/spec/selector");
        namespace(budget) == namespace(pod)
            && allowed <= 0
            && selector.is_some_and(|selector| selects(selector, &labels(pod)))
    };
    budgets.iter().filter(is_blocking).map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_are_those_of_the_scheduler() {
        let taint = ("lifeboat.dev/contained", "", "NoExecute");
        for (toleration, wanted) in [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "lifeboat.dev/contained", "operator": "Exists", "effect": "NoExecute"}), true),
            (json!({"key": "lifeboat.dev/contained"}), true),
            (json!({"key": "lifeboat.dev/contained", "value": "x"}), false),
            (json!({"key": "lifeboat.dev/contained", "operator": "Exists", "tolerationSeconds": 300}), false),
            (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}), false),
        ] {
            let pod = json!({"spec": {"tolerations": [toleration]}});
            assert_eq!(tolerates(&pod, taint), wanted, "{pod}");
        }
    }

    #[test]
    fn a_budget_that_blocks_is_named() {
        let budget = |name: &str, namespace: &str, allowed: i64, selector: Value| {
            json!({
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": selector},
                "status": {"disruptionsAllowed": allowed},
            })
        };
        let web = json!({"matchLabels": {"app": "web"}});
        let budgets = [
            budget("full", "shop", 0, web.clone()),
            budget("free", "shop", 1, web.clone()),
            budget("elsewhere", "other", 0, web),
            budget("of-others", "shop", 0, json!({"matchLabels": {"app": "api"}})),
            budget("of-all", "shop", 0, json!({})),
        ];
        let pod = json!({"metadata": {"namespace": "shop", "labels": {"app": "web"}}});
        assert_eq!(blocking(&budgets, &pod), ["full", "of-all"]);
    }
}
