//! Counting answers of people.

use lifeboat_model::Digest;

use crate::{ActionError, ApprovalRequest, Approver, Identity, RunId};

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) run: &'a RunId,
    pub(crate) hash: Digest,
    pub(crate) text: &'a str,
    pub(crate) quorum: u32,
    pub(crate) requester: &'a Identity,
}

/// The most votes that are looked at: an approver that says the same again and again does not go on for ever.
const MAX_VOTES: u32 = 1000;

/// Waits until enough different people other than the requester agreed to exactly this.
pub(crate) async fn collect(approver: &dyn Approver, question: &Question<'_>) -> Result<Vec<Identity>, ActionError> {
    let request = ApprovalRequest {
        run: question.run.clone(),
        hash: question.hash,
        text: question.text.to_owned(),
        quorum: question.quorum,
        requester: question.requester.clone(),
    };
    let mut agreed: Vec<Identity> = Vec::new();
    for _ in 0..MAX_VOTES {
        let vote = approver.vote(&request).await?;
        if vote.hash != request.hash {
            return Err(ActionError::denied(format!(
                "{} approved another plan: {} and not {}",
                vote.by, vote.hash, request.hash
            )));
        }
        if !vote.approve {
            return Err(ActionError::denied(format!("{} did not approve", vote.by)));
        }
        if vote.by == request.requester {
            return Err(ActionError::denied(format!("{} asked for the run and may not approve it", vote.by)));
        }
        if !agreed.contains(&vote.by) {
            agreed.push(vote.by);
        }
        if agreed.len() >= usize::try_from(request.quorum.max(1)).unwrap_or(usize::MAX) {
            return Ok(agreed);
        }
    }
    Err(ActionError::denied(format!("{} of {} approved", agreed.len(), question.quorum)))
}
