//! The Kubernetes API: a client, discovery, lists streamed as raw JSON, and writes that are never done twice.
//!
//! [`Cluster::connect`] loads a kubeconfig or the pod's own credentials. [`Cluster::discover`] names every listable
//! resource once. [`Cluster::list_all`] lists them in order, requesting ahead within a bound on memory, and hands out
//! [`Page`]s: the API server's bytes, with the span of each object, and no trees built. What could not be discovered
//! or listed is always said ([`Discovery::failures`], [`ListEvent::Failed`]), so that the caller can make it a gap.
//!
//! [`Cluster::create`], [`Cluster::replace`], [`Cluster::merge_patch`] and [`Cluster::delete`] write one object at an
//! [`ObjectPath`]. Each is tried again after passing faults, with the waits that the API server asks for; where it is
//! not known whether a write was done, the object itself is asked before anything is repeated. [`Error`] tells apart
//! what a caller would answer differently. [`Cluster::wait_until`] waits by a watch, [`Cluster::may`] asks for
//! permissions, and a [`LeaseLock`] keeps others out.
//!
//! Connections are HTTP/1.1, one for each request under way. The API server's CPU bounds the rate of writes: it was the
//! same over HTTP/2, be it on one connection or on several.
//!
//! The environment and the home directory are read only where kube's own configuration loading does so.

mod access;
mod attempt;
mod cluster;
mod config;
mod discovery;
mod ephemeral;
mod error;
mod evict;
mod exec;
mod gate;
mod lease;
mod list;
mod listing;
mod logs;
mod object;
mod page;
mod refusal;
mod request;
mod retry;
mod service;
mod settle;
mod sizer;
mod subject;
mod token;
mod wait;
mod watch;
mod write;

pub use access::{Access, Decision};
pub use cluster::{Cluster, ConnectOptions};
pub use discovery::{Discovery, DiscoveryFailure, Twin, kept_name};
pub use error::{Error, FieldCause};
pub use evict::Eviction;
pub use exec::{ExecEnd, ExecOptions, Executed};
pub use lease::{LeaseLock, LeaseOptions};
pub use list::ListOptions;
pub use listing::{ListEvent, Listing};
pub use logs::LogOptions;
pub use object::ObjectPath;
pub use page::Page;
pub use retry::Retry;
pub use service::ServicePort;
pub use subject::SubjectAccess;
pub use token::{BoundPod, Token, TokenVerdict};
pub use wait::{is_active, is_established};
pub use write::{DeleteOptions, Deletion, FieldValidation, Propagation, WriteOptions, Written};
