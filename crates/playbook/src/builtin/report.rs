//! `report`.

use async_trait::async_trait;
use lifeboat_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Action, ActionError, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes, report,
};

/// The action `report`.
#[derive(Debug, Clone, Copy)]
pub struct Report;

/// Nothing is asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {}

/// The report.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outputs {
    /// The timeline of the run so far, as Markdown.
    markdown: String,
    /// SHA-256 of that text.
    sha256: Digest,
}

#[async_trait]
impl Action for Report {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "report",
            summary: "Write the timeline of the run so far",
            description: "Who asked, what was done when, and what was observed, as Markdown, for a message or an \
                          archive. `run report` gives the whole of it afterwards.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: timeline\n  uses: report\n",
        }
    }

    async fn plan(&self, _: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        Ok(StepPlan { seconds: Some(0), ..StepPlan::default() })
    }

    async fn apply(
        &self,
        _: &Inputs,
        _: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let record = context.record().ok_or_else(|| ActionError::failed("no run is under way"))?;
        let markdown = report::markdown(&record);
        Ok(Outputs { sha256: Digest::of(markdown.as_bytes()), markdown })
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let found = Digest::of(outputs.markdown.as_bytes());
        Ok(if found == outputs.sha256 {
            Proof::Observed(format!("sha256 {found}"))
        } else {
            Proof::NotObserved("the text is not the one that was written".to_owned())
        })
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
