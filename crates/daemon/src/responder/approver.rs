//! People, by the objects that they create.
//!
//! The admission policy has made sure that the approver of each is who created it, and was allowed to. What is left to judge
//! is whether it is about this run, this plan, and by somebody else than the requester. What does not count is told on the
//! object, and waits for another one: it ends nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kube::ResourceExt as _;
use kube::api::ListParams;
use lifeboat_model::{Condition, Digest};
use lifeboat_playbook::{
    ActionError, ApprovalRequest, Approver, Identity, PlaybookApprovalSpec, PlaybookApprovalStatus, RunQuestion, Vote,
};
use lifeboat_recovery::chain;
use tokio::time::sleep;

use super::progress::Progress;
use super::{Shared, gate};
use crate::controllers::driver::{Failure, Guarded, PAGE};
use crate::controllers::is_restored;
use crate::resources::PlaybookApproval;

/// How often it is looked whether somebody has answered.
const LOOK: Duration = Duration::from_secs(1);

/// Asks by the status of a run, and is answered by objects.
pub(super) struct ByObjects {
    pub(super) shared: Arc<Shared>,
    /// The UID of the run's object.
    pub(super) uid: String,
    pub(super) progress: Arc<Progress>,
    pub(super) counted: Mutex<BTreeSet<(Digest, String)>>,
}

/// What an approval is worth.
enum Worth {
    Counts,
    /// It was counted before, or it is not known yet.
    Known,
    Void(&'static str, String),
}

#[async_trait]
impl Approver for ByObjects {
    async fn vote(&self, request: &ApprovalRequest) -> Result<Vote, ActionError> {
        self.progress.ask(RunQuestion::new(request.hash, &request.text, request.quorum));
        loop {
            match self.answers().await {
                Ok(answers) => {
                    for (object, answer) in answers {
                        if let Some(vote) = self.judged(request, &object, &answer).await {
                            return Ok(vote);
                        }
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "approvals cannot be listed"),
            }
            sleep(LOOK).await;
        }
    }
}

impl ByObjects {
    /// The approvals of this run, oldest first.
    async fn answers(&self) -> Result<Vec<(Guarded<PlaybookApproval>, PlaybookApprovalSpec)>, Failure> {
        let api = self.shared.api::<PlaybookApproval>();
        let mut parameters = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = api.list(&parameters).await?;
            for object in page.items {
                let spec = object.0.as_ref().ok().map(|approval| approval.spec.0.clone());
                if let Some(spec) = spec.filter(|spec| spec.run_uid == self.uid && !is_restored(&object)) {
                    found.push((object, spec));
                }
            }
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => break,
            }
        }
        found.sort_by_key(|(object, _)| (object.creation_timestamp().map(|time| time.0), object.name_any()));
        Ok(found)
    }

    async fn judged(
        &self,
        request: &ApprovalRequest,
        object: &Guarded<PlaybookApproval>,
        answer: &PlaybookApprovalSpec,
    ) -> Option<Vote> {
        let worth = match self.worth(request, answer) {
            Worth::Counts => self.believed().await,
            worth => worth,
        };
        let (holds, reason, message) = match &worth {
            Worth::Counts => (true, "Counted", "it is about this plan, by somebody else".to_owned()),
            Worth::Known => return None,
            Worth::Void(reason, message) => (false, *reason, message.clone()),
        };
        let condition = Condition::new("Counted", holds, reason, &message, self.shared.now());
        let told = object.0.as_ref().ok().and_then(|approval| approval.status.as_ref());
        let same = |told: &PlaybookApprovalStatus| {
            told.conditions.iter().any(|known| known.reason == condition.reason && known.message == condition.message)
        };
        if !told.is_some_and(same) {
            let status = PlaybookApprovalStatus { conditions: vec![condition] };
            if let Err(error) = self.shared.show(object, &status).await {
                tracing::warn!(error = chain(&error), "it cannot be told whether an approval counts");
            }
        }
        let Worth::Counts = worth else { return None };
        let by = answer.approver.clone();
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert((request.hash, by.clone()));
        if answer.approve {
            self.progress.agreed(&by);
        }
        Some(Vote { by: Identity(by), hash: answer.hash, approve: answer.approve })
    }

    /// Whether approvals can be believed at all, now that one would count.
    async fn believed(&self) -> Worth {
        match gate::open(&self.shared).await {
            Ok(None) => Worth::Counts,
            Ok(Some(problem)) => Worth::Void("NotGuarded", problem),
            Err(error) => {
                tracing::warn!(error = chain(&error), "it is looked again whether an approval can be believed");
                Worth::Known
            }
        }
    }

    fn worth(&self, request: &ApprovalRequest, answer: &PlaybookApprovalSpec) -> Worth {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        // What was counted for an earlier question stays so.
        if counted.contains(&(answer.hash, answer.approver.clone())) {
            return Worth::Known;
        }
        if answer.approver == request.requester.0 {
            return Worth::Void("OwnRun", format!("{} asked for the run, and may not approve it", answer.approver));
        }
        if answer.hash != request.hash {
            return Worth::Void("OtherPlan", format!("what is asked has the hash {}", request.hash));
        }
        Worth::Counts
    }
}
