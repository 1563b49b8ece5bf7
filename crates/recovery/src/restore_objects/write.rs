//! Writing one object, so that nothing is done to another than was planned.

use std::time::Duration;

use lifeboat_kubernetes::{Cluster, DeleteOptions, Deletion, Error as KubernetesError, ObjectPath, Propagation};
use lifeboat_model::{BackupId, differences};
use serde_json::Value;

use super::judge::options;
use super::plan::{Live, Verdict};
use super::saved::Step;
use super::wanted::{self, Wanted, text};
use crate::error::Error;
use crate::rules::{self, RESTORED_FROM};

/// How often an object that others change at the same time is tried.
const ATTEMPTS: usize = 4;
/// Fields that the target altered and that are named, at most.
const FIELDS: usize = 5;
/// How long an object may take to be gone, its finalizers included.
const GONE: Duration = Duration::from_mins(1);

/// Why an object was not restored.
#[derive(Debug)]
pub(super) enum Failure {
    /// For reasons of its own; in words.
    Object(String),
    /// Nothing can be restored.
    Stop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Kubernetes(error) => error.into(),
            error => Self::Stop(error),
        }
    }
}

impl From<KubernetesError> for Failure {
    fn from(error: KubernetesError) -> Self {
        if is_of_all(&error) { Self::Stop(error.into()) } else { Self::Object(crate::chain(&error)) }
    }
}

/// Whether a failure would be the same for every object.
pub(super) fn is_of_all(error: &KubernetesError) -> bool {
    match error {
        KubernetesError::Unreachable { .. } | KubernetesError::Unauthorized { .. } => true,
        KubernetesError::Uncertain { source, .. } => is_of_all(source),
        _ => false,
    }
}

/// An object that was written, or found as it is to be.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) step: Step,
    /// As it is now; null where it is gone.
    pub(super) object: Value,
    /// What is not as in the backup, in words.
    pub(super) differences: Vec<String>,
}

impl Written {
    fn new(step: Step, object: Value) -> Self {
        Self { step, object, differences: Vec::new() }
    }
}

/// Writes one object.
pub(super) struct Writer<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) backup: &'a BackupId,
    pub(super) path: ObjectPath<'a>,
    pub(super) include_status: bool,
    /// Whether a part of the plan may have been done without a note of it.
    pub(super) resumed: bool,
}

type Outcome = Result<Written, Failure>;

