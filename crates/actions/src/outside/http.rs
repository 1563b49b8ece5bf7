//! `run.http`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method as HttpMethod, Request, Uri};
use lifeboat_http::{Addresses, Bounds, Client};
use lifeboat_model::HttpHost;
use lifeboat_playbook::{
    Action, ActionError, Inverse, NoInverse, Permit, Proof, Repeat, Statement, StepContext, StepPlan, Undo, Writes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Outside, change, tamed};

/// What is kept of an answer, in bytes.
const ANSWER: usize = 64 * 1024;
/// For the request and its answer, unless it is said.
const SECONDS: u32 = 30;

/// The action `run.http`.
#[derive(Debug)]
pub(crate) struct Http(Outside);

/// How a server is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl From<Method> for HttpMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Head => Self::HEAD,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
        }
    }
}

fn seconds() -> u32 {
    SECONDS
}

/// A request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Inputs {
    /// Its URL, of a host that `playbooks.hosts` of the configuration names.
    #[schemars(length(min = 1, max = 2048))]
    url: String,
    /// How the server is asked.
    #[serde(default)]
    method: Method,
    /// Headers. Those that are secret are in `headersFile` of the host, in the configuration, and win over these.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    #[schemars(length(max = 65_536))]
    body: String,
    /// The status that is success; any from 200 to 299 where empty.
    #[serde(default)]
    #[schemars(length(max = 20))]
    expect_status: Vec<u16>,
    /// For how many seconds to wait for the answer.
    #[serde(default = "seconds")]
    #[schemars(range(min = 1, max = 600))]
    seconds: u32,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Outputs {
    /// Its status.
    status: u16,
    /// Its body, at most the first 64 KiB, as text.
    body: String,
    /// Whether there was more.
    is_cut: bool,
}

#[async_trait]
impl Action for Http {
    type Inputs = Inputs;
    type Outputs = Outputs;
    type Inverse = NoInverse;

    fn statement(&self) -> Statement {
        Statement {
            name: "run.http",
            summary: "Make an HTTP request to a host that the configuration allows",
            description: "Makes one request. The host and port have to be in `playbooks.hosts` of the configuration, as \
                          they are written; without it nothing can be called. It is `https://`, with a certificate that is \
                          verified, unless the host is `plain` there. The host's name must not stand for this machine or its \
                          link, such as a cloud's metadata service, whatever its record says; an address that is listed as \
                          an address may. A redirect is not followed: it is an answer like any other. Any other status than \
                          the expected one is a failure. Headers that are secret are read from the host's `headersFile`; \
                          neither the plan nor the journal has them, but both have `url`, `headers` and `body`, and the \
                          journal the first 64 KiB of the answer. The request bears `Idempotency-Key`, which is the same if \
                          it is ever repeated. Where no answer came, nobody knows whether it was done, and it is not tried \
                          again.",
            permissions: &[],
            attack: &[],
            defend: &[],
            undo: Undo::No("what a server does with a request is not known here"),
            repeat: Repeat::Never,
            example: "- id: block\n  uses: run.http\n  with:\n    url: https://firewall.example/v1/blocks\n    method: \
                      POST\n    headers: {Content-Type: application/json}\n    body: '{\"address\": \"203.0.113.7\"}'\n    \
                      expectStatus: [201]\n",
        }
    }

    async fn plan(&self, inputs: &Inputs, _: &StepContext) -> Result<StepPlan<Outputs>, ActionError> {
        let (_, request) = self.prepare(inputs)?;
        let what = json!({"headers": inputs.headers, "body": inputs.body});
        let name = format!("{} {}", request.method(), inputs.url);
        let request = change("send", "Request", name, &what, "what the server does with it is not known here");
        Ok(StepPlan { changes: vec![request], ..StepPlan::default() })
    }

    async fn apply(
        &self,
        inputs: &Inputs,
        _: &StepPlan<Outputs>,
        writes: &mut Writes<'_, NoInverse>,
        _: &StepContext,
    ) -> Result<Outputs, ActionError> {
        let (client, request) = self.prepare(inputs)?;
        writes.write("send", Inverse::None, async |permit| send(&permit, &client, request, inputs).await).await
    }

