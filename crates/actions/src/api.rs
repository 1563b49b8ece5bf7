//! The cluster, in the words of actions.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_kubernetes::{
    Cluster, ConnectOptions, DeleteOptions, Error, ExecOptions, Executed, FieldValidation, ListEvent, ListOptions,
    LogOptions, ObjectPath, WriteOptions, Written,
};
use lifeboat_playbook::{ActionError, Permit};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::resources::Resource;

/// Who writes, as `managedFields` have it.
pub(crate) const FIELD_MANAGER: &str = "lifeboat-playbook";
/// The most bytes of objects that one list may have: a plan of a person is about less.
const MAX_LIST: usize = 512 * 1024 * 1024;

/// A cluster that is connected to when it is needed first, so that playbooks can be checked without one.
#[derive(Debug, Clone)]
pub struct Connection {
    options: ConnectOptions,
    cell: Arc<OnceCell<Cluster>>,
}

impl Connection {
    /// The cluster that the options lead to.
    pub fn new(options: ConnectOptions) -> Self {
        Self { options, cell: Arc::default() }
    }

    /// One that is connected already.
    pub fn of(cluster: Cluster) -> Self {
        Self { options: ConnectOptions::default(), cell: Arc::new(OnceCell::new_with(Some(cluster))) }
    }

    pub(crate) async fn api(&self) -> Result<Api, ActionError> {
        let connect = || Cluster::connect(self.options.clone());
        Ok(Api { cluster: self.cell.get_or_try_init(connect).await.map_err(refused)?.clone() })
    }
}

/// What an error of the API means to a step.
pub(crate) fn refused(error: Error) -> ActionError {
    match &error {
        Error::Uncertain { .. } => ActionError::uncertain("the API server's answer was lost").because(error),
        error_ if error_.is_transient() => ActionError::transient("the API server cannot be asked").because(error),
        Error::Config(_)
        | Error::Decode { .. }
        | Error::TooLarge { .. }
        | Error::NotReached { .. }
        | Error::Interrupted { .. } => ActionError::failed("the API server could not be asked").because(error),
        _ => ActionError::denied("the API server refuses").because(error),
    }
}

/// The cluster, in the words of actions.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) cluster: Cluster,
}

fn options(dry_run: bool) -> WriteOptions<'static> {
    WriteOptions { dry_run, field_manager: FIELD_MANAGER, field_validation: FieldValidation::Strict }
}

fn parse(bytes: &[u8]) -> Result<Value, ActionError> {
    // The parser's words may quote what is secret.
    serde_json::from_slice(bytes).map_err(|_| ActionError::failed("the API server's answer is no object"))
}

fn written(written: &Written) -> Result<Value, ActionError> {
    parse(&written.object)
}

fn body(value: &Value) -> Bytes {
    value.to_string().into_bytes().into()
}

/// An object's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn new(resource: &'static Resource, namespace: Option<&'a str>, name: &'a str) -> Self {
        Self { resource, namespace, name }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.resource.kind, self.name),
            None => write!(f, "{} {}", self.resource.kind, self.name),
        }
    }
}

impl Api {
    /// Reads an object; `None` where there is none.
    pub(crate) async fn get(&self, place: Place<'_>) -> Result<Option<Value>, ActionError> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        self.cluster.get(path).await.map_err(refused)?.map(|bytes| parse(&bytes)).transpose()
    }

    /// Reads the object with this UID; `None` where it is gone, though another one may be in its place.
    pub(crate) async fn find(&self, place: Place<'_>, uid: &str) -> Result<Option<Value>, ActionError> {
        Ok(self.get(place).await?.filter(|found| crate::fields::uid(found) == uid))
    }

    /// Reads the object with this UID; another one in its place is refused.
    pub(crate) async fn get_same(&self, place: Place<'_>, uid: &str) -> Result<Value, ActionError> {
        match self.get(place).await? {
            Some(object) if crate::fields::uid(&object) == uid => Ok(object),
            Some(object) => {
                let other = crate::fields::uid(&object);
                Err(ActionError::denied(format!(
                    "{place} is not the one that was meant: its UID is {other}, not {uid}"
                )))
            }
            None => Err(ActionError::denied(format!("{place} is not there any more"))),
        }
    }

