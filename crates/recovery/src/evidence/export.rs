//! A bundle as the files that it is in the store.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_archive::ArchiveError;
use lifeboat_model::BackupId;
use tokio::runtime::Handle;

use super::{document, read_bundle, sealed_key};
use crate::blocking::{ObjectReader, run_blocking};
use crate::context::Context;
use crate::download::create;
use crate::error::{Error, Result};
use crate::layout;

/// Copies a bundle out of the store as it is, sealed, into a folder that is laid out as a store: it can be verified there.
/// Returns the files.
///
/// # Errors
/// When there is no such bundle, it cannot be believed, or a file is there already.
pub async fn export(context: &Context, run: &BackupId, id: &BackupId, to: PathBuf) -> Result<Vec<PathBuf>> {
    let bundle = read_bundle(context, run, id).await?;
    let key = document(context, run, id)?;
    let keys = [sealed_key(context, &bundle)?, layout::signature(&key)?, key];
    let (handle, store) = (Handle::current(), Arc::clone(&context.store));
    run_blocking("exporting evidence", move || {
        let mut files = Vec::new();
        for key in keys {
            let path = to.join(key.to_string());
            let folder = path.parent().unwrap_or(&to);
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?;
            let mut source = ObjectReader::open(&handle, store.as_ref(), &key)?;
            let mut file = create(&path)?;
            std::io::copy(&mut source, &mut file).map_err(|error| Error::from(ArchiveError::from(error)))?;
            file.sync_all().map_err(Error::io("write", &path))?;
            files.push(path);
        }
        Ok(files)
    })
    .await
}
