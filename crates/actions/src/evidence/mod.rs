//! Keeping what a containment would destroy.

mod clock;
mod folder;
mod live;
mod logs;
mod objects;
mod seal;

use lifeboat_playbook::{ActionError, Change, Proof, StepContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use folder::EvidenceFolder;
pub(crate) use folder::Item;
pub(crate) use live::Live;
pub(crate) use logs::Logs;
pub(crate) use objects::{Objects, clocks};
pub(crate) use seal::Seal;

use crate::target::Target;

const KEPT: &str = "evidence is only added";

/// What was kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The files, with their digests.
    pub(crate) evidence: Vec<Item>,
    /// What was looked for and not captured, and why.
    pub(crate) missing: Vec<String>,
}

/// The one write of a step that keeps evidence.
fn save(target: &Target, what: &str) -> Change {
    let object = lifeboat_playbook::ObjectRef {
        api_version: "lifeboat.dev/v1alpha1".to_owned(),
        kind: "Evidence".to_owned(),
        // Nothing is done in the namespace: that it is protected must not keep anybody from looking at it.
        namespace: None,
        name: format!("{what} of {target}"),
        uid: None,
    };
    Change {
        id: "save".to_owned(),
        verb: "save".to_owned(),
        object,
        fields: Vec::new(),
        irreversible: Some(KEPT.to_owned()),
        loses: None,
    }
}

/// Reads every file again. Evidence with gaps is true, and not all that was asked for.
async fn prove(folder: &EvidenceFolder, outputs: &Outputs, context: &StepContext) -> Result<Proof, ActionError> {
    let mut bytes = 0;
    for item in &outputs.evidence {
        folder.read(item).await?;
        bytes += item.bytes;
    }
    let count = outputs.evidence.len();
    let place = folder.place(context.run());
    let text = format!("{count} files of {bytes} bytes were read again and have their digests, in {place}");
    if outputs.missing.is_empty() && count > 0 {
        return Ok(Proof::Observed(text));
    }
    Ok(Proof::NotObserved(format!("{text}; not captured: {}", outputs.missing.join("; "))))
}
