//! A lock that everybody who uses the cluster sees: a `Lease` of `coordination.k8s.io`.
//!
//! Whether a lease has expired is judged by the API server's clock alone, which also dates its renewals, so that the
//! clocks of the holders do not matter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use lifeboat_model::ResourceType;
use tokio::time::{Instant, sleep, timeout_at};

use crate::refusal::printable;
use crate::retry::Retry;
use crate::{Cluster, DeleteOptions, Error, FieldValidation, ObjectPath, WriteOptions, Written};

/// How often to begin again when others write the lease at the same time.
const RACES: usize = 8;

/// The part of a second that the API server's clock does not show.
const CLOCK: Duration = Duration::from_secs(1);

/// Which lease to hold, and as whom.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The lease's namespace, which has to be there.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who holds it. People read it in refusals, and no two holders may bear the same: whoever does takes the lease
    /// over.
    pub holder: String,
    /// How long it lasts without being renewed, in whole seconds, and at least two.
    pub duration: Duration,
    /// Who writes it, as `managedFields` have it.
    pub field_manager: String,
}

/// A lease that we hold, until it is released or expires.
#[derive(Debug)]
pub struct LeaseLock {
    cluster: Cluster,
    options: LeaseOptions,
    resource: ResourceType,
    lease: Lease,
    /// When it was last written, at the latest.
    renewed: Instant,
}

impl Cluster {
    /// Takes a lease that is free or has expired. [`Error::Held`] names the holder of one that is not.
    pub async fn take_lease(&self, mut options: LeaseOptions) -> Result<LeaseLock, Error> {
        options.duration = Duration::from_secs(options.duration.as_secs().max(2));
        // A renewal has to be given up in time for another before the lease expires.
        let retry = Retry { budget: self.retry.budget.min(options.duration / 3), ..self.retry };
        let lease = Lease::default();
        let cluster = Self { retry, ..self.clone() };
        let mut lock = LeaseLock { cluster, options, resource: leases(), lease, renewed: Instant::now() };
        for _ in 0..RACES {
            match lock.take().await {
                Err(
                    Error::AlreadyExists { .. }
                    | Error::Conflict { .. }
                    | Error::NotFound { .. }
                    | Error::LeaseLost { .. },
                ) => {}
                taken => return taken.map(|()| lock),
            }
        }
        let message = "others write it all the time".to_owned();
        Err(Error::Conflict { object: lock.path().to_string(), message })
    }
}

impl LeaseLock {
    /// Keeps the lease until it is lost, which it returns: run it beside the work, and stop the work when it ends.
    /// Passing faults do not end it as long as the lease has not expired. It may be dropped at any time.
    pub async fn keep(&mut self) -> Error {
        self.keep_ahead(CLOCK).await
    }

    /// The same, ending so long before the lease expires, which is what the work has to stop. A margin of half of the
    /// lease's duration is the most that can be had.
    pub async fn keep_ahead(&mut self, margin: Duration) -> Error {
        let margin = margin.clamp(CLOCK, self.options.duration / 2);
        loop {
            let expires = self.renewed + self.options.duration.saturating_sub(margin);
            sleep(self.options.duration.saturating_sub(margin) / 3).await;
            match timeout_at(expires, self.renew()).await {
                Ok(Ok(())) => {}
                Ok(Err(error @ Error::LeaseLost { .. })) => return error,
                Ok(Err(error)) if Instant::now() >= expires => {
                    return self.lost(format!("not renewed in time: {error}"));
                }
                Ok(Err(error)) => tracing::warn!(lease = %self.path(), %error, "failed to renew the lease"),
                Err(_) => return self.lost("not renewed in time".to_owned()),
            }
        }
    }

    /// The generation of our holding: each time that the lease is taken it is higher. It is forgotten when the lease is
    /// deleted, or comes back with an older etcd.
    pub fn generation(&self) -> u64 {
        let spec = self.lease.spec.as_ref();
        spec.and_then(|spec| spec.lease_transitions).map_or(0, |transitions| u64::from(transitions.unsigned_abs()))
    }

    /// Raises the generation to be higher than that, if it is not.
    pub async fn raise_above(&mut self, generation: u64) -> Result<(), Error> {
        let mut tries = 0..RACES;
        while self.generation() <= generation {
            let raised = i32::try_from(generation.saturating_add(1))
                .map_err(|_| self.lost(format!("generation {generation} cannot be exceeded")))?;
            if tries.next().is_none() {
                return Err(self.lost("others write it all the time".to_owned()));
            }
            let began = Instant::now();
            self.lease.spec.get_or_insert_default().lease_transitions = Some(raised);
            match self.write(began).await {
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => self.read_again().await?,
                written => written?,
            }
        }
        Ok(())
    }

    /// Gives the lease up and leaves it there, so that its generation is not forgotten: whoever wants it has it at once.
    /// [`Error::LeaseLost`] says that it was not ours any more. Requests are made by that connection, since whoever
    /// keeps a lease has to be less patient than who gives it up.
    pub async fn step_down(mut self, patient: &Cluster) -> Result<(), Error> {
        self.cluster = patient.clone();
        for _ in 0..RACES {
            let mut lease = self.lease.clone();
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            let body = serde_json::to_vec(&lease).map_err(|source| Error::decode("the lease", source))?.into();
            let manager = self.options.field_manager.clone();
            let options =
                WriteOptions { dry_run: false, field_manager: &manager, field_validation: FieldValidation::Strict };
            match self.cluster.replace(self.path(), body, options).await {
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => self.read_again().await?,
                written => return written.map(drop),
            }
        }
        Err(self.lost("others write it all the time".to_owned()))
    }

