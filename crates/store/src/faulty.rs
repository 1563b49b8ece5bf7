use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, Prefix, Protection, Purged, Retention, Store,
    StoreError, Stored,
};

/// What a store is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Store::put_once`].
    PutOnce,
    /// [`Store::get`].
    Get,
    /// [`Store::get_range`].
    GetRange,
    /// [`Store::list`].
    List,
    /// [`Store::folders`].
    Folders,
    /// [`Store::put_retained`].
    PutRetained,
    /// [`Store::retain`].
    Retain,
    /// [`Store::hold`].
    Hold,
    /// [`Store::delete`].
    Delete,
    /// [`Store::purge`].
    Purge,
    /// [`Store::protection`].
    Protection,
    /// [`Store::incomplete_uploads`].
    IncompleteUploads,
    /// [`Store::abort_incomplete`].
    AbortIncomplete,
    /// [`Store::capabilities`].
    Capabilities,
}

/// One call of a store.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is asked.
    pub operation: Operation,
    /// About which key or prefix.
    pub path: &'a str,
    /// Which call of this operation it is, from 1.
    pub nth: u64,
}

/// What goes wrong in a call.
#[derive(Debug)]
pub enum Fault {
    /// It fails before anything happens.
    Fail(StoreError),
    /// The stream of bytes breaks after that many: the body of a put, the object of a get; a range fails.
    Cut(u64),
    /// It takes that much longer.
    Delay(Duration),
    /// The byte at that offset (of a range: within the range) is read with its lowest bit flipped.
    Corrupt(u64),
    /// The call takes effect, and its answer is lost.
    LoseResponse,
}

