//! etcd: choosing a member, the snapshot stream, reading a snapshot offline, rebuilding a data directory.
//!
//! [`Cluster`] asks every member for its status, [`choose`] ranks them, and [`Cluster::snapshot`] streams a member's
//! database with its checksum. [`Inspector`] reads such a file in one pass, wherever it comes from, checks it and tells
//! what is in it. [`rebuild`] turns it into a data directory by the official `etcdutl`, and [`swap`] puts that in place.

mod choose;
mod cluster;
mod error;
mod offline;
mod restore;
mod stream;
mod trailer;
mod wire;

pub use choose::choose;
pub use cluster::{
    Alarm, AlarmKind, ClientCertificate, Cluster, Content, EndpointStatus, EtcdOptions, ListedMember, MemberStatus, Tls,
};
pub use error::{CallFailure, EtcdError, Unfit};
pub use offline::{Inspector, KeySpace, SnapshotError, SnapshotFacts, Trailer, read_keys};
pub use restore::{Minor, MinorError, Rebuild, etcdutl_minor, in_use, inspect_data_dir, inspect_file, rebuild, swap};
pub use stream::{SnapshotInfo, SnapshotStream};
