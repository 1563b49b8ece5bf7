//! Custom resources: several versions, with and without subresources, of any content.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::fidelity::shape::{Act, Shape, Stage, dressed, text};

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let bodies = proptest::collection::vec(body(), 1..5);
    (bodies, dressed(fixed())).prop_map(|(bodies, fixed)| {
        let widgets = bodies
            .into_iter()
            .enumerate()
            .map(|(number, body)| widget(&format!("any-{number}"), json!({"spec": {"free": body}})));
        [definitions(), widgets.collect(), fixed].concat()
    })
}

fn definition(plural: &str, kind: &str, scope: &str, versions: &Value) -> Shape {
    let singular = kind.to_lowercase();
    let content = json!({"spec": {"group": "example.com", "scope": scope, "versions": versions,
        "names": {"plural": plural, "singular": singular, "kind": kind, "shortNames": [format!("{singular}s-x")],
            "categories": ["all"]}}});
    let name = format!("{plural}.example.com");
    Shape::new("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", None, name, content)
        .stage(Stage::Definitions)
}

fn definitions() -> Vec<Shape> {
    let properties = json!({
        "replicas": {"type": "integer", "default": 1, "minimum": 0, "maximum": 2_147_483_647},
        "port": {"x-kubernetes-int-or-string": true},
        "when": {"type": "string", "format": "date-time", "nullable": true},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"],
            "items": {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"},
                "value": {"type": "number"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    });
    let schema = |properties: &Value| {
        let spec = json!({"type": "object", "properties": properties});
        let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}})
    };
    let rules = json!([{"rule": "!has(self.spec) || !has(self.spec.replicas) || self.spec.replicas < 1000"}]);
    let mut validated = schema(&properties);
    validated["openAPIV3Schema"]["x-kubernetes-validations"] = rules;
    let scale = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    let columns = json!([{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1}]);
    let widgets = json!([
        {"name": "v1", "served": true, "storage": true, "schema": validated, "subresources": scale,
            "additionalPrinterColumns": columns},
        {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": schema(&properties),
            "subresources": scale},
        {"name": "v1alpha1", "served": false, "storage": false, "schema": schema(&properties)}]);
    // Without a status subresource, its status is a field like others.
    let gadgets = json!([{"name": "v2", "served": true, "storage": true, "schema": schema(&properties)}]);
    vec![definition("widgets", "Widget", "Namespaced", &widgets), definition("gadgets", "Gadget", "Cluster", &gadgets)]
}

fn widget(name: &str, content: Value) -> Shape {
    Shape::new("example.com/v1", "widgets", "Widget", Some("shop"), name, content)
}

fn fixed() -> Vec<Shape> {
    let status = json!({"replicas": 2, "selector": "app=w", "conditions": [{"type": "Ready"}]});
    let gadget = json!({"spec": {"free": {}}, "status": {"replicas": 4, "said": "by people"}});
    vec![
        widget(
            "defaulted",
            json!({"spec": {"when": null, "port": "http", "items": [{"key": "b", "value": 0.1}, {"key": "a"}]}}),
        ),
        widget("observed", json!({"spec": {"port": 80}})).act(Act::Status(status)),
        Shape::new(
            "example.com/v1beta1",
            "widgets",
            "Widget",
            Some("db-1"),
            "old-version",
            json!({"spec": {"replicas": 7}}),
        ),
        Shape::new("example.com/v2", "gadgets", "Gadget", None, "said", gadget).keeps(&["/status"]),
    ]
}

/// JSON of any shape, as schemas without a say allow it.
fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 1024.0)),
        text().prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ];
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Zé .$/~-]{1,10}", inner, 0..4)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    });
    proptest::collection::btree_map("[a-z]{1,6}", value, 0..5)
        .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>()))
}
