//! Listing objects, folders and unfinished uploads.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::bucket::Bucket;
use super::download::timestamp;
use super::failure::{LIST, LIST_UPLOADS, Request};
use crate::{Incomplete, Listed, Listing, Prefix, StoreError};

/// A page of a listing, and what to ask the next one with.
struct Page<T, C> {
    items: Vec<T>,
    next: Option<C>,
}

impl Bucket {
    pub(super) fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        let start = self.start(prefix);
        self.pages(LIST, move |token| self.list_page(start.clone(), token))
    }

    pub(super) fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        let start = self.start(prefix);
        let prefix = prefix.clone();
        self.pages(LIST, move |token| self.folder_page(start.clone(), prefix.clone(), token))
    }

    /// Of the whole bucket, and sorted out here: some servers find nothing by a prefix.
    pub(super) fn uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        let prefix = prefix.clone();
        self.pages(LIST_UPLOADS, |marker| self.upload_page(marker))
            .try_filter(move |upload| std::future::ready(prefix.contains(&upload.key)))
            .boxed()
    }

    /// All items of all pages. A server that repeats itself is stopped.
    fn pages<'a, T, C, P>(&'a self, request: Request, fetch: impl Fn(Option<C>) -> P + Send + 'a) -> Listing<'a, T>
    where
        T: Send + 'a,
        C: Clone + PartialEq + Send + 'a,
        P: Future<Output = Result<Page<T, C>, StoreError>> + Send + 'a,
    {
        // What to ask next; `None` at the end.
        let first = Some(None);
        stream::try_unfold((first, fetch), move |(token, fetch)| async move {
            let Some(token) = token else { return Ok(None) };
            let page = fetch(token.clone()).await?;
            if page.next.is_some() && page.next == token {
                return Err(self.unusable(request, "the same page comes again"));
            }
            Ok(Some((stream::iter(page.items).map(Ok), (page.next.map(Some), fetch))))
        })
        .try_flatten()
        .boxed()
    }

    /// The error of a listing that cannot be relied upon.
    pub(super) fn unusable(&self, request: Request, message: &str) -> StoreError {
        StoreError::Other {
            operation: request.operation,
            resource: format!("s3://{}", self.name),
            status: None,
            code: None,
            message: message.to_owned(),
        }
    }

    async fn list_page(&self, start: String, token: Option<String>) -> Result<Page<Listed, String>, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(start).set_continuation_token(token);
        let page = request.send().await.map_err(|e| self.failure(LIST, None, e))?;
        let items = page.contents().iter().filter_map(|object| {
            // Others may keep their own things in the bucket.
            let key = self.key(object.key()?)?;
            let told = object.size().and_then(|size| u64::try_from(size).ok()).zip(timestamp(object.last_modified()));
            Some(match told {
                Some((bytes, modified)) => Ok(Listed { key, bytes, modified }),
                None => Err(self.unusable(LIST, &format!("the size or the date of '{key}' is missing"))),
            })
        });
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next: next(page.is_truncated(), page.next_continuation_token()),
        })
    }

    async fn folder_page(
        &self,
        start: String,
        prefix: Prefix,
        token: Option<String>,
    ) -> Result<Page<Prefix, String>, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(&start).delimiter("/");
        let page = request.set_continuation_token(token).send().await.map_err(|e| self.failure(LIST, None, e))?;
        let items = page.common_prefixes().iter().filter_map(|common| {
            let name = common.prefix()?.strip_prefix(&start)?.strip_suffix('/')?;
            prefix.folder(name).ok()
        });
        Ok(Page { items: items.collect(), next: next(page.is_truncated(), page.next_continuation_token()) })
    }

    async fn upload_page(
        &self,
        marker: Option<(String, String)>,
    ) -> Result<Page<Incomplete, (String, String)>, StoreError> {
        let (key, id) = marker.unzip();
        let request = self.client.list_multipart_uploads().bucket(&self.name);
        let request = request.set_key_marker(key).set_upload_id_marker(id);
        let page = request.send().await.map_err(|e| self.failure(LIST_UPLOADS, None, e))?;
        let items = page.uploads().iter().filter_map(|upload| {
            let key = self.key(upload.key()?)?;
            Some(match (timestamp(upload.initiated()), upload.upload_id().map(str::to_owned)) {
                (Some(started), Some(id)) => Ok(Incomplete { key, started, id }),
                _ => Err(self.unusable(LIST_UPLOADS, &format!("the date or the id of '{key}' is missing"))),
            })
        });
        let items = items.collect::<Result<_, _>>()?;
        let marker = page.next_key_marker().zip(Some(page.next_upload_id_marker().unwrap_or_default()));
        let next =
            marker.filter(|_| page.is_truncated() == Some(true)).map(|(key, id)| (key.to_owned(), id.to_owned()));
        Ok(Page { items, next })
    }
}

fn next(truncated: Option<bool>, token: Option<&str>) -> Option<String> {
    token.filter(|_| truncated == Some(true)).map(str::to_owned)
}
