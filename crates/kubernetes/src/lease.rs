//! A lock that everybody who uses the cluster sees: a `Lease` of `coordination.k8s.io`.

use std::time::Duration;

use crate::{Cluster, Error};

/// Which lease to hold, and as whom.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The lease's namespace, which has to be there.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who holds it: no two holders may bear the same name, and people read it in refusals.
    pub holder: String,
    /// How long it lasts without being renewed, in whole seconds.
    pub duration: Duration,
    /// Who writes it, as `managedFields` have it.
    pub field_manager: String,
}

/// A lease that we hold, until it is released or expires.
#[derive(Debug)]
pub struct LeaseLock {
    #[expect(dead_code, reason = "façade")]
    cluster: Cluster,
    #[expect(dead_code, reason = "façade")]
    options: LeaseOptions,
}

impl Cluster {
    /// Takes a lease that is free, was released, or has expired by the API server's clock. [`Error::Held`] names
    /// the holder of one that is not.
    pub async fn take_lease(&self, options: LeaseOptions) -> Result<LeaseLock, Error> {
        let _ = options;
        Err(Error::Interrupted { resource: String::new() })
    }
}

impl LeaseLock {
    /// Keeps the lease until it is lost, which it returns: run it beside the work, and stop the work when it ends.
    /// Passing faults do not end it as long as the lease has not expired. Nothing is lost when it is dropped.
    pub async fn keep(&mut self) -> Error {
        Error::Interrupted { resource: String::new() }
    }

    /// Gives the lease up, by deleting it.
    pub async fn release(self) -> Result<(), Error> {
        Err(Error::Interrupted { resource: String::new() })
    }
}
