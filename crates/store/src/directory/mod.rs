//! A folder of files as a store.

mod folder;
mod part;
mod walk;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use self::folder::{Entry, Folder, at};
use self::part::{Part, part_name};
use self::walk::{Find, Objects, Parts, Walk, modified};
use crate::key::check_segment;
use crate::store::{beyond_end, body, check_range, no_locks};
use crate::{
    Body, Capabilities, Incomplete, Key, Listed, Listing, Object, ObjectLock, Prefix, Protection, Purged, Retention,
    Store, StoreError, Stored, Versioning,
};

/// Bytes that are written or read on a blocking thread at a time.
const BUFFER: usize = 256 << 10;
/// Entries that a listing fetches at a time.
const BATCH: usize = 256;

/// A store in a folder of a file system: an object is a file under its key's path.
///
/// Files and folders are private to the user that writes them. An object is written beside its final name, as
/// `.<name>.part-<16 hexadecimal digits>`, made durable, and then linked to its name, which fails if that is taken.
/// Symbolic links below the root are never followed.
#[derive(Debug)]
pub struct DirectoryStore {
    root: Folder,
    random: Mutex<fastrand::Rng>,
    tasks: TaskTracker,
}

impl DirectoryStore {
    /// Opens a folder, and makes it where it is not there. `seed` tells the unfinished files of this process from those
    /// of others and should be random.
    pub async fn open(root: impl Into<PathBuf>, seed: u64) -> Result<Self, StoreError> {
        let root: PathBuf = root.into();
        let tasks = TaskTracker::new();
        tasks.close();
        let root = blocking(&tasks, &root.clone(), move || Folder::root(&root)).await?;
        Ok(Self { root, random: Mutex::new(fastrand::Rng::with_seed(seed)), tasks })
    }

    /// Does something on a blocking thread that uses the root folder and a key.
    async fn run<T: Send + 'static>(
        &self,
        key: &Key,
        job: impl FnOnce(&Folder, &Key) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, key) = (self.root.clone(), key.clone());
        blocking(&self.tasks, self.root.path(), move || job(&root, &key)).await
    }

    fn walk<F: Find>(&self, find: F, prefix: &Prefix) -> Listing<'_, F::Item> {
        let (root, prefix) = (self.root.clone(), prefix.clone());
        let begin = move || Walk::new(find, root.open(&prefix)?, prefix);
        let start = async move { blocking(&self.tasks, self.root.path(), begin).await };
        stream::once(start)
            .map_ok(move |walk| {
                stream::try_unfold(walk, move |mut walk| async move {
                    let next = move || walk.next_batch(BATCH).map(|batch| (batch, walk));
                    let (batch, walk) = blocking(&self.tasks, self.root.path(), next).await?;
                    Ok::<_, StoreError>((!batch.is_empty()).then(|| (stream::iter(batch).map(Ok), walk)))
                })
            })
            .try_flatten()
            .try_flatten()
            .boxed()
    }
}

#[async_trait]
impl Store for DirectoryStore {
    fn location(&self) -> String {
        self.root.path().display().to_string()
    }

