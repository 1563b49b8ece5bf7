//! Events that are done, so that what is sent again is dropped.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lifeboat_model::Digest;

/// So many events are remembered.
const REMEMBERED: usize = 100_000;

/// Events that are done or under way.
#[derive(Debug)]
pub(super) struct Seen(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    /// Lines of the file.
    lines: usize,
    order: VecDeque<Digest>,
    known: HashSet<Digest>,
}

impl Seen {
    /// Reads what was done before. A last line that was broken off is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut order = VecDeque::new();
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file).lines() {
                if let Ok(key) = line?.parse() {
                    order.push_back(key);
                    if order.len() > REMEMBERED {
                        order.pop_front();
                    }
                }
            }
        }
        let (file, lines) = (write(path, &order)?, order.len());
        let known = order.iter().copied().collect();
        Ok(Self(Mutex::new(Inner { path: path.to_owned(), file, lines, order, known })))
    }

    /// Takes an event; not where somebody else has it or it is done.
    pub(super) fn take(&self, key: Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.insert(key)
    }

    /// Gives an event back that was not done.
    pub(super) fn give_back(&self, key: Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.remove(&key);
    }

    /// Notes that an event that was taken is done.
    pub(super) fn done(&self, key: Digest) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        inner.order.push_back(key);
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
        inner.lines += 1;
        if inner.lines > 2 * REMEMBERED {
            inner.file = write(&inner.path, &inner.order)?;
            inner.lines = inner.order.len();
            return Ok(());
        }
        writeln!(inner.file, "{key}")
    }
}

/// Writes the file anew, and gives it to be written on.
fn write(path: &Path, keys: &VecDeque<Digest>) -> io::Result<File> {
    let part = path.with_extension("part");
    let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    OpenOptions::new().append(true).open(path)
}