    /// Every object of a resource, in a namespace or in all.
    pub(crate) async fn list(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ActionError> {
        let mut listing = self.cluster.list_in(vec![resource.resource_type()], namespace, ListOptions::default());
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        while let Some((_, event)) = listing.next().await {
            match event {
                ListEvent::Page(page) => {
                    bytes = bytes.saturating_add(page.bytes.len());
                    if bytes > MAX_LIST {
                        let kind = resource.kind;
                        return Err(ActionError::failed(format!("there are more than {MAX_LIST} bytes of {kind}s")));
                    }
                    for object in page.objects() {
                        let mut object = parse(object)?;
                        if let Some(members) = object.as_object_mut() {
                            // Objects of lists come without these two.
                            members.insert("apiVersion".to_owned(), resource.api_version().into());
                            members.insert("kind".to_owned(), resource.kind.into());
                        }
                        found.push(object);
                    }
                }
                ListEvent::Restarted { .. } => {
                    found.clear();
                    bytes = 0;
                }
                ListEvent::Finished { .. } => {}
                ListEvent::Failed(error) => return Err(refused(error)),
            }
        }
        Ok(found)
    }

    /// What a creation would come to.
    pub(crate) async fn dry_create(&self, place: Place<'_>, object: &Value) -> Result<(Value, Vec<String>), Error> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let answer = self.cluster.create(path, body(object), options(true)).await?;
        Ok((serde_json::from_slice(&answer.object).unwrap_or_default(), answer.warnings))
    }

    pub(crate) async fn create(&self, _: &Permit, place: Place<'_>, object: &Value) -> Result<Value, Error> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let answer = self.cluster.create(path, body(object), options(false)).await?;
        Ok(written(&answer).unwrap_or_default())
    }

    /// What a merge patch would come to.
    pub(crate) async fn dry_patch(&self, place: Place<'_>, patch: &Value) -> Result<(Value, Vec<String>), Error> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let answer = self.cluster.merge_patch(path, body(patch), options(true)).await?;
        Ok((serde_json::from_slice(&answer.object).unwrap_or_default(), answer.warnings))
    }

    /// Changes an object. `patch` has the UID that is meant, and the version where it matters.
    pub(crate) async fn patch(&self, _: &Permit, place: Place<'_>, patch: &Value) -> Result<Value, Error> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let answer = self.cluster.merge_patch(path, body(patch), options(false)).await?;
        Ok(written(&answer).unwrap_or_default())
    }

    pub(crate) async fn dry_delete(&self, place: Place<'_>, uid: &str) -> Result<(), Error> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        self.cluster.delete(path, deletion(uid, None, true)).await.map(drop)
    }

    /// Deletes the object with this UID. One that is gone already was deleted before a kill, or by somebody else.
    pub(crate) async fn delete(
        &self,
        _: &Permit,
        place: Place<'_>,
        uid: &str,
        grace: Option<u32>,
    ) -> Result<(), ActionError> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        match self.cluster.delete(path, deletion(uid, grace, false)).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// Waits until an object is gone, or another one is in its place.
    pub(crate) async fn wait_gone(
        &self,
        place: Place<'_>,
        uid: &str,
        within: std::time::Duration,
    ) -> Result<bool, ActionError> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        let gone = |object: Option<&Value>| object.is_none_or(|object| crate::fields::uid(object) != uid);
        match self.cluster.wait_until(path, within, gone).await {
            Ok(_) => Ok(true),
            Err(Error::NotReached { .. }) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// Waits until an object is as it should be; one that is gone never is.
    pub(crate) async fn wait_for(
        &self,
        place: Place<'_>,
        within: std::time::Duration,
        reached: impl Fn(&Value) -> bool + Send,
    ) -> Result<bool, ActionError> {
        let kind = place.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: place.namespace, name: place.name };
        match self.cluster.wait_until(path, within, |object| object.is_some_and(&reached)).await {
            Ok(_) => Ok(true),
            Err(Error::NotReached { .. }) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Of pods.
impl Api {
    /// What adding an ephemeral container would come to.
    pub(crate) async fn dry_add_container(
        &self,
        pod: Place<'_>,
        uid: &str,
        container: &Value,
    ) -> Result<(Value, Vec<String>), Error> {
        let kind = pod.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: pod.namespace, name: pod.name };
        let answer = self.cluster.add_container(path, uid, container, options(true)).await?;
        Ok((serde_json::from_slice(&answer.object).unwrap_or_default(), answer.warnings))
    }

    /// Adds an ephemeral container to the pod with this UID.
    pub(crate) async fn add_container(
        &self,
        _: &Permit,
        pod: Place<'_>,
        uid: &str,
        container: &Value,
    ) -> Result<(), ActionError> {
        let kind = pod.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: pod.namespace, name: pod.name };
        self.cluster.add_container(path, uid, container, options(false)).await.map(drop).map_err(refused)
    }

    /// Runs a program in a container.
    pub(crate) async fn exec(
        &self,
        _: &Permit,
        pod: Place<'_>,
        options: ExecOptions<'_>,
    ) -> Result<Executed, ActionError> {
        let kind = pod.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: pod.namespace, name: pod.name };
        self.cluster.exec(path, options).await.map_err(refused)
    }

    /// What a container wrote, from its beginning.
    pub(crate) async fn log(&self, pod: Place<'_>, container: &str, limit: u32) -> Result<Vec<u8>, ActionError> {
        let kind = pod.resource.resource_type();
        let path = ObjectPath { resource: &kind, namespace: pod.namespace, name: pod.name };
        self.cluster.logs(path, LogOptions { container, previous: false, limit }).await.map_err(refused)
    }
}

fn deletion(uid: &str, grace_seconds: Option<u32>, dry_run: bool) -> DeleteOptions<'_> {
    DeleteOptions { uid, resource_version: None, propagation: None, grace_seconds, dry_run }
}
