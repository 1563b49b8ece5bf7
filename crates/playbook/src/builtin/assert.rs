//! `assert`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Action, ActionError, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes};

/// The action `assert`.
#[derive(Debug, Clone, Copy)]
pub struct Assert;

/// What is held to be true.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// Has to be true, as `${{ steps.hunt.count == 0 }}`.
    that: bool,
    /// What to say when it is not.
    message: String,
}

/// Nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outputs {}

#[async_trait]
impl Action for Assert {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "assert",
            summary: "Fail unless something is true",
            description: "The step fails, and with it whatever needs it, when `that` is false. It changes nothing.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: sure\n  uses: assert\n  with: {that: \"${{ 1 < 2 }}\", message: numbers are broken}\n",
        }
    }

    async fn plan(&self, _: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        Ok(StepPlan { seconds: Some(0), ..StepPlan::of_outputs(Outputs {}) })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        if inputs.that { Ok(Outputs {}) } else { Err(ActionError::failed(&inputs.message)) }
    }

    async fn prove(&self, _: &Inputs, _: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        Ok(Proof::Observed("it is true".to_owned()))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
