//! `notify`.

use std::time::Duration;

use async_trait::async_trait;
use lifeboat_http::{Webhook, slack_text};
use lifeboat_model::{WebhookConfig, WebhookFormat};
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Outside, change};

/// For one try.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits before the second and the third try.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Steps that are named in a message.
const NAMED: usize = 10;

/// The action `notify`.
#[derive(Debug)]
pub(crate) struct Notify(Outside);

impl Notify {
    pub(crate) fn new(outside: Outside) -> Self {
        Self(outside)
    }

    fn channel(&self, name: &str) -> Result<&WebhookConfig, ActionError> {
        let found = self.0.webhooks.iter().find(|webhook| webhook.name == name);
        found.ok_or_else(|| {
            ActionError::denied(format!("there is no webhook '{name}' in daemon.notify.webhooks of the configuration"))
        })
    }
}

/// Whom to tell what.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// The name of a webhook in `daemon.notify.webhooks` of the configuration.
    channel: String,
    /// The message.
    #[schemars(length(min = 1, max = 4000))]
    text: String,
    /// Whether to say besides how the run's steps have ended until then.
    #[serde(default = "yes")]
    steps: bool,
}

fn yes() -> bool {
    true
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// The status that the webhook answered with.
    status: u16,
}

#[async_trait]
impl Action for Notify {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "notify",
            summary: "Tell people by a webhook of the configuration",
            description: "Sends the text to a webhook that `daemon.notify.webhooks` names, in the form that it is \
                          configured for: `slack`, or `json` with the members `version`, `event` (`playbook`), `cluster`, \
                          `run`, `step`, `summary` (the text), `steps` (how those of the run have ended) and `at`. A text \
                          with expressions that only the run can tell, such as `run.summary`, could not be shown in the plan, \
                          so that somebody would have to approve it first: give a fixed text and leave the rest to `steps`. \
                          A playbook neither sees its URL or token nor \
                          chooses another server. Control characters become blanks, and Slack's markup is escaped, so that \
                          what a message quotes can neither make links nor call people. A webhook that cannot be reached \
                          or says that it is busy is tried three times, so that in rare cases a message comes twice. What \
                          is observed is that the webhook took it; whether anybody reads it is not known.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::No("a message that was sent was read"),
            repeat: Repeat::Never,
            example: "- id: tell\n  uses: notify\n  with: {channel: oncall, text: \"pod web-1 is isolated\"}\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let channel = self.channel(&inputs.channel)?;
        webhook(channel).check().map_err(|error| {
            ActionError::denied(format!("webhook '{}' cannot be called as it stands", channel.name)).because(error)
        })?;
        let message =
            change("send", "Message", inputs.channel.clone(), &json!({"text": inputs.text}), "it is read then");
        Ok(StepPlan { changes: vec![message], ..StepPlan::default() })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        context: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let channel = self.channel(&inputs.channel)?;
        let message = self.message(channel.format, inputs, context);
        writes.write("send", Inverse::None, async |permit| send(&permit, channel, message, context).await).await
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("webhook {} took it with status {}", inputs.channel, outputs.status)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Notify {
    fn message(&self, format: WebhookFormat, inputs: &Inputs, context: &StepContext) -> Vec<u8> {
        let text: String = inputs.text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let steps = if inputs.steps { standing(context) } else { String::new() };
        let cluster = self.0.cluster.as_deref();
        let message = match format {
            WebhookFormat::Json => json!({
                "version": 1, "event": "playbook", "cluster": cluster, "run": context.run().as_str(),
                "step": context.step(), "summary": text, "steps": steps, "at": context.now(),
            }),
            WebhookFormat::Slack => {
                let of = cluster.map_or_else(String::new, |cluster| format!("{cluster}: "));
                let run = context.run().as_str();
                json!({"text": slack_text(&format!("[playbook] {of}{text}\nrun: {run}\n{steps}"))})
            }
        };
        message.to_string().into_bytes()
    }
}

/// How the run's steps have ended so far: those that did not do what they were for by name, the others by number.
fn standing(context: &StepContext) -> String {
    let Some(record) = context.record() else { return String::new() };
    let ended: Vec<_> = record.steps.iter().filter_map(|step| Some((step.step.as_str(), step.outcome?))).collect();
    let bad: Vec<String> = ended
        .iter()
        .filter(|(_, outcome)| !outcome.satisfies())
        .take(NAMED)
        .map(|(step, outcome)| format!("{step} {outcome}"))
        .collect();
    let good = ended.iter().filter(|(_, outcome)| outcome.satisfies()).count();
    let of = format!("{good} of {} steps done", ended.len());
    if bad.is_empty() { of } else { format!("{of}; {}", bad.join(", ")) }
}

fn webhook(channel: &WebhookConfig) -> Webhook<'_> {
    Webhook {
        url_file: &channel.url_file,
        token_file: channel.token_file.as_deref(),
        ca_file: channel.ca_file.as_deref(),
    }
}

async fn send(
    _: &Permit,
    channel: &WebhookConfig,
    message: Vec<u8>,
    context: &StepContext,
) -> Result<Outputs, ActionError> {
    let name = &channel.name;
    let mut waits = WAITS.into_iter();
    loop {
        let error = match webhook(channel).call("", Some(message.clone().into()), PATIENCE).await {
            Ok(answer) if answer.status.is_success() => return Ok(Outputs { status: answer.status.as_u16() }),
            Ok(answer) => {
                let error = ActionError::failed(format!("webhook '{name}' answered with status {}", answer.status));
                if !answer.status.is_server_error() && answer.status != http::StatusCode::TOO_MANY_REQUESTS {
                    return Err(error);
                }
                error
            }
            Err(error) => ActionError::uncertain(format!("webhook '{name}' gave no answer")).because(error),
        };
        match waits.next() {
            Some(wait) => context.sleep(wait).await,
            None => return Err(error),
        }
    }
}