    async fn put_once(&self, key: &Key, mut body: Body) -> Result<Stored, StoreError> {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).fork();
        let mut part = self.run(key, move |root, key| Part::create(root, key, random)).await?;
        let mut bytes = 0;
        loop {
            let (chunks, length) = gather(key, &mut body).await?;
            if length == 0 {
                break;
            }
            bytes += length;
            part = self.run(key, move |_, _| part.write(&chunks).map(|()| part)).await?;
        }
        self.run(key, move |_, _| part.publish()).await?;
        Ok(Stored { bytes })
    }

    async fn put_retained(&self, key: &Key, _: Body, _: Retention) -> Result<Stored, StoreError> {
        Err(no_locks("lock", path_of(&self.root, key).display().to_string()))
    }

    async fn retain(&self, key: &Key, _: Retention) -> Result<(), StoreError> {
        Err(no_locks("lock", path_of(&self.root, key).display().to_string()))
    }

    async fn hold(&self, key: &Key, _: bool) -> Result<(), StoreError> {
        Err(no_locks("hold", path_of(&self.root, key).display().to_string()))
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let (file, bytes, modified) = self.run(key, open).await?;
        let state = Reading { file, key: key.clone(), path: path_of(&self.root, key), left: bytes };
        let tasks = self.tasks.clone();
        let content = stream::try_unfold(state, move |mut reading| {
            let tasks = tasks.clone();
            async move {
                if reading.left == 0 {
                    return Ok(None);
                }
                let next = tasks.spawn_blocking(move || reading.next().map(|chunk| Some((chunk, reading))));
                next.await.map_err(io::Error::other)?.map_err(io::Error::other)
            }
        });
        let content: Body = if bytes == 0 { body(Bytes::new()) } else { content.boxed() };
        Ok(Object { bytes, modified, body: content })
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = check_range(key, &range)?;
        self.run(key, move |root, key| {
            let (file, bytes, _) = open(root, key)?;
            if range.end > bytes {
                return Err(beyond_end(key, &range, Some(bytes)));
            }
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, range.start).map_err(at("read", &path_of(root, key)))?;
            Ok(content.into())
        })
        .await
    }

    fn list(&self, prefix: &Prefix) -> Listing<'_, Listed> {
        self.walk(Objects, prefix)
    }

    fn folders(&self, prefix: &Prefix) -> Listing<'_, Prefix> {
        let (root, prefix) = (self.root.clone(), prefix.clone());
        let look = move || folders(&root, &prefix);
        stream::once(async move { blocking(&self.tasks, self.root.path(), look).await })
            .map_ok(|found| stream::iter(found).map(Ok))
            .try_flatten()
            .boxed()
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run(key, |root, key| remove(root, &key.parent(), key.name())).await
    }

    async fn purge(&self, _: &Prefix) -> Result<Purged, StoreError> {
        Ok(Purged::default())
    }

    async fn protection(&self, _: &Key) -> Result<Protection, StoreError> {
        Ok(Protection::default())
    }

    fn incomplete_uploads(&self, prefix: &Prefix) -> Listing<'_, Incomplete> {
        self.walk(Parts, prefix)
    }

    async fn abort_incomplete(&self, upload: &Incomplete) -> Result<(), StoreError> {
        let name = part_name(upload.key.name(), &upload.id);
        self.run(&upload.key, move |root, key| remove(root, &key.parent(), &name)).await
    }

    async fn capabilities(&self, probe: &Key, now: Timestamp) -> Result<Capabilities, StoreError> {
        self.put_once(probe, body("probe")).await?;
        let modified = self.get(probe).await?.modified;
        let second = self.put_once(probe, body("probe")).await;
        self.delete(probe).await?;
        Ok(Capabilities {
            conditional_writes: match second {
                Ok(_) => false,
                Err(StoreError::AlreadyExists { .. }) => true,
                Err(e) => return Err(e),
            },
            object_lock: ObjectLock::Disabled,
            versioning: Versioning::Disabled,
            lifecycle: Some(Vec::new()),
            clock_skew: Some(modified.duration_since(now)),
        })
    }

    fn unretained(&self) -> &dyn Store {
        self
    }

    async fn close(&self) {
        self.tasks.wait().await;
    }
}

/// The next chunks of a body, together about a buffer's size, and their length: 0 at the end.
async fn gather(key: &Key, body: &mut Body) -> Result<(Vec<Bytes>, u64), StoreError> {
    let mut chunks = Vec::new();
    let mut length = 0;
    while length < BUFFER {
        let Some(chunk) = body.next().await else { break };
        let chunk = chunk.map_err(|source| StoreError::Body { key: key.clone(), source })?;
        length += chunk.len();
        chunks.push(chunk);
    }
    Ok((chunks, length as u64))
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    tasks: &TaskTracker,
    path: &Path,
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tasks.spawn_blocking(job).await {
        Ok(result) => result,
        Err(e) => Err(at("use", path)(io::Error::other(e))),
    }
}

/// A file that is read chunk by chunk.
struct Reading {
    file: File,
    key: Key,
    path: PathBuf,
    left: u64,
}

impl Reading {
    fn next(&mut self) -> Result<Bytes, StoreError> {
        let size = self.left.min(BUFFER as u64);
        let mut chunk = Vec::with_capacity(BUFFER.min(usize::try_from(size).unwrap_or(BUFFER)));
        let read = Read::by_ref(&mut self.file).take(size).read_to_end(&mut chunk).map_err(at("read", &self.path))?;
        let read = read as u64;
        if read < size {
            let reason = "the file became shorter while it was read".to_owned();
            return Err(StoreError::Corrupt { key: self.key.clone(), reason });
        }
        self.left -= read;
        Ok(chunk.into())
    }
}

fn path_of(root: &Folder, key: &Key) -> PathBuf {
    root.path().join(key.as_str())
}

fn open(root: &Folder, key: &Key) -> Result<(File, u64, Timestamp), StoreError> {
    let entry = root.open(&key.parent())?.map(|folder| folder.entry(key.name())).transpose()?.flatten();
    match entry {
        Some(Entry::File(file, meta)) => Ok((file, meta.len(), modified(&meta))),
        _ => Err(StoreError::NotFound { key: key.clone() }),
    }
}

fn folders(root: &Folder, prefix: &Prefix) -> Result<Vec<Prefix>, StoreError> {
    let Some(folder) = root.open(prefix)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in folder.names(|name| check_segment(name).is_ok())? {
        let Some(name) = name.strip_suffix('/') else { continue };
        let Ok(below) = prefix.folder(name) else { continue };
        // One that holds unfinished files only, or nothing, is none yet.
        if let Some(Entry::Folder(child)) = folder.entry(name)?
            && !Walk::new(Objects, Some(child), below.clone())?.next_batch(1)?.is_empty()
        {
            found.push(below);
        }
    }
    Ok(found)
}

fn remove(root: &Folder, parent: &Prefix, name: &str) -> Result<(), StoreError> {
    let Some(folder) = root.open(parent)? else { return Ok(()) };
    folder.remove(name).and_then(|()| folder.sync()).map_err(at("remove", &folder.path().join(name)))?;
    folder.prune();
    Ok(())
}
