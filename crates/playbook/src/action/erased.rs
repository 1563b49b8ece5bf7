//! Actions whose types are known to themselves only.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::writes::{WriteLog, read_inverse};
use super::{Action, ActionError, Permit, Statement, StepContext, StepPlan, Writes};
use crate::Proof;

/// An [`Action`] whose inputs, outputs and inverses are JSON.
#[async_trait]
pub(crate) trait AnyAction: Send + Sync {
    fn statement(&self) -> Statement;
    /// JSON Schema of its inputs.
    fn inputs(&self) -> &Value;
    /// JSON Schema of its outputs.
    fn outputs(&self) -> &Value;
    /// Whether these inputs can be read; the message says why not.
    fn accepts(&self, inputs: &Value) -> Result<(), String>;
    async fn plan(&self, inputs: &Value, context: &StepContext) -> Result<StepPlan, ActionError>;
    async fn apply(
        &self,
        inputs: &Value,
        plan: &StepPlan,
        log: &mut WriteLog,
        context: &StepContext,
    ) -> Result<Value, ActionError>;
    async fn prove(&self, inputs: &Value, outputs: &Value, context: &StepContext) -> Result<Proof, ActionError>;
    async fn undo(&self, inverse: Value, permit: &Permit, context: &StepContext) -> Result<Proof, ActionError>;
}

pub(crate) fn erase<A: Action>(action: A) -> Arc<dyn AnyAction> {
    let inputs = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<A::Inputs>();
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let outputs = settings.into_generator().into_root_schema_for::<A::Outputs>();
    Arc::new(Erased { action, inputs: inputs.to_value(), outputs: outputs.to_value() })
}

/// An action with its schemas, which every step that uses it is held to.
struct Erased<A> {
    action: A,
    inputs: Value,
    outputs: Value,
}

#[async_trait]
impl<A: Action> AnyAction for Erased<A> {
    fn statement(&self) -> Statement {
        self.action.statement()
    }

    fn inputs(&self) -> &Value {
        &self.inputs
    }

    fn outputs(&self) -> &Value {
        &self.outputs
    }

    fn accepts(&self, inputs: &Value) -> Result<(), String> {
        serde_json::from_value::<A::Inputs>(inputs.clone()).map(drop).map_err(|error| error.to_string())
    }

    async fn plan(&self, inputs: &Value, context: &StepContext) -> Result<StepPlan, ActionError> {
        let plan = self.action.plan(&read("inputs", inputs)?, context).await?;
        let outputs = plan.outputs.as_ref().map(|outputs| written("outputs", outputs)).transpose()?;
        Ok(plan.with_outputs(outputs))
    }

    async fn apply(
        &self,
        inputs: &Value,
        plan: &StepPlan,
        log: &mut WriteLog,
        context: &StepContext,
    ) -> Result<Value, ActionError> {
        let outputs = plan.outputs.as_ref().map(|outputs| read("outputs", outputs)).transpose()?;
        let plan = plan.clone().with_outputs(outputs);
        let mut writes = Writes::new(log);
        written("outputs", &self.action.apply(&read("inputs", inputs)?, &plan, &mut writes, context).await?)
    }

    async fn prove(&self, inputs: &Value, outputs: &Value, context: &StepContext) -> Result<Proof, ActionError> {
        self.action.prove(&read("inputs", inputs)?, &read("outputs", outputs)?, context).await
    }

    async fn undo(&self, inverse: Value, permit: &Permit, context: &StepContext) -> Result<Proof, ActionError> {
        self.action.undo(read_inverse(inverse)?, permit, context).await
    }
}

fn read<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, ActionError> {
    T::deserialize(value).map_err(|error| ActionError::failed(format!("the {what} do not fit")).because(error))
}

fn written<T: Serialize>(what: &str, value: &T) -> Result<Value, ActionError> {
    serde_json::to_value(value)
        .map_err(|error| ActionError::failed(format!("the {what} cannot be written down")).because(error))
}
