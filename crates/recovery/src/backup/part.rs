//! One sealed part on its way into the store.

use std::io::Write;
use std::sync::Arc;

use lifeboat_archive::{ArchiveError, Finished, Frame, FrameSize, Recipients, SealOptions, Sealed, SealedWriter};
use lifeboat_model::{Part, PartName};
use lifeboat_store::{Key, Store, StoreError};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, debug_span};

use crate::blocking::{self, Sink, reread};
use crate::error::{Error, Result};
use crate::progress::Track;

/// Names the task of an upload.
const UPLOAD: &str = "upload";

/// The writing end of a part.
pub(crate) type PartWriter = SealedWriter<Sink>;

/// The upload of a part. Dropping it aborts the upload.
pub(crate) struct Upload {
    name: PartName,
    key: Key,
    store: Arc<dyn Store>,
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<std::result::Result<(), StoreError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a finished writer says of its part.
pub(crate) struct Written {
    pub(crate) sealed: Sealed,
    pub(crate) frames: Vec<Frame>,
}

/// Begins a part: its writer goes to a blocking thread, its upload is awaited.
pub(crate) fn begin(
    store: &Arc<dyn Store>,
    key: Key,
    name: PartName,
    recipients: &Recipients,
    options: SealOptions,
    track: Track,
) -> Result<(PartWriter, Upload)> {
    let (sink, body) = blocking::sink(track);
    let writer = SealedWriter::new(sink, recipients, options)?;
    let (uploader, target) = (Arc::clone(store), key.clone());
    let span = debug_span!("part", %name);
    let upload = async move { uploader.put_once(&target, body).await.map(drop) };
    let task = tokio::spawn(upload.instrument(span));
    Ok((writer, Upload { name, key, store: Arc::clone(store), task: AbortOnDrop(task) }))
}

/// Options for a part whose frames are cut by hand and listed in the lookup.
pub(crate) fn listed_frames() -> SealOptions {
    SealOptions { frame_size: FrameSize::MAX, record_frames: true, ..SealOptions::default() }
}

/// Ends a part. Only then is it stored.
pub(crate) fn finish(writer: PartWriter) -> Result<Written> {
    let Finished { sealed, frames, sink } = writer.finish().map_err(write_error)?;
    sink.close().map_err(write_error)?;
    Ok(Written { sealed, frames })
}

/// Writes a small part whole.
pub(crate) fn write_whole(mut writer: PartWriter, bytes: &[u8]) -> Result<Written> {
    writer.write_all(bytes).map_err(write_error)?;
    finish(writer)
}

/// An error of writing into a part. A sink fails only because its upload has ended, and the upload knows why.
pub(crate) fn write_error(error: std::io::Error) -> Error {
    archive_error(error.into())
}

/// The same, of a writer on top of the part.
pub(crate) fn archive_error(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Error::Lost(UPLOAD),
        error => error.into(),
    }
}

/// Waits for the writer of some parts and for their uploads, and tells the error that came first.
pub(crate) async fn settle<T>(work: impl Future<Output = Result<T>>, uploads: &mut [&mut Upload]) -> Result<T> {
    let work = work.await;
    let mut uploaded = Ok(());
    for upload in uploads {
        let result = (&mut upload.task.0).await.map_err(|_| Error::Lost(UPLOAD)).and_then(|result| Ok(result?));
        uploaded = uploaded.and(result);
    }
    match work {
        // The writer only noticed that an upload was gone.
        Err(Error::Lost(UPLOAD)) => Err(uploaded.err().unwrap_or(Error::Lost(UPLOAD))),
        // The uploads only noticed that the writer was gone.
        Err(error) => Err(error),
        Ok(written) => uploaded.map(|()| written),
    }
}

impl Upload {
    /// Reads the stored part back, compares it with what was written, and describes it.
    pub(crate) async fn describe(&self, sealed: &Sealed) -> Result<Part> {
        reread(self.store.as_ref(), &self.key, sealed).await?;
        Ok(sealed.describe(self.name.clone()))
    }
}
