//! Patches that somebody wants applied to restored objects: files of them, and what they are for.
//!
//! ```yaml
//! patches:
//! - target: {kind: Deployment, namespace: shop, labels: "tier=web"}
//!   jsonPatch:
//!   - {op: replace, path: /spec/replicas, value: 1}
//! - target: {kind: Ingress}
//!   mergePatch: {metadata: {annotations: {note: restored, old: null}}}
//! ```

mod json;
mod merge;

use std::borrow::Cow;

use lifeboat_model::{ResourceArg, ResourceType, YamlError, parse_yaml};
use serde::Deserialize;
use serde_json::Value;

use self::json::Operation;
use self::merge::merge;
use super::field::{Applied, text};
use super::mapping::PATCH_RULE;
use crate::LabelSelector;
use crate::nearest::did_you_mean;

/// What a patch must not change: the object would be another one than was planned.
const IDENTITY: [&[&str]; 4] = [&["apiVersion"], &["kind"], &["metadata", "name"], &["metadata", "namespace"]];

/// A file of patches.
#[derive(Debug, Clone)]
pub struct PatchFile {
    name: String,
    patches: Vec<Patch>,
}

/// A patch that does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PatchError {
    /// File, patch and operation.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    patches: Vec<Patch>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
struct Patch {
    target: Target,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    /// RFC 6902.
    Json(Vec<Operation>),
    /// RFC 7386.
    Merge(Value),
}

/// Which objects: those that fit every member that is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    #[serde(default, deserialize_with = "selector")]
    labels: Option<LabelSelector>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    target: Target,
    json_patch: Option<Vec<Operation>>,
    merge_patch: Option<Value>,
}

fn selector<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<LabelSelector>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl TryFrom<Written> for Patch {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let change = match (written.json_patch, written.merge_patch) {
            (Some(operations), None) => Change::Json(operations),
            (None, Some(patch)) if patch.is_object() => Change::Merge(patch),
            (None, Some(_)) => return Err("mergePatch has to be an object"),
            _ => return Err("a patch has either jsonPatch or mergePatch"),
        };
        Ok(Self { target: written.target, change })
    }
}

impl Target {
    fn fits(&self, object: &Value, resource: &ResourceType) -> bool {
        let same = |wanted: &Option<String>, field: &str| {
            wanted.as_deref().is_none_or(|wanted| text(object, &["metadata", field]) == Some(wanted))
        };
        self.kind.as_deref().is_none_or(|kind| argument(kind).matches(resource))
            && same(&self.namespace, "namespace")
            && same(&self.name, "name")
            && self.labels.as_ref().is_none_or(|labels| labels.matches(object))
    }
}

fn argument(kind: &str) -> ResourceArg {
    let Ok::<_, std::convert::Infallible>(argument) = kind.parse();
    argument
}

impl PatchFile {
    /// Reads a file of patches. `name` is what errors and reports call it.
    ///
    /// # Errors
    /// With file, line and column, when it is not valid.
    pub fn parse(name: &str, text: &str) -> Result<Self, YamlError> {
        let document: Document = parse_yaml(name, text)?;
        Ok(Self { name: name.to_owned(), patches: document.patches })
    }

    /// What errors and reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What reports call each of its patches: a patch that fits no object has none of these among what was applied.
    pub fn places(&self) -> impl Iterator<Item = String> {
        (0..self.patches.len()).map(|number| self.place(number))
    }

    fn place(&self, number: usize) -> String {
        format!("{}: patches[{number}]", self.name)
    }

    /// Whether all kinds that its targets name are among these.
    ///
    /// # Errors
    /// With the place of the first that is not, and the nearest known name.
    pub fn check_kinds(&self, known: &[ResourceType]) -> Result<(), PatchError> {
        for (number, patch) in self.patches.iter().enumerate() {
            let Some(kind) = patch.target.kind.as_deref() else { continue };
            if known.iter().any(|resource| argument(kind).matches(resource)) {
                continue;
            }
            let names =
                known.iter().flat_map(|resource| [resource.kind.clone(), resource.group_resource().to_string()]);
            let problem = format!("unknown kind '{kind}'{}", did_you_mean(kind, names));
            return Err(PatchError { place: format!("{}.target.kind", self.place(number)), problem });
        }
        Ok(())
    }

    /// The patches that are for this object, as it is in the backup.
    pub(super) fn meant_for(&self, object: &Value, resource: &ResourceType) -> impl Iterator<Item = Placed<'_>> {
        let numbered = self.patches.iter().enumerate();
        let placed = numbered
            .filter(|(_, patch)| patch.target.fits(object, resource))
            .map(|(number, patch)| Placed { place: self.place(number), change: &patch.change });
        placed.collect::<Vec<_>>().into_iter()
    }
}

/// A patch and where it is written.
pub(super) struct Placed<'a> {
    place: String,
    change: &'a Change,
}