impl Writer<'_> {
    pub(super) async fn write(&self, verdict: &Verdict, mut wanted: Wanted) -> Outcome {
        let status = std::mem::take(&mut wanted.status);
        let written = match verdict {
            Verdict::Create { .. } => self.create(wanted.object).await,
            Verdict::Apply { live, .. } => self.apply(Some(live), wanted.object).await,
            Verdict::Recreate { live } => self.recreate(live, wanted.object).await,
            Verdict::Prune { live } => return self.delete(live).await,
            _ => return Err(Failure::Object("there is nothing to be done".to_owned())),
        }?;
        if self.include_status && !status.is_null() { self.status(written, status).await } else { Ok(written) }
    }

    /// Whether an object was restored from this backup.
    fn is_ours(&self, object: &Value) -> bool {
        let annotations = object.pointer("/metadata/annotations");
        let ours = annotations.and_then(|annotations| annotations.get(RESTORED_FROM)).and_then(Value::as_str);
        ours == Some(self.backup.as_str())
    }

    async fn get(&self) -> Result<Option<Value>, Failure> {
        let json = self.cluster.get(self.path).await?;
        Ok(json.map(|json| wanted::parse(&json)).transpose()?)
    }

    async fn create(&self, mut object: Value) -> Outcome {
        let mut released = None;
        loop {
            match self.cluster.create(self.path, wanted::bytes(&object), options(false)).await {
                Ok(answer) => {
                    let mut written = Written::new(Step::Created, wanted::parse(&answer.object)?);
                    written.differences.extend(released);
                    written.differences.extend(self.altered(&object, &written.object)?);
                    return Ok(written);
                }
                Err(KubernetesError::AlreadyExists { .. }) => return self.exists(object).await,
                // An address that it asked for is taken, or none of this cluster's.
                Err(error @ KubernetesError::Invalid { .. }) if released.is_none() => {
                    let without = rules::release_addresses(&mut object, self.path.resource);
                    if without.is_empty() {
                        return Err(error.into());
                    }
                    let fields: Vec<String> = without.into_iter().map(|applied| applied.field.into_owned()).collect();
                    released = Some(format!("{} given anew: {}", fields.join(", "), crate::chain(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the target made of an object besides what follows from the rules: defaults, admission.
    fn altered(&self, sent: &Value, stored: &Value) -> Result<Option<String>, Failure> {
        let resource = self.path.resource;
        if wanted::digest(sent, resource)? == wanted::digest(stored, resource)? {
            return Ok(None);
        }
        let (sent, stored) = (wanted::canonical(sent, resource)?, wanted::canonical(stored, resource)?);
        let fields = differences(&sent, &stored).into_iter().filter(|change| {
            let unescaped = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
            let path: Vec<String> = change.path.pointer().split('/').skip(1).map(unescaped).collect();
            rules::allowed(resource, &path, true).is_none()
        });
        let fields: Vec<String> = fields.map(|change| change.path.to_string()).collect();
        let named = fields.get(..FIELDS).unwrap_or(&fields).join(", ");
        let more = fields.len().saturating_sub(FIELDS);
        let more = if more > 0 { format!(" and {more} more fields") } else { String::new() };
        Ok((!fields.is_empty()).then(|| format!("the target made another of {named}{more}")))
    }

    /// It is there, though it was to be created: written by ourselves before a crash, or made by the target itself.
    async fn exists(&self, object: Value) -> Outcome {
        let Some(live) = self.get().await? else {
            return Err(Failure::Object("it was there for a moment, and is gone".to_owned()));
        };
        if self.is_ours(&live) {
            return Ok(Written::new(Step::Created, live));
        }
        let mut merged = object.clone();
        if rules::merge_into(&live, &mut merged, self.path.resource).is_some() {
            return self.apply(None, object).await;
        }
        Err(Failure::Object("it is there by now, though it was not when the plan was made".to_owned()))
    }

    /// Makes the live object equal: the one that was planned, or, where the target makes it by itself, whichever.
    async fn apply(&self, planned: Option<&Live>, wanted: Value) -> Outcome {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(live) = self.get().await? else {
                return Err(Failure::Object("it is gone since the plan was made".to_owned()));
            };
            let mut object = wanted.clone();
            if rules::merge_into(&live, &mut object, self.path.resource).is_none() {
                rules::carry_over(&live, &mut object, self.path.resource);
            }
            let there = wanted::digest(&live, self.path.resource)?;
            if wanted::digest(&object, self.path.resource)? == there {
                return Ok(Written::new(if self.resumed { Step::Applied } else { Step::Unchanged }, live));
            }
            if let Some(planned) = planned {
                if *planned.uid != *text(&live, "/metadata/uid") {
                    return Err(Failure::Object("it is another object than when the plan was made".to_owned()));
                }
                if planned.canonical != there {
                    if self.resumed && self.is_ours(&live) {
                        return Ok(Written::new(Step::Applied, live));
                    }
                    return Err(Failure::Object("it was changed since the plan was made".to_owned()));
                }
            }
            match self.cluster.replace(self.path, wanted::bytes(&object), options(false)).await {
                Ok(answer) => {
                    let mut written = Written::new(Step::Applied, wanted::parse(&answer.object)?);
                    written.differences.extend(self.altered(&object, &written.object)?);
                    return Ok(written);
                }
                Err(error @ KubernetesError::Conflict { .. }) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.map_or_else(|| Failure::Object("it changes all the time".to_owned()), Failure::from))
    }

    async fn recreate(&self, planned: &Live, object: Value) -> Outcome {
        match self.get().await? {
            None => {}
            Some(live) if self.resumed && self.is_ours(&live) && *planned.uid != *text(&live, "/metadata/uid") => {
                return Ok(Written::new(Step::Recreated, live));
            }
            Some(live) => {
                self.same(planned, &live)?;
                self.delete_live(&live).await?;
                self.cluster.wait_until(self.path, GONE, |object| object.is_none()).await?;
            }
        }
        let mut created = self.create(object).await.map_err(|failure| match failure {
            Failure::Object(message) => Failure::Object(format!("it was deleted, and not created again: {message}")),
            stop @ Failure::Stop(_) => stop,
        })?;
        created.step = Step::Recreated;
        Ok(created)
    }

    async fn delete(&self, planned: &Live) -> Outcome {
        let Some(live) = self.get().await? else { return Ok(Written::new(Step::Pruned, Value::Null)) };
        self.same(planned, &live)?;
        let mut written = Written::new(Step::Pruned, Value::Null);
        if self.delete_live(&live).await? == Deletion::Pending {
            written.differences.push("it is being deleted: its finalizers have not run yet".to_owned());
        }
        Ok(written)
    }

    /// Whether the object is just the one that was planned.
    fn same(&self, planned: &Live, live: &Value) -> Result<(), Failure> {
        if *planned.uid != *text(live, "/metadata/uid") {
            return Err(Failure::Object("it is another object than when the plan was made".to_owned()));
        }
        if planned.canonical != wanted::digest(live, self.path.resource)? {
            return Err(Failure::Object("it was changed since the plan was made".to_owned()));
        }
        Ok(())
    }

    async fn delete_live(&self, live: &Value) -> Result<Deletion, Failure> {
        let options = DeleteOptions {
            uid: text(live, "/metadata/uid"),
            resource_version: Some(text(live, "/metadata/resourceVersion")),
            propagation: Some(Propagation::Background),
            grace_seconds: None,
            dry_run: false,
        };
        match self.cluster.delete(self.path, options).await {
            Ok(deletion) => Ok(deletion),
            Err(KubernetesError::NotFound { .. }) => Ok(Deletion::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// Restores the status too. That it cannot be does not undo the object.
    async fn status(&self, mut written: Written, status: Value) -> Outcome {
        let mut object = written.object.clone();
        if let Value::Object(members) = &mut object {
            members.insert("status".to_owned(), status);
        }
        match self.cluster.replace_status(self.path, wanted::bytes(&object), options(false)).await {
            Ok(answer) => written.object = wanted::parse(&answer.object)?,
            // It has no status of its own.
            Err(KubernetesError::NotServed { .. } | KubernetesError::NotFound { .. }) => {}
            Err(error) if is_of_all(&error) => return Err(error.into()),
            Err(error) => written.differences.push(format!("its status was not taken: {}", crate::chain(&error))),
        }
        Ok(written)
    }
}
