//! Objects to be made on a real API server, with what is expected of them after a restore.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The namespaces that most objects are in.
pub(crate) const NAMESPACES: [&str; 2] = ["shop", "db-1"];

/// What is expected of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is restored, and equal but for the table of differences.
    Restored,
    /// A rule of that number leaves it out.
    Skipped(u32),
}

/// When an object is made on the source: what alters or blocks others comes late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Definitions,
    Namespaces,
    First,
    Objects,
    /// Limit ranges and quotas.
    Limits,
    /// Admission policies and webhooks.
    Admission,
}

/// What is done to an object once it is there.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// `PUT` with that status.
    Status(Value),
    /// `POST` or `PUT` to a subresource.
    Subresource { name: &'static str, method: &'static str, body: Value },
    /// A merge patch.
    Patch(Value),
    /// Deleted; a finalizer keeps it.
    Delete,
    /// Waited for until its controller has seen it.
    Settle,
}

/// An object to be made.
///
/// Text of the form `@uid:RESOURCE/NAMESPACE/NAME` stands for the uid of another object. Where that is made later, the
/// owner references that hold it are set once it is there.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) stage: Stage,
    pub(crate) group_version: String,
    pub(crate) resource: &'static str,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) object: Value,
    pub(crate) acts: Vec<Act>,
    pub(crate) fate: Fate,
    /// JSON pointers of what has to be equal though the table of differences would allow another value.
    pub(crate) keeps: Vec<String>,
}

impl Shape {
    /// An object with that content besides its names.
    pub(crate) fn new(
        group_version: &str,
        resource: &'static str,
        kind: &str,
        namespace: Option<&str>,
        name: impl Into<String>,
        content: Value,
    ) -> Self {
        let name = name.into();
        let mut object = json!({"apiVersion": group_version, "kind": kind, "metadata": {"name": name}});
        merge(&mut object, content);
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        Self {
            stage: Stage::Objects,
            group_version: group_version.to_owned(),
            resource,
            namespace: namespace.map(str::to_owned),
            name,
            object,
            acts: Vec::new(),
            fate: Fate::Restored,
            keeps: Vec::new(),
        }
    }

    pub(crate) fn stage(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    pub(crate) fn skipped(self, rule: u32) -> Self {
        Self { fate: Fate::Skipped(rule), ..self }
    }

    pub(crate) fn act(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    pub(crate) fn keeps(mut self, pointers: &[&str]) -> Self {
        self.keeps.extend(pointers.iter().map(|pointer| (*pointer).to_owned()));
        self
    }

    /// Adds to the object.
    pub(crate) fn with(mut self, content: Value) -> Self {
        merge(&mut self.object, content);
        self
    }

    /// Adds to its spec.
    pub(crate) fn with_spec(self, spec: Value) -> Self {
        self.with(Value::Object(Map::from_iter([("spec".to_owned(), spec)])))
    }

    /// Adds an owner.
    pub(crate) fn owned_by(mut self, owner: &Shape, controller: bool) -> Self {
        let kind = owner.object["kind"].clone();
        let reference = json!({"apiVersion": owner.group_version, "kind": kind, "name": owner.name,
            "uid": owner.uid(), "controller": controller, "blockOwnerDeletion": controller});
        let metadata = self.object["metadata"].as_object_mut().unwrap();
        metadata.entry("ownerReferences").or_insert_with(|| json!([])).as_array_mut().unwrap().push(reference);
        self
    }

    /// What stands for its uid.
    pub(crate) fn uid(&self) -> String {
        format!("@uid:{}", self.key())
    }

    /// Resource, namespace and name.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.resource, self.namespace.as_deref().unwrap_or_default(), self.name)
    }
}

/// Merges the one into the other; lists are replaced.
pub(crate) fn merge(target: &mut Value, content: Value) {
    match (target, content) {
        (Value::Object(target), Value::Object(content)) => {
            for (name, value) in content {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, content) => *target = content,
    }
}

/// Text as people write it, in any script.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,24}",
        Just("größer ≥ 1 € — «naïve» 日本語 🚢 \u{202e}abc\u{200b}".to_owned()),
        Just("line\nline\r\n\ttab \"quoted\" \\ </script> \u{7f}".to_owned()),
        any::<String>().prop_map(|text| text.chars().filter(|c| *c != '\0').take(24).collect()),
    ]
}

/// A label's value.
pub(crate) fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,20}[a-zA-Z0-9])?"]
}

/// Labels, annotations and finalizers that no rule names.
pub(crate) fn metadata() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("(example\\.com/)?[a-z]{1,8}", label(), 0..3);
    let annotations = proptest::collection::btree_map("(notes\\.example\\.com/)?[a-z]{1,8}", text(), 0..3);
    let finalizers = prop_oneof![4 => Just(json!(null)), 1 => Just(json!(["example.com/keep", "example.com/keep-2"]))];
    (labels, annotations, finalizers).prop_map(|(labels, annotations, finalizers)| {
        let mut metadata = Map::new();
        if !labels.is_empty() {
            metadata.insert("labels".to_owned(), json!(labels));
        }
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(annotations));
        }
        if !finalizers.is_null() {
            metadata.insert("finalizers".to_owned(), finalizers);
        }
        json!({"metadata": metadata})
    })
}

/// Makes each of these shapes with metadata of its own.
pub(crate) fn dressed(shapes: Vec<Shape>) -> impl Strategy<Value = Vec<Shape>> {
    let dress = |shape: Shape| {
        metadata().prop_map(move |extra| {
            let own = json!({"metadata": shape.object["metadata"]});
            let shape = shape.clone().with(extra);
            // What the shape says of itself is what counts.
            shape.with(own)
        })
    };
    shapes.into_iter().map(dress).collect::<Vec<_>>()
}