impl Placed<'_> {
    /// Applies the patch.
    pub(super) fn apply(self, object: &mut Value) -> Result<Applied, PatchError> {
        let identity = IDENTITY.map(|path| text(object, path).map(str::to_owned));
        match self.change {
            Change::Merge(patch) => merge(object, patch),
            Change::Json(operations) => {
                for (number, operation) in operations.iter().enumerate() {
                    operation.apply(object).map_err(|problem| PatchError {
                        place: format!("{}.jsonPatch[{number}] ({operation})", self.place),
                        problem,
                    })?;
                }
            }
        }
        let changed = IDENTITY.iter().zip(identity).find(|(path, was)| text(object, path) != was.as_deref());
        if let Some((path, _)) = changed {
            let problem = format!("changes {}, which makes it another object", path.join("."));
            return Err(PatchError { place: self.place, problem });
        }
        Ok(Applied { rule: PATCH_RULE, field: Cow::Owned(self.place) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::prepare::{Transforms, prepare};
    use super::super::testing::resource;
    use super::*;

    fn file(text: &str) -> PatchFile {
        PatchFile::parse("fix.yaml", text).unwrap()
    }

    fn object() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web"}}, "data": {"k": "v"}})
    }

    fn config_maps() -> ResourceType {
        ResourceType { kind: "ConfigMap".to_owned(), ..resource("", "configmaps") }
    }

    fn patched(text: &str) -> Result<(Value, Vec<Applied>), PatchError> {
        let transforms = Transforms {
            patches: vec![file(text)],
            namespaces: [("shop".to_owned(), "copy".to_owned())].into(),
            ..Transforms::default()
        };
        let mut object = object();
        let applied = prepare(&mut object, &config_maps(), &transforms)?;
        Ok((object, applied))
    }

    #[test]
    fn targets() {
        for (target, expected) in [
            ("{}", true),
            ("{kind: ConfigMap}", true),
            ("{kind: configmaps}", true),
            ("{kind: Secret}", false),
            ("{namespace: shop, name: a}", true),
            ("{namespace: copy}", false),
            ("{labels: 'app in (web, db),!old'}", true),
            ("{labels: app=db}", false),
            ("{kind: ConfigMap, name: b}", false),
        ] {
            let (object, applied) =
                patched(&format!("patches:\n- target: {target}\n  mergePatch: {{data: {{k: w}}}}\n")).unwrap();
            assert_eq!(object["data"]["k"] == "w", expected, "{target}");
            let places: Vec<&str> =
                applied.iter().filter(|applied| applied.rule == PATCH_RULE).map(|applied| &*applied.field).collect();
            assert_eq!(places, if expected { vec!["fix.yaml: patches[0]"] } else { vec![] }, "{target}");
            assert_eq!(object["metadata"]["namespace"], "copy");
        }
    }

    #[test]
    fn what_does_not_apply_says_where() {
        let text = "patches:\n- target: {}\n  mergePatch: {data: {k: w}}\n- target: {name: a}\n  jsonPatch:\n  \
                    - {op: test, path: /data/k, value: w}\n  - {op: replace, path: /data/other/deep, value: 1}\n";
        let error = patched(text).unwrap_err();
        assert_eq!(error.place, "fix.yaml: patches[1].jsonPatch[1] (replace /data/other/deep)");
        assert_eq!(error.problem, "there is no 'other' in '/data'");
    }

    #[test]
    fn an_object_stays_the_one_that_it_is() {
        for patch in ["{metadata: {name: b}}", "{metadata: {namespace: x}}", "{kind: Secret}", "{metadata: null}"] {
            let error = patched(&format!("patches:\n- target: {{}}\n  mergePatch: {patch}\n")).unwrap_err();
            assert!(error.problem.contains("another object"), "{patch}: {error}");
        }
    }

    #[test]
    fn bad_files_have_their_place() {
        for (text, expected) in [
            (
                "patches:\n- target: {kindd: Pod}\n  mergePatch: {}\n",
                "fix.yaml:2:12: unknown key 'kindd', did you mean 'kind'?",
            ),
            ("patches:\n- target: {}\n", "fix.yaml:2:3: a patch has either jsonPatch or mergePatch"),
            ("patches:\n- target: {}\n  mergePatch: [1]\n", "fix.yaml:2:3: mergePatch has to be an object"),
            ("patches:\n- target: {labels: 'a b'}\n  mergePatch: {}\n", "fix.yaml:2:20: 'a b' is not a label selector"),
            (
                "patches:\n- target: {}\n  jsonPatch:\n  - {op: replce, path: /a, value: 1}\n",
                "fix.yaml:4:10: unknown value 'replce', did you mean 'replace'?",
            ),
            (
                "patches:\n- target: {}\n  jsonPatch:\n  - {op: add, path: a, value: 1}\n",
                "fix.yaml:4:5: 'a' is not a JSON pointer: it has to begin with '/'",
            ),
            ("patches:\n- target: {}\n  jsonPatch:\n  - {op: add, path: /a}\n", "fix.yaml:4:5: 'add' needs a value"),
            ("patches:\n- target: {}\n  jsonPatch:\n  - {op: move, path: /a}\n", "fix.yaml:4:5: 'move' needs from"),
            ("patch: []\n", "fix.yaml:1:1: unknown key 'patch', did you mean 'patches'?"),
        ] {
            let error = PatchFile::parse("fix.yaml", text).unwrap_err().to_string();
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn unknown_kinds_have_the_nearest_name() {
        let known = [config_maps(), ResourceType { kind: "Deployment".to_owned(), ..resource("apps", "deployments") }];
        let two = file("patches:\n- target: {}\n  mergePatch: {}\n- target: {kind: Deploiment}\n  mergePatch: {}\n");
        let error = two.check_kinds(&known).unwrap_err().to_string();
        assert_eq!(error, "fix.yaml: patches[1].target.kind: unknown kind 'Deploiment', did you mean 'Deployment'?");
        assert_eq!(
            file("patches:\n- target: {kind: deployments.apps}\n  mergePatch: {}\n").check_kinds(&known),
            Ok(())
        );
        assert_eq!(two.places().collect::<Vec<_>>(), ["fix.yaml: patches[0]", "fix.yaml: patches[1]"]);
    }
}