    async fn prove(&self, inputs: &Inputs, outputs: &Outputs, _: &StepContext) -> Result<Proof, ActionError> {
        Ok(Proof::Observed(format!("{} answered with status {}", inputs.url, outputs.status)))
    }

    async fn undo(&self, inverse: NoInverse, _: &Permit, _: &StepContext) -> Result<Proof, ActionError> {
        match inverse {}
    }
}

impl Http {
    pub(crate) fn new(outside: Outside) -> Self {
        Self(outside)
    }

    fn prepare(&self, inputs: &Inputs) -> Result<(Client, Request<Bytes>), ActionError> {
        let (uri, host) = self.allowed(&inputs.url)?;
        let mut request = Request::new(Bytes::from(inputs.body.clone()));
        *request.method_mut() = inputs.method.into();
        *request.uri_mut() = uri;
        for (name, value) in &inputs.headers {
            let wrong = || ActionError::denied(format!("'{name}' is no header, or its value cannot be one"));
            let (name, value): (HeaderName, HeaderValue) =
                (name.parse().map_err(|_| wrong())?, value.parse().map_err(|_| wrong())?);
            // The host is what was allowed, and lengths are what is sent.
            if [http::header::HOST, http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&name) {
                return Err(ActionError::denied(format!("the header '{name}' is not a playbook's to set")));
            }
            request.headers_mut().append(name, value);
        }
        let unusable = |error| {
            ActionError::denied(format!("host '{}' cannot be called as it is configured", host.host)).because(error)
        };
        if let Some(file) = &host.headers_file {
            for (name, value) in lifeboat_http::headers(file).map_err(unusable)? {
                if let Some(name) = name {
                    request.headers_mut().insert(name, value);
                }
            }
        }
        let client = Client::new(host.ca_file.as_deref(), Addresses::Routed).map_err(unusable)?;
        Ok((client, request))
    }

    fn allowed(&self, url: &str) -> Result<(Uri, &HttpHost), ActionError> {
        let uri: Uri = url.parse().map_err(|error| ActionError::denied(format!("'{url}' is no URL")).because(error))?;
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()).unwrap_or_default();
        let default = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => ":443",
            Some(scheme) if *scheme == Scheme::HTTP => ":80",
            _ => return Err(ActionError::denied(format!("'{url}' is no https:// or http:// URL"))),
        };
        let bare = |authority: &str| authority.strip_suffix(default).unwrap_or(authority).to_owned();
        let host = self.0.hosts.iter().find(|host| bare(&host.host.to_ascii_lowercase()) == bare(&authority));
        let host = host.ok_or_else(|| {
            ActionError::denied(format!("'{authority}' is not in playbooks.hosts of the configuration"))
        })?;
        if default == ":80" && !host.plain {
            return Err(ActionError::denied(format!("'{authority}' may be called by https:// alone")));
        }
        Ok((uri, host))
    }
}

async fn send(
    permit: &Permit,
    client: &Client,
    mut request: Request<Bytes>,
    inputs: &Inputs,
) -> Result<Outputs, ActionError> {
    if let Ok(key) = HeaderValue::from_str(permit.id()) {
        request.headers_mut().insert("idempotency-key", key);
    }
    let bounds = Bounds { time: Duration::from_secs(inputs.seconds.into()), body: ANSWER };
    let answer = client.send(request, bounds).await.map_err(|error| {
        ActionError::uncertain(format!("{} gave no answer, and may have done what it was asked", inputs.url))
            .because(error)
    })?;
    let status = answer.status.as_u16();
    let expected = match inputs.expect_status.as_slice() {
        [] => answer.status.is_success(),
        expected => expected.contains(&status),
    };
    let body = tamed(&answer.body);
    if expected {
        return Ok(Outputs { status, body, is_cut: answer.is_cut });
    }
    let beginning: String = body.chars().take(200).collect();
    Err(ActionError::failed(format!("{} answered with status {status}: {beginning}", inputs.url)))
}
