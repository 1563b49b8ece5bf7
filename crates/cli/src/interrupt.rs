//! Stopping on request: the first signal asks, the second does not.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::exit::KILLED;

/// Cancels the token on SIGINT or SIGTERM, and ends the process on the next one.
pub(crate) fn watch(cancel: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        tracing::warn!("interrupted: undoing what was begun; once more ends at once");
        cancel.cancel();
        next(&mut interrupt, &mut terminate).await;
        std::process::exit(KILLED);
    });
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
