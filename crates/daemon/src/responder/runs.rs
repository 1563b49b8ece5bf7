//! Runs of playbooks that somebody asks for by an object: planned into its status, begun at once, and held by the engine
//! until enough people have agreed to just that plan.
//!
//! What a status says is for people. What was done is in the journal, whose id follows from the object's UID: it is looked
//! for first, and where it is there, the run is gone on with, whatever the status says.

mod shown;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use lifeboat_model::Digest;
use lifeboat_playbook::{
    Engine, EngineError, Identity, Journals as _, Plan, Playbook as Loaded, PlaybookRunPhase, PlaybookRunSpec,
    PlaybookRunStatus, Request, RunApproval, RunId, RunPlan, RunRecord, StorageError, verify,
};
use lifeboat_recovery::chain;
use serde_json::json;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::approver::ByObjects;
use super::journals::{Claims, ClusterJournals, claimed};
use super::progress::Progress;
use super::{Shared, gate, playbooks};
use crate::controllers::driver::{Failure, Guarded, PAGE, drive};
use crate::controllers::notes::Gravity;
use crate::controllers::{RESTORED, is_restored};
use crate::resources::{Playbook, PlaybookRun};

/// Runs under way at a time, those that wait for people included.
const AT_A_TIME: u16 = 256;
/// How often it is looked whether somebody has cancelled a run.
const LOOK: Duration = Duration::from_secs(1);
/// The least time between two writes of a status.
const PAUSE: Duration = Duration::from_millis(500);

type Object = Guarded<PlaybookRun>;

/// A run while somebody looks after it.
struct Run {
    shared: Arc<Shared>,
    object: Arc<Object>,
    store: Store<Object>,
    spec: PlaybookRunSpec,
    status: PlaybookRunStatus,
    id: RunId,
    journals: ClusterJournals,
}

/// Why a run is not begun.
struct NotRun(&'static str, String);

pub(super) async fn run(shared: &Arc<Shared>) {
    drive(
        shared.api::<PlaybookRun>(),
        |_| true,
        AT_A_TIME,
        |object, store| {
            let shared = Arc::clone(shared);
            async move { Box::pin(step(shared, object, store)).await }.boxed()
        },
    )
    .await;
}

async fn step(shared: Arc<Shared>, object: Arc<Object>, store: Store<Object>) -> Result<(), Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    // What is known here may be behind what was just written, and a run that has ended is not begun again.
    let object = match shared.api::<PlaybookRun>().get(&object.name_any()).await {
        Ok(found) if found.uid() == object.uid() && found.meta().deletion_timestamp.is_none() => Arc::new(found),
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let run = match &object.0 {
        Ok(run) => run.clone(),
        Err(problem) => {
            let mut status = PlaybookRunStatus::default();
            shown::not_run(&object, &mut status, shared.now(), &NotRun("Invalid", problem.error.clone()));
            return shared.show(&object, &status).await;
        }
    };
    let Some(id) = id(&object) else { return Ok(()) };
    let claims = Claims::new(store.clone(), Arc::clone(&shared.held));
    let owner = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "PlaybookRun", "name": object.name_any(), "uid": object.uid(),
    });
    let journals = ClusterJournals::writer(
        shared.cluster.clone(),
        shared.namespace.clone(),
        shared.identity.clone(),
        claims,
        owner,
    );
    let status = run.status.unwrap_or_default();
    Run { shared, object, store, spec: run.spec.0, status, id, journals }.advance().await
}

/// The id of an object's run: it never changes, and no other object has it.
fn id(object: &Object) -> Option<RunId> {
    let (created, uid) = (object.creation_timestamp()?.0, object.uid()?);
    let Digest(digest) = Digest::of(uid.as_bytes());
    let random = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Some(RunId::new(created, random))
}

