//! Where backups live: S3, a directory or memory behind one trait, every key written once.
//!
//! [`Store`] is the trait; [`S3Store`], [`DirectoryStore`] and [`MemoryStore`] are the places; [`FaultyStore`] makes
//! any of them fail on demand, and [`RetainedStore`] puts a lock on all that is written. A [`Key`] is a checked relative path, a [`Prefix`] a folder of keys.

mod directory;
mod error;
mod faulty;
mod key;
mod memory;
mod retained;
mod s3;
mod store;

pub use directory::DirectoryStore;
pub use error::StoreError;
pub use faulty::{Call, Fault, FaultyStore, Operation, nth, seeded};
pub use key::{Key, KeyError, Prefix};
pub use memory::{Clock, MemoryStore};
pub use retained::RetainedStore;
pub use s3::{Checksums, Credentials, S3Options, S3Store, ServerSideEncryption, Timeouts};
pub use store::{
    Body, Capabilities, DefaultRetention, Expiry, Incomplete, LifecycleRule, Listed, Listing, MAX_RANGE, Object,
    ObjectLock, Protection, Purged, Retention, RetentionPeriod, Store, Stored, Versioning, body, digest,
};
