//! Label selectors.

use serde_json::Value;

use crate::fields::{Labels, items, text, texts};

/// Whether a `LabelSelector` selects an object with those labels. An empty one selects everything; one with an operator
/// that is not known here selects it too, so that nothing is taken to be cut off that might not be.
///
/// Source: `LabelSelectorAsSelector` of `k8s.io/apimachinery/pkg/apis/meta/v1`.
pub(crate) fn selects(selector: &Value, labels: &Labels) -> bool {
    let equal = texts(selector, "/matchLabels").iter().all(|(key, value)| labels.get(key) == Some(value));
    equal && items(selector, "/matchExpressions").all(|expression| meets(expression, labels))
}

fn meets(expression: &Value, labels: &Labels) -> bool {
    let found = labels.get(text(expression, "/key"));
    let is_among = |value: &String| items(expression, "/values").any(|wanted| wanted.as_str() == Some(value));
    match text(expression, "/operator") {
        "In" => found.is_some_and(is_among),
        "NotIn" => !found.is_some_and(is_among),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select_as_kubernetes_does() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())]);
        let expression = |operator, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        for (selector, wanted) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "tier": "back"}}), false),
            (expression("In", &["web", "api"]), true),
            (expression("In", &["api"]), false),
            (expression("NotIn", &["api"]), true),
            (expression("NotIn", &["web"]), false),
            (expression("Exists", &[]), true),
            (expression("DoesNotExist", &[]), false),
            (expression("Gt", &["1"]), true),
            (json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
        ] {
            assert_eq!(selects(&selector, &labels), wanted, "{selector}");
        }
        // NotIn is also met by what has no such label.
        let absent = json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]});
        assert!(selects(&absent, &labels));
    }
}