impl Run {
    async fn advance(self) -> Result<(), Failure> {
        let wanted_back = self.spec.rolled_back_by.clone();
        match self.status.phase {
            PlaybookRunPhase::NotRun => Ok(()),
            PlaybookRunPhase::Pending | PlaybookRunPhase::Waiting | PlaybookRunPhase::Running => {
                match self.begun().await? {
                    Some(record) if record.ended.is_some() => self.finish(&record).await,
                    Some(record) => self.resume(record).await,
                    None => self.begin().await,
                }
            }
            PlaybookRunPhase::Ended => match wanted_back {
                Some(by) => self.roll_back(by).await,
                None => Ok(()),
            },
            // What was begun is brought to its end, whoever asked for it.
            PlaybookRunPhase::RollingBack => {
                let by = wanted_back.or_else(|| self.status.rollback.as_ref().map(|rollback| rollback.by.clone()));
                self.roll_back(by.unwrap_or_default()).await
            }
            PlaybookRunPhase::RolledBack => match wanted_back {
                Some(by) if shown::asks_again(&self.object, &self.status) => self.roll_back(by).await,
                _ => Ok(()),
            },
        }
    }

    /// What the journal says, if the run was begun.
    async fn begun(&self) -> Result<Option<RunRecord>, Failure> {
        let stored = match self.journals.read(&self.id).await {
            Ok(stored) => stored,
            Err(StorageError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(self.later(&error)),
        };
        if !stored.bytes.contains(&b'\n') {
            return Ok(None);
        }
        match verify(&stored.bytes) {
            Ok(verified) => Ok(Some(verified.record)),
            Err(error) => Err(self.later(&error)),
        }
    }

    /// Notes why nothing can be done now; it is tried again.
    fn later(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        tracing::warn!(run = %self.id, object = self.object.name_any(), error = chain(error), "a run waits");
        Failure::Busy
    }

    /// Plans, shows the plan, and does it.
    async fn begin(mut self) -> Result<(), Failure> {
        if is_restored(&self.object) {
            return self.not_begun(NotRun("Restored", RESTORED.to_owned())).await;
        }
        if let Some(problem) = gate::open(&self.shared).await? {
            tracing::error!(problem, "no run is begun");
            // Who asked for this one is not known, and will not be when the policies are back.
            return self.not_begun(NotRun("NotGuarded", problem)).await;
        }
        let cancel = CancellationToken::new();
        let progress = Arc::new(Progress::default());
        let engine = self.engine(&progress);
        let planned = tokio::select! {
            planned = self.planned(&engine, &cancel) => planned?,
            () = self.gone() => return Ok(()),
            () = self.cancelled() => Err(self.cancelled_early()),
        };
        let (playbook, plan) = match planned {
            Ok(planned) => planned,
            Err(why) => return self.not_begun(why).await,
        };
        let hash = plan.hash;
        self.status.run = Some(self.id.to_string());
        self.status.key = plan.concurrency.as_ref().map(|key| claimed(&format!("{}\n{key}", plan.playbook)));
        self.status.plan = Some(RunPlan::of(&plan));
        shown::planned(&self.object, &mut self.status, self.shared.now(), !plan.approval.is_empty());
        self.shared.show(&self.object, &self.status).await?;
        let message = format!("the plan has the hash {hash}");
        self.shared.notes.tell(&self.object, Gravity::Normal, "Planned", &message).await;
        let observer = Arc::clone(&progress);
        let work = {
            let cancel = cancel.clone();
            async move { engine.run(&playbook, plan, &hash, observer, &cancel).await }
        };
        self.conclude(work, &progress, &cancel).await
    }

    fn cancelled_early(&self) -> NotRun {
        let by = self.spec.cancelled_by.clone().unwrap_or_else(|| "somebody".to_owned());
        NotRun("Cancelled", format!("{by} cancelled it before it was begun"))
    }

    /// What would be done, or why nothing is.
    async fn planned(
        &self,
        engine: &Engine,
        cancel: &CancellationToken,
    ) -> Result<Result<(Loaded, Plan), NotRun>, Failure> {
        let playbook = match self.playbook().await? {
            Ok(playbook) => playbook,
            Err(why) => return Ok(Err(why)),
        };
        let given = self.spec.inputs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let inputs = match playbook.inputs_of_texts(given) {
            Ok(inputs) => inputs,
            Err(faults) => return Ok(Err(NotRun("InputsInvalid", faults.join("; ")))),
        };
        let request = Request { inputs, requester: Identity(self.spec.requester.clone()), trigger: None };
        let mut plan = match engine.plan_as(self.id.clone(), &playbook, &request, cancel).await {
            Ok(plan) => plan,
            Err(EngineError::Inputs(faults)) => return Ok(Err(NotRun("InputsInvalid", faults.join("; ")))),
            Err(error @ EngineError::Journal(_)) => return Err(self.later(&error)),
            Err(error) => return Ok(Err(NotRun("NotPlanned", chain(&error)))),
        };
        if self.spec.approval == RunApproval::Manual {
            plan.approval.push("the run has 'approval: manual'".to_owned());
        }
        Ok(Ok((playbook, plan)))
    }

    /// The playbook as it is now.
    async fn playbook(&self) -> Result<Result<Loaded, NotRun>, Failure> {
        let api = self.shared.api::<Playbook>();
        let name = &self.spec.playbook;
        let object = match api.get(name).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Ok(Err(NotRun("NoPlaybook", format!("there is no playbook '{name}'"))));
            }
            Err(error) => return Err(error.into()),
        };
        let calls = object.0.as_ref().is_ok_and(|found| {
            found.spec.0.steps.iter().chain(&found.spec.0.finally).any(|step| step.uses == "playbook")
        });
        let mut known = Vec::new();
        if calls {
            let mut parameters = kube::api::ListParams::default().limit(PAGE);
            loop {
                let page = api.list(&parameters).await?;
                known.extend(page.items.into_iter().map(Arc::new));
                match page.metadata.continue_.filter(|next| !next.is_empty()) {
                    Some(next) => parameters = parameters.continue_token(&next),
                    None => break,
                }
            }
        }
        let loaded = playbooks::loaded(&self.shared, &object, &known).await?;
        Ok(loaded.map_err(|faults| {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            NotRun("PlaybookFaulty", format!("the playbook '{name}' cannot be run: {faults}"))
        }))
    }

    /// Goes on with a run that another process, or this one, has left in the middle.
    async fn resume(self, record: RunRecord) -> Result<(), Failure> {
        let cancel = CancellationToken::new();
        let progress = Arc::new(Progress::of(record));
        let engine = self.engine(&progress);
        self.shared.notes.tell(&self.object, Gravity::Normal, "Resumed", "it is gone on with from its journal").await;
        let (id, by, observer) = (self.id.clone(), Identity(self.shared.identity.clone()), Arc::clone(&progress));
        let work = {
            let cancel = cancel.clone();
            async move { engine.resume(&id, by, observer, &cancel).await }
        };
        self.conclude(work, &progress, &cancel).await
    }

    /// Takes back what was done.
    async fn roll_back(mut self, by: String) -> Result<(), Failure> {
        let Some(record) = self.begun().await? else { return Ok(()) };
        let cancel = CancellationToken::new();
        let progress = Arc::new(Progress::of(record));
        let engine = self.engine(&progress);
        self.status.phase = PlaybookRunPhase::RollingBack;
        self.status.observed_generation = self.object.meta().generation;
        self.shared.show(&self.object, &self.status).await?;
        let message = format!("{by} has it taken back");
        self.shared.notes.tell(&self.object, Gravity::Warning, "RollingBack", &message).await;
        let (id, observer) = (self.id.clone(), Arc::clone(&progress));
        let work = {
            let cancel = cancel.clone();
            async move { engine.rollback(&id, Identity(by), observer, &cancel).await }
        };
        self.conclude(work, &progress, &cancel).await
    }

    fn engine(&self, progress: &Arc<Progress>) -> Engine {
        let approver = ByObjects {
            shared: Arc::clone(&self.shared),
            uid: self.object.uid().unwrap_or_default(),
            progress: Arc::clone(progress),
            counted: Mutex::new(BTreeSet::new()),
        };
        Engine {
            registry: Arc::clone(&self.shared.registry),
            journals: Arc::new(self.journals.clone()),
            clock: Arc::clone(&self.shared.clock),
            approver: Arc::new(approver),
            own_namespace: Some(self.shared.namespace.clone()),
        }
    }

    /// Waits for the end of what is done, shows how far it is, and hears who cancels it.
    async fn conclude(
        mut self,
        work: impl Future<Output = Result<RunRecord, EngineError>>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut status = self.status.clone();
        let ended = {
            let work = std::pin::pin!(work);
            let showing = std::pin::pin!(self.showing(&mut status, progress));
            let watching = std::pin::pin!(async {
                self.cancelled().await;
                cancel.cancel();
                std::future::pending::<()>().await;
            });
            tokio::select! {
                biased;
                ended = work => ended,
                () = self.gone() => return Ok(()),
                () = showing => return Err(Failure::Busy),
                () = watching => return Err(Failure::Busy),
            }
        };
        self.status = status;
        match ended {
            Ok(record) => self.finish(&record).await,
            Err(error @ (EngineError::Joined(_) | EngineError::Busy(_))) if progress.record().is_none() => {
                self.not_begun(NotRun("OtherRun", chain(&error))).await
            }
            Err(error @ (EngineError::Load(_) | EngineError::NotAgreed { .. })) => {
                self.not_begun(NotRun("NotResumed", chain(&error))).await
            }
            Err(error) => Err(self.later(&error)),
        }
    }

    /// Shows how far the run is, whenever it is further, but not all the time.
    async fn showing(&self, status: &mut PlaybookRunStatus, progress: &Progress) {
        loop {
            progress.changed().await;
            shown::under_way(&self.object, status, self.shared.now(), progress);
            if let Err(error) = self.shared.show(&self.object, status).await {
                tracing::warn!(run = %self.id, error = chain(&error), "the status of a run cannot be written");
            }
            sleep(PAUSE).await;
        }
    }

    async fn finish(mut self, record: &RunRecord) -> Result<(), Failure> {
        let (good, reason, message) = shown::ended(&self.object, &mut self.status, self.shared.now(), record);
        self.shared.show(&self.object, &self.status).await?;
        let gravity = if good { Gravity::Normal } else { Gravity::Warning };
        self.shared.notes.tell(&self.object, gravity, reason, &message).await;
        Ok(())
    }

    async fn not_begun(mut self, why: NotRun) -> Result<(), Failure> {
        shown::not_run(&self.object, &mut self.status, self.shared.now(), &why);
        self.shared.show(&self.object, &self.status).await?;
        self.shared.notes.tell(&self.object, Gravity::Warning, why.0, &why.1).await;
        Ok(())
    }

    /// The object as it is now; `None` where it is gone.
    fn now(&self) -> Option<Arc<Object>> {
        let found = self.store.get(&ObjectRef::from_obj(&*self.object))?;
        (found.uid() == self.object.uid() && found.meta().deletion_timestamp.is_none()).then_some(found)
    }

    /// Waits until the object is not there any more: then nothing that is done could be undone, so nothing more is.
    async fn gone(&self) {
        self.looked(|object| object.is_none()).await;
    }

    /// Waits until somebody cancels.
    async fn cancelled(&self) {
        self.looked(|object| {
            let run = object.and_then(|object| object.0.as_ref().ok());
            run.is_some_and(|run| run.spec.0.cancelled_by.is_some())
        })
        .await;
    }

    async fn looked(&self, wanted: impl Fn(Option<&Object>) -> bool) {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            if wanted(self.now().as_deref()) {
                return;
            }
        }
    }
}
