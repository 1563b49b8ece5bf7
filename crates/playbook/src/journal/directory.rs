//! Journals in a directory: a file each, held by a lock of the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_model::Digest;

use super::{Claim, JournalFile, Journals, StorageError, Stored};
use crate::RunId;

const EXTENSION: &str = "jsonl";
/// The folder of the keys that runs hold.
const CLAIMS: &str = "claims";

/// The longest journal that is read, in bytes.
const MAX_JOURNAL: u64 = 1 << 30;

/// Journals in a directory, one file `RUN.jsonl` each.
#[derive(Debug, Clone)]
pub struct DirectoryJournals {
    folder: PathBuf,
}

impl DirectoryJournals {
    /// Journals in this folder, which is made when the first run begins.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.folder.join(run.as_str()).with_extension(EXTENSION)
    }

    async fn on_file<T: Send + 'static>(
        &self,
        run: &RunId,
        work: impl FnOnce(&RunId, &Path) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (run, path) = (run.clone(), self.path(run));
        blocking(move || work(&run, &path)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StorageError::Io { what: "a thread ended".to_owned(), source: error.into() })?
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StorageError {
    let path = path.to_owned();
    move |error| StorageError::Io { what: format!("{what} {}", path.display()), source: error.into() }
}

fn lock(file: &File, run: &RunId, path: &Path) -> Result<(), StorageError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StorageError::Held(run.clone())),
        Err(TryLockError::Error(error)) => Err(failed("locking", path)(error)),
    }
}

fn read_all(file: &mut File, run: &RunId, path: &Path) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    file.take(MAX_JOURNAL + 1).read_to_end(&mut bytes).map_err(failed("reading", path))?;
    if bytes.len() as u64 > MAX_JOURNAL { Err(StorageError::TooLong(run.clone())) } else { Ok(bytes) }
}

fn not_found<'a>(run: &'a RunId, path: &'a Path) -> impl Fn(io::Error) -> StorageError + use<'a> {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => StorageError::NotFound(run.clone()),
        _ => failed("opening", path)(error),
    }
}

#[async_trait]
impl Journals for DirectoryJournals {
    async fn create(&self, run: &RunId) -> Result<Box<dyn JournalFile>, StorageError> {
        let folder = self.folder.clone();
        self.on_file(run, move |run, path| {
            std::fs::create_dir_all(&folder).map_err(failed("making", &folder))?;
            let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path);
            let file = file.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => StorageError::Exists(run.clone()),
                _ => failed("making", path)(error),
            })?;
            lock(&file, run, path)?;
            // The name has to survive as well as the lines.
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed("syncing", &folder))?;
            Ok(Box::new(HeldFile::new(file, path)) as Box<dyn JournalFile>)
        })
        .await
    }

    async fn open(&self, run: &RunId) -> Result<(Box<dyn JournalFile>, Vec<u8>), StorageError> {
        self.on_file(run, |run, path| {
            let file = OpenOptions::new().read(true).append(true).open(path);
            let mut file = file.map_err(not_found(run, path))?;
            lock(&file, run, path)?;
            let bytes = read_all(&mut file, run, path)?;
            Ok((Box::new(HeldFile::new(file, path)) as Box<dyn JournalFile>, bytes))
        })
        .await
    }

    async fn read(&self, run: &RunId) -> Result<Stored, StorageError> {
        self.on_file(run, |run, path| {
            let mut file = File::open(path).map_err(not_found(run, path))?;
            let held = match file.try_lock_shared() {
                Ok(()) => false,
                Err(TryLockError::WouldBlock) => true,
                Err(TryLockError::Error(error)) => return Err(failed("locking", path)(error)),
            };
            Ok(Stored { bytes: read_all(&mut file, run, path)?, held })
        })
        .await
    }

    async fn claim(&self, key: &str, run: &RunId) -> Result<Claim, StorageError> {
        let folder = self.folder.join(CLAIMS);
        let path = folder.join(Digest::of(key.as_bytes()).to_string());
        let run = run.clone();
        blocking(move || {
            std::fs::create_dir_all(&folder).map_err(failed("making", &folder))?;
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let mut file = file.map_err(failed("opening", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return holder(&mut file, &path).map(Claim::Held),
                Err(TryLockError::Error(error)) => return Err(failed("locking", &path)(error)),
            }
            let written = file.set_len(0).and_then(|()| file.write_all(run.as_str().as_bytes()));
            written.map_err(failed("writing", &path))?;
            Ok(Claim::Taken(Box::new(file)))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<RunId>, StorageError> {
        let folder = self.folder.clone();
        blocking(move || {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(failed("listing", &folder)(error)),
            };
            let mut runs = Vec::new();
            for entry in entries {
                let path = entry.map_err(failed("listing", &folder))?.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                if path.extension().is_some_and(|extension| extension == EXTENSION) {
                    runs.extend(stem.and_then(|stem| stem.parse::<RunId>().ok()));
                }
            }
            runs.sort_unstable();
            Ok(runs)
        })
        .await
    }
}

/// The run that holds a claim. Its id is written right after the lock was taken, so it is waited for a little.
fn holder(file: &mut File, path: &Path) -> Result<RunId, StorageError> {
    for _ in 0..100 {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).map_err(failed("reading", path))?;
        file.take(64).read_to_string(&mut text).map_err(failed("reading", path))?;
        if let Ok(run) = text.parse() {
            return Ok(run);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(failed("reading", path)(io::Error::other("it does not say which run holds it")))
}

struct HeldFile {
    file: Arc<File>,
    path: PathBuf,
}

impl HeldFile {
    fn new(file: File, path: &Path) -> Self {
        Self { file: Arc::new(file), path: path.to_owned() }
    }

    async fn on_file(&self, work: impl FnOnce(&File) -> io::Result<()> + Send + 'static) -> Result<(), StorageError> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        blocking(move || work(&file).map_err(failed("writing", &path))).await
    }
}

#[async_trait]
impl JournalFile for HeldFile {
    async fn append(&mut self, line: Vec<u8>) -> Result<(), StorageError> {
        self.on_file(move |mut file| {
            file.write_all(&line)?;
            file.sync_data()
        })
        .await
    }

    async fn cut(&mut self, length: u64) -> Result<(), StorageError> {
        self.on_file(move |mut file| {
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            file.sync_all()
        })
        .await
    }
}