type Plan = Box<dyn FnMut(&Call<'_>) -> Option<Fault> + Send>;

/// Another store with faults.
pub struct FaultyStore<S> {
    inner: S,
    plan: Mutex<(Plan, [u64; 14])>,
}

/// A plan that lets the nth call of one operation (from 1) fail in one way, and no other.
pub fn nth(
    operation: Operation,
    nth: u64,
    fault: impl FnOnce() -> Fault + Send + 'static,
) -> impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static {
    let mut fault = Some(fault);
    move |call| if call.operation == operation && call.nth == nth { fault.take().map(|make| make()) } else { None }
}

/// A plan that makes `percent` of the calls fail, each in a way that the seed decides.
pub fn seeded(seed: u64, percent: u32) -> impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static {
    let mut random = fastrand::Rng::with_seed(seed);
    move |call| {
        if random.u32(0..100) >= percent {
            return None;
        }
        Some(match random.u8(0..5) {
            0 => Fault::Fail(injected_timeout(call.path)),
            1 => Fault::Cut(random.u64(0..64 << 10)),
            2 => Fault::Delay(Duration::from_millis(random.u64(1..20))),
            3 => Fault::Corrupt(random.u64(0..64 << 10)),
            _ => Fault::LoseResponse,
        })
    }
}

fn injected_timeout(path: &str) -> StoreError {
    StoreError::Timeout { operation: "wait for an injected fault on", resource: path.to_owned() }
}

fn injected_break(endpoint: &str) -> StoreError {
    let source = io::Error::new(io::ErrorKind::ConnectionReset, "injected: the stream broke");
    StoreError::Unreachable { endpoint: endpoint.to_owned(), source: source.into() }
}

impl<S: Store> FaultyStore<S> {
    /// Wraps a store; `plan` is asked about each call.
    pub fn new(inner: S, plan: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) -> Self {
        Self { inner, plan: Mutex::new((Box::new(plan), [0; 14])) }
    }

    /// The store underneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self, operation: Operation, path: &str) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let (decide, counts) = &mut *plan;
        let mut nth = 0;
        if let Some(count) = counts.get_mut(operation as usize) {
            *count += 1;
            nth = *count;
        }
        decide(&Call { operation, path, nth })
    }

    /// Runs a call that carries no bytes.
    async fn call<T>(
        &self,
        operation: Operation,
        path: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.plan(operation, path) {
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                call.await
            }
            Some(Fault::LoseResponse | Fault::Cut(_)) => {
                call.await?;
                Err(injected_timeout(path))
            }
            Some(Fault::Corrupt(_)) | None => call.await,
        }
    }

    /// Runs a call that writes an object.
    async fn put<P>(
        &self,
        operation: Operation,
        key: &Key,
        body: Body,
        put: impl FnOnce(Body) -> P,
    ) -> Result<Stored, StoreError>
    where
        P: Future<Output = Result<Stored, StoreError>>,
    {
        match self.plan(operation, key.as_str()) {
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Cut(after)) => put(cut(body, after, injected_break(&self.location()))).await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                put(body).await
            }
            Some(Fault::LoseResponse) => {
                put(body).await?;
                Err(StoreError::Uncertain { key: key.clone(), source: Box::new(injected_timeout(key.as_str())) })
            }
            // Only reads are corrupted: what a put sends is checked by the server.
            Some(Fault::Corrupt(_)) | None => put(body).await,
        }
    }

    fn listing<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        prefix: &Prefix,
        listing: Listing<'a, T>,
    ) -> Listing<'a, T> {
        let path = prefix.to_string();
        let start = async move { self.call(operation, &path, async { Ok(listing) }).await };
        stream::once(start).try_flatten().boxed()
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_once(&self, key: &Key, body: Body) -> Result<Stored, StoreError> {
        self.put(Operation::PutOnce, key, body, |body| self.inner.put_once(key, body)).await
    }

    async fn put_retained(&self, key: &Key, body: Body, retention: Retention) -> Result<Stored, StoreError> {
        self.put(Operation::PutRetained, key, body, |body| self.inner.put_retained(key, body, retention)).await
    }

    async fn retain(&self, key: &Key, retention: Retention) -> Result<(), StoreError> {
        self.call(Operation::Retain, key.as_str(), self.inner.retain(key, retention)).await
    }

    async fn hold(&self, key: &Key, held: bool) -> Result<(), StoreError> {
        self.call(Operation::Hold, key.as_str(), self.inner.hold(key, held)).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let fault = self.plan(Operation::Get, key.as_str());
        if let Some(Fault::Fail(error)) = fault {
            return Err(error);
        }
        let mut object = self.inner.get(key).await?;
        match fault {
            Some(Fault::Cut(after)) => object.body = cut(object.body, after, injected_break(&self.location())),
            Some(Fault::Corrupt(at)) => object.body = corrupt(object.body, at),
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::LoseResponse) => return Err(injected_timeout(key.as_str())),
            Some(Fault::Fail(_)) | None => {}
        }
        Ok(object)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let fault = self.plan(Operation::GetRange, key.as_str());
        if let Some(Fault::Fail(error)) = fault {
            return Err(error);
        }
        let content = self.inner.get_range(key, range).await?;
        match fault {
            Some(Fault::Corrupt(at)) => Ok(flip(&content, 0, at)),
            Some(Fault::Cut(_) | Fault::LoseResponse) => Err(injected_timeout(key.as_str())),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(content)
            }
            Some(Fault::Fail(_)) | None => Ok(content),
        }
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        self.listing(Operation::List, prefix, self.inner.list(prefix))
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        self.listing(Operation::Folders, prefix, self.inner.folders(prefix))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call(Operation::Delete, key.as_str(), self.inner.delete(key)).await
    }

    async fn purge(&self, prefix: &Prefix) -> Result<Purged, StoreError> {
        self.call(Operation::Purge, prefix.as_str(), self.inner.purge(prefix)).await
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        self.call(Operation::Protection, key.as_str(), self.inner.protection(key)).await
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        self.listing(Operation::IncompleteUploads, prefix, self.inner.incomplete_uploads(prefix))
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        self.call(Operation::AbortIncomplete, upload.key.as_str(), self.inner.abort_incomplete(upload)).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        self.call(Operation::Capabilities, probe.as_str(), self.inner.capabilities(probe, now)).await
    }

    fn unretained(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// The body up to so many bytes, then an error, even if the body ends there or before.
fn cut(body: Body, after: u64, error: StoreError) -> Body {
    body.scan(after, |left, chunk| {
        let chunk = chunk.map(|mut bytes| {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
            bytes
        });
        let done = matches!(&chunk, Ok(bytes) if bytes.is_empty());
        std::future::ready((!done).then_some(chunk))
    })
    .chain(stream::once(async { Err(io::Error::other(error)) }))
    .boxed()
}

/// The body with one bit wrong.
fn corrupt(body: Body, at: u64) -> Body {
    let mut offset = 0;
    body.map_ok(move |bytes| {
        let bytes_at = offset;
        offset += bytes.len() as u64;
        flip(&bytes, bytes_at, at)
    })
    .boxed()
}

fn flip(bytes: &Bytes, offset: u64, at: u64) -> Bytes {
    let mut bytes = bytes.to_vec();
    let byte = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok()).and_then(|at| bytes.get_mut(at));
    if let Some(byte) = byte {
        *byte ^= 1;
    }
    bytes.into()
}