    /// Gives the lease up, by deleting it. [`Error::LeaseLost`] says that it was not ours any more.
    pub async fn release(mut self) -> Result<(), Error> {
        for _ in 0..RACES {
            let uid = self.lease.metadata.uid.clone().unwrap_or_default();
            let version = self.lease.metadata.resource_version.clone();
            let options = DeleteOptions {
                uid: &uid,
                resource_version: version.as_deref(),
                propagation: None,
                grace_seconds: None,
                dry_run: false,
            };
            match self.cluster.delete(self.path(), options).await {
                Err(Error::Conflict { .. }) => self.read_again().await?,
                Err(Error::NotFound { .. }) => return Err(self.lost("it was deleted".to_owned())),
                deleted => return deleted.map(drop),
            }
        }
        Err(self.lost("others write it all the time".to_owned()))
    }

    /// Takes the lease once.
    async fn take(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let now = self.cluster.server_time().await?;
        let Some(found) = self.cluster.get(self.path()).await? else {
            self.lease = self.fresh(now);
            return self.write(began).await;
        };
        let mut found = self.parse(&found)?;
        let spec = found.spec.get_or_insert_default();
        let holder = spec.holder_identity.take().unwrap_or_default();
        let left = left(spec, now);
        if !holder.is_empty() && holder != self.options.holder && left > Duration::ZERO {
            return Err(Error::Held { lease: self.path().to_string(), holder: printable(&holder), left });
        }
        let transitions = spec.lease_transitions.unwrap_or(0).saturating_add(1);
        *spec = LeaseSpec { lease_transitions: Some(transitions), ..self.fresh(now).spec.unwrap_or_default() };
        self.lease = found;
        self.write(began).await
    }

    async fn renew(&mut self) -> Result<(), Error> {
        for _ in 0..RACES {
            let began = Instant::now();
            let now = self.cluster.server_time().await?;
            self.lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
            match self.write(began).await {
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => self.read_again().await?,
                written => return written,
            }
        }
        Err(self.lost("others write it all the time".to_owned()))
    }

    /// Creates or replaces the lease, and sees that it is ours then. It is dated later than `began`.
    async fn write(&mut self, began: Instant) -> Result<(), Error> {
        let body = serde_json::to_vec(&self.lease).map_err(|source| Error::decode("the lease", source))?.into();
        let manager = self.options.field_manager.clone();
        let options =
            WriteOptions { dry_run: false, field_manager: &manager, field_validation: FieldValidation::Strict };
        let written = if self.lease.metadata.resource_version.is_none() {
            self.cluster.create(self.path(), body, options).await
        } else {
            self.cluster.replace(self.path(), body, options).await
        };
        let Written { object, .. } = written?;
        self.adopt(&object)?;
        self.renewed = began;
        Ok(())
    }

    async fn read_again(&mut self) -> Result<(), Error> {
        match self.cluster.get(self.path()).await? {
            Some(found) => self.adopt(&found),
            None => Err(self.lost("it was deleted".to_owned())),
        }
    }

    /// Makes what was found the lease that we hold, if it says so.
    fn adopt(&mut self, found: &[u8]) -> Result<(), Error> {
        let lease = self.parse(found)?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder != self.options.holder {
            return Err(self.lost(format!("'{}' holds it", printable(holder))));
        }
        self.lease = lease;
        Ok(())
    }

    /// A lease of ours that begins now.
    fn fresh(&self, now: Timestamp) -> Lease {
        let seconds = i32::try_from(self.options.duration.as_secs().max(1)).unwrap_or(i32::MAX);
        let metadata = ObjectMeta {
            name: Some(self.options.name.clone()),
            namespace: Some(self.options.namespace.clone()),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.options.holder.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    fn path(&self) -> ObjectPath<'_> {
        let LeaseOptions { namespace, name, .. } = &self.options;
        ObjectPath { resource: &self.resource, namespace: Some(namespace), name }
    }

    fn parse(&self, object: &[u8]) -> Result<Lease, Error> {
        serde_json::from_slice(object).map_err(|source| Error::decode(&self.path().to_string(), source))
    }

    fn lost(&self, message: String) -> Error {
        Error::LeaseLost { lease: self.path().to_string(), message }
    }
}

/// How long a lease lasts from now.
fn left(spec: &LeaseSpec, now: Timestamp) -> Duration {
    let Some(MicroTime(renewed)) = &spec.renew_time else { return Duration::ZERO };
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into());
    let expires = renewed.checked_add(lasts).unwrap_or(Timestamp::MAX);
    Duration::try_from(expires.duration_since(now)).unwrap_or(Duration::ZERO)
}

fn leases() -> ResourceType {
    ResourceType {
        group: "coordination.k8s.io".to_owned(),
        version: "v1".to_owned(),
        resource: "leases".to_owned(),
        kind: "Lease".to_owned(),
        singular: "lease".to_owned(),
        short_names: Vec::new(),
        namespaced: true,
    }
}
