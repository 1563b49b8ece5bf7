//! `approve`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Action, ActionError, Identity, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};

/// The action `approve`.
#[derive(Debug, Clone, Copy)]
pub struct Approve;

/// What is asked of whom.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// The question.
    text: String,
    /// How many people other than the requester have to agree.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10))]
    quorum: u32,
}

fn one() -> u32 {
    1
}

/// Who agreed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outputs {
    /// Who agreed.
    by: Vec<Identity>,
}

#[async_trait]
impl Action for Approve {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "approve",
            summary: "Wait until other people agree",
            description: "Asks, and waits until as many people other than the requester agreed to exactly this \
                          question of exactly this plan. One who says no ends it: the step is then `denied`, as it is \
                          when the step's `timeout` is over.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: sure\n  uses: approve\n  with: {text: Delete the namespace?, quorum: 2}\n  timeout: 30m\n",
        }
    }

    async fn plan(&self, _: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        Ok(StepPlan::default())
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        Ok(Outputs { by: context.approval(&inputs.text, inputs.quorum).await? })
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        let names: Vec<&str> = outputs.by.iter().map(|identity| identity.0.as_str()).collect();
        Ok(Proof::Observed(format!("approved by {}", names.join(", "))))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
