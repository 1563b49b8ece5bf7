//! Old versions of what was removed.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::bucket::Bucket;
use super::failure::Request;
use crate::{Key, Prefix, Purged, StoreError};

const LIST_VERSIONS: Request = Request { operation: "list the versions of", permission: "s3:ListBucketVersions" };
const DELETE_VERSION: Request = Request { operation: "remove a version of", permission: "s3:DeleteObjectVersion" };
/// Keys whose versions are removed at a time.
const KEYS: usize = 8;

/// A version, or a delete marker.
struct Version {
    key: Key,
    id: String,
    latest: bool,
    /// The bytes of a version; a delete marker has none.
    bytes: Option<u64>,
}

impl Bucket {
    /// Ends the versions of all keys in a folder that were removed, that is, whose latest version is a delete marker.
    pub(super) async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        let start = self.start(prefix);
        let mut purged = Purged::default();
        // The versions of the last key of a page may go on in the next one.
        let mut open: Vec<Version> = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let (key, id) = marker.clone().unzip();
            let request = self.client.list_object_versions().bucket(&self.name).prefix(&start);
            let page = request.set_key_marker(key).set_version_id_marker(id).send().await;
            let page = match page.map_err(|e| self.failure(LIST_VERSIONS, None, e)) {
                Ok(page) => page,
                // A server that knows no versions has no old ones.
                Err(failure) if matches!(failure.status, Some(405 | 501)) => return Ok(purged),
                Err(failure) => return Err(failure.error),
            };
            let versions = page.versions().iter().filter_map(|version| {
                let bytes = version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                self.version(version.key(), version.version_id(), version.is_latest(), Some(bytes))
            });
            let markers = page.delete_markers().iter();
            let markers = markers.filter_map(|m| self.version(m.key(), m.version_id(), m.is_latest(), None));
            open.extend(versions.chain(markers));
            open.sort_by(|a, b| a.key.cmp(&b.key));
            let next = page.next_key_marker().zip(Some(page.next_version_id_marker().unwrap_or_default()));
            let next = next.filter(|_| page.is_truncated() == Some(true));
            let next = next.map(|(key, id)| (key.to_owned(), id.to_owned()));
            if next.is_some() && next == marker {
                return Err(self.unusable(LIST_VERSIONS, "the same page comes again"));
            }
            let last = open.last().map(|version| version.key.clone()).filter(|_| next.is_some());
            let rest = last.map_or(open.len(), |last| open.partition_point(|version| version.key < last));
            let complete: Vec<Version> = open.drain(..rest).collect();
            self.end(complete, &mut purged).await?;
            match next {
                Some(next) => marker = Some(next),
                None => return Ok(purged),
            }
        }
    }

    fn version(
        &self,
        key: Option<&str>,
        id: Option<&str>,
        latest: Option<bool>,
        bytes: Option<u64>,
    ) -> Option<Version> {
        Some(Version { key: self.key(key?)?, id: id?.to_owned(), latest: latest == Some(true), bytes })
    }

    /// Ends all versions of those keys that were removed.
    async fn end(&self, versions: Vec<Version>, purged: &mut Purged) -> Result<(), StoreError> {
        let mut removed: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
        for version in versions {
            removed.entry(version.key.clone()).or_default().push(version);
        }
        removed.retain(|_, versions| versions.iter().any(|version| version.latest && version.bytes.is_none()));
        let mut ended = stream::iter(removed.into_values()).map(|of_key| self.end_key(of_key)).buffer_unordered(KEYS);
        while let Some(Purged { versions, bytes, held }) = ended.try_next().await? {
            purged.versions += versions;
            purged.bytes += bytes;
            purged.held += held;
        }
        Ok(())
    }

    /// The delete marker that hides the others goes last: without it the one before it would be there again.
    async fn end_key(&self, versions: Vec<Version>) -> Result<Purged, StoreError> {
        let mut purged = Purged::default();
        for version in versions.iter().filter(|version| !version.latest) {
            match self.end_version(version).await {
                Ok(()) => {
                    purged.versions += 1;
                    purged.bytes += version.bytes.unwrap_or_default();
                }
                Err(StoreError::Locked { .. }) => purged.held += 1,
                Err(error) => return Err(error),
            }
        }
        if purged.held == 0 {
            for version in versions.iter().filter(|version| version.latest) {
                self.end_version(version).await?;
                purged.versions += 1;
            }
        }
        Ok(purged)
    }

    async fn end_version(&self, version: &Version) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.name).key(self.path(&version.key));
        match request.version_id(&version.id).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = self.failure(DELETE_VERSION, Some(&version.key), error);
                if failure.is("NoSuchVersion") || failure.is("NoSuchKey") { Ok(()) } else { Err(failure.error) }
            }
        }
    }
}
