//! Objects on their way out of the backup: read ahead of those who work on them, within a bound on memory.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;
use super::plan::Span;
use super::request::Concurrency;
use crate::browse::OpenBackup;
use crate::error::{Error, Result};

/// Bytes of objects that are read and not yet done with; a parsed object takes several times its length.
const BYTES: usize = 8 << 20;
/// The unit in which they are counted.
const UNIT: usize = 1024;
/// Objects that wait, at most.
const QUEUE: usize = 64;
/// From so many objects on, the backup is read in large pieces.
const AHEAD: usize = 16;

/// The JSON of an object of the backup.
pub(super) struct Fed {
    /// What it was asked for as.
    pub(super) number: u32,
    /// Its JSON.
    pub(super) json: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// Objects on their way.
pub(super) struct Feed {
    queue: mpsc::Receiver<Fed>,
    reader: JoinHandle<Result<()>>,
}

impl Feed {
    /// Reads these objects, in this order, which is best that of the tar.
    pub(super) fn of(open: &OpenBackup, wanted: Vec<(u32, Span)>) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (open, handle) = (open.clone(), Handle::current());
        let room = Arc::new(Semaphore::new(BYTES / UNIT));
        let reader = tokio::task::spawn_blocking(move || {
            let mut tar = open.reader(&handle, wanted.len() >= AHEAD);
            for (number, span) in wanted {
                let json = tar.object(span.offset, span.length)?.to_vec();
                let units = (json.len() / UNIT + 1).min(BYTES / UNIT);
                let units = u32::try_from(units).unwrap_or(u32::MAX);
                let room = handle.block_on(Arc::clone(&room).acquire_many_owned(units));
                let Ok(room) = room else { return Ok(()) };
                if sender.blocking_send(Fed { number, json, _room: room }).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        });
        Self { queue, reader }
    }

    /// Works on each object, several at a time, while further ones are read; how many is a matter of [`Pace`]. After the first error nothing is begun any
    /// more, and what is under way comes to its end.
    pub(super) async fn run<T, W: Future<Output = Result<T>>>(
        mut self,
        concurrency: Concurrency,
        mut start: impl FnMut(Fed) -> Result<W>,
        mut done: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        let mut pace = Pace::new(concurrency, Instant::now());
        let (mut ended, mut outcome) = (false, Ok(()));
        while !(ended && under_way.is_empty()) {
            let deadline = pace.deadline();
            // Both at once: what is under way has to end for there to be room for what is read.
            let step = tokio::select! {
                fed = self.queue.recv(), if !ended && under_way.len() < pace.limit() => if let Some(fed) = fed {
                    let began = Instant::now();
                    start(fed).map(|work| under_way.push(async move { (began, work.await) }))
                } else {
                    ended = true;
                    Ok(())
                },
                Some((began, result)) = under_way.next(), if !under_way.is_empty() => {
                    let now = Instant::now();
                    pace.done(now, now.duration_since(began), under_way.len() + 1);
                    result.and_then(&mut done)
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    pace.overdue(Instant::now());
                    Ok(())
                }
            };
            if step.is_err() {
                ended = true;
                outcome = outcome.and(step);
            }
        }
        // A reader that still waits for room has nobody to read for.
        drop(self.queue);
        let read = self.reader.await.map_err(|_| Error::Lost("reading the objects"))?;
        outcome.and(read)
    }
}
