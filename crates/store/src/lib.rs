//! Where backups live: S3, a directory or memory behind one trait, every key written once.
//!
//! [`Store`] is the trait; [`S3Store`], [`DirectoryStore`] and [`MemoryStore`] are the places; [`FaultyStore`] makes
//! any of them fail on demand. A [`Key`] is a checked relative path, a [`Prefix`] a folder of keys.

mod directory;
mod error;
mod faulty;
mod key;
mod memory;
mod s3;
mod store;

pub use directory::DirectoryStore;
pub use error::StoreError;
pub use faulty::{Call, Fault, FaultyStore, Operation, nth, seeded};
pub use key::{Key, KeyError, Prefix};
pub use memory::{Clock, MemoryStore};
pub use s3::{Checksums, Credentials, S3Options, S3Store, Timeouts};
pub use store::{
    Body, Capabilities, DefaultRetention, Incomplete, Listed, Listing, MAX_RANGE, Object, ObjectLock, Protection,
    RetentionPeriod, Store, Stored, Versioning, body, digest,
};
