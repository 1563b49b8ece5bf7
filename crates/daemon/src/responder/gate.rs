//! Whether the API server lets nobody pretend to be somebody else.
//!
//! That the requester of a run and the approver of a plan are who they say is kept by an admission policy, which the
//! responder cannot see in an object afterwards. So it tries itself to lie, by dry runs: as long as it is not refused by the
//! policy, it begins nothing.

use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use lifeboat_model::Digest;
use lifeboat_playbook::{PlaybookApprovalSpec, PlaybookRunSpec, RunApproval};

use super::Shared;
use crate::controllers::driver::Failure;
use crate::resources::{PlaybookApproval, PlaybookApprovalResource, PlaybookRun, PlaybookRunResource};

/// A name that nobody bears: the API server has none with this prefix.
const NOBODY: &str = "system:lifeboat:nobody";
const PROBE: &str = "lifeboat-probe";
/// What the policy says.
const REFUSAL: &str = "has to be whoever creates";

/// Why nobody can be believed, if that is so.
pub(super) async fn open(shared: &Shared) -> Result<Option<String>, Failure> {
    let metadata = || ObjectMeta {
        name: Some(PROBE.to_owned()),
        namespace: Some(shared.namespace.clone()),
        ..ObjectMeta::default()
    };
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let run = PlaybookRunSpec {
        playbook: PROBE.to_owned(),
        requester: NOBODY.to_owned(),
        inputs: std::collections::BTreeMap::new(),
        approval: RunApproval::Manual,
        cancelled_by: None,
        rolled_back_by: None,
    };
    let run = PlaybookRun { metadata: metadata(), spec: PlaybookRunResource(run), status: None };
    let runs: Api<PlaybookRun> = Api::namespaced(shared.cluster.client().clone(), &shared.namespace);
    if let Some(problem) = judged("PlaybookRun", runs.create(&parameters, &run).await)? {
        return Ok(Some(problem));
    }
    let approval = PlaybookApprovalSpec {
        run: PROBE.to_owned(),
        run_uid: PROBE.to_owned(),
        hash: Digest([0; 32]),
        approver: NOBODY.to_owned(),
        approve: true,
    };
    let approval = PlaybookApproval { metadata: metadata(), spec: PlaybookApprovalResource(approval), status: None };
    let approvals: Api<PlaybookApproval> = Api::namespaced(shared.cluster.client().clone(), &shared.namespace);
    judged("PlaybookApproval", approvals.create(&parameters, &approval).await)
}

fn judged<K>(kind: &str, answer: Result<K, kube::Error>) -> Result<Option<String>, Failure> {
    match answer {
        Ok(_) => Ok(Some(format!(
            "whoever may create a {kind} can pretend to be anybody: the admission policies of playbooks are not in force"
        ))),
        Err(kube::Error::Api(status)) if status.message.contains(REFUSAL) => Ok(None),
        Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
            Ok(Some(format!("it cannot be found out whether a {kind} can be forged: {}", status.message)))
        }
        Err(error) => Err(error.into()),
    }
}
