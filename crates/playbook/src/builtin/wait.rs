//! `wait.time`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Action, ActionError, NoInverse, Period, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};

/// The action `wait.time`.
#[derive(Debug, Clone, Copy)]
pub struct WaitTime;

/// How long.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// How long.
    r#for: Period,
}

/// When it began and ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outputs {
    /// When the wait began.
    #[schemars(with = "String")]
    from: jiff::Timestamp,
    /// When it was over.
    #[schemars(with = "String")]
    until: jiff::Timestamp,
}

#[async_trait]
impl Action for WaitTime {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "wait.time",
            summary: "Wait for a time",
            description: "Waits, and changes nothing. To wait for something to happen, give the step that looks at it \
                          `until` and `every` instead.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::ReadsOnly,
            repeat: Repeat::Safe,
            example: "- id: settle\n  uses: wait.time\n  with: {for: 30s}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        Ok(StepPlan { seconds: Some(inputs.r#for.duration().as_secs()), ..StepPlan::default() })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        _: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let from = context.now();
        context.sleep(inputs.r#for.duration()).await;
        Ok(Outputs { from, until: context.now() })
    }

    async fn prove(&self, _: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("waited from {} until {}", outputs.from, outputs.until)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}
