//! Proving sealed evidence: what can be proved with public keys alone, and the content with a recovery identity.

use std::sync::Arc;

use lifeboat_archive::{DEFAULT_ENTRY_LIMIT, Identities, Sealed, SealedReader, TarReader};
use lifeboat_model::{BackupId, Bundle, BundleContents, BundleItem, Digest, parse_json};
use tokio::runtime::Handle;

use super::{CONTENTS, JOURNAL, read_bundle, sealed_key};
use crate::blocking::{ObjectReader, reread, run_blocking};
use crate::context::Context;
use crate::error::{Class, Error, Result};
use crate::verify::Report;

/// What was found out of a bundle.
#[derive(Debug)]
pub struct Checked {
    /// What vouches for it, where that is there and can be believed.
    pub bundle: Option<Bundle>,
    /// What was checked. Its id is that of the bundle.
    pub report: Report,
}

/// Verifies a bundle: without an identity its signature and the digest of what is stored; with one, also that every file is as
/// it was listed, and that no line of the journal in it was altered.
///
/// # Errors
/// When the store cannot be read, or the identity does not open it. What is wrong with the bundle is in the report; what has
/// no document that vouches for it is not checked.
pub async fn verify(
    context: &Context,
    run: &BackupId,
    id: &BackupId,
    identities: Option<Arc<Identities>>,
) -> Result<Checked> {
    let mut report = Report::new(id.to_string());
    let bundle = match read_bundle(context, run, id).await {
        Err(error) if error.class() == Class::Integrity => {
            report.note("bundle", Err(error))?;
            return Ok(Checked { bundle: None, report });
        }
        Err(error) if error.class() == Class::NotFound => {
            let words = "all of it: it was not sealed to its end, or what vouches for it was removed";
            report.not_checked.push(words.to_owned());
            return Ok(Checked { bundle: None, report });
        }
        other => other?,
    };
    let signed = format!("signed by a trusted key, cluster {}, run {run}, sealed {}", bundle.cluster_id, bundle.sealed);
    report.note("bundle", Ok(signed))?;
    let key = sealed_key(context, &bundle)?;
    let sealed = Sealed::from(&bundle.evidence);
    let stored = reread(context.store.as_ref(), &key, &sealed).await;
    let stored = stored.map(|()| format!("{} bytes, as signed", sealed.stored_bytes));
    report.note(bundle.evidence.name.stored_name(), stored)?;
    match identities {
        Some(identities) if report.ok => {
            let (handle, store) = (Handle::current(), Arc::clone(&context.store));
            let opened = run_blocking("opening evidence", move || {
                let source = ObjectReader::open(&handle, store.as_ref(), &key)?;
                open(SealedReader::new(source, &identities, &sealed)?)
            });
            note(&mut report, &bundle, opened.await)?;
        }
        Some(_) => {}
        None => report.not_checked.push("the content: a recovery identity is needed to open it".to_owned()),
    }
    Ok(Checked { bundle: Some(bundle), report })
}

/// What was found in a bundle.
struct Opened {
    contents: BundleContents,
    journal: Vec<u8>,
}

fn note(report: &mut Report, bundle: &Bundle, opened: Result<Opened>) -> Result<()> {
    let Opened { contents, journal } = match opened {
        Ok(opened) => opened,
        Err(error) => return report.note("content", Err(error)),
    };
    let count = contents.items.len();
    let mut words = format!("{count} files, each with the size and digest that it is listed with");
    if !contents.problems.is_empty() {
        words = format!("{words}; told when it was sealed: {}", contents.problems.join("; "));
    }
    report.note("content", Ok(words))?;
    report.note("journal", chain(bundle, &journal))
}

/// The lines of the journal, each held to the one before.
fn chain(bundle: &Bundle, journal: &[u8]) -> Result<String> {
    if (journal.len() as u64, Digest::of(journal)) != (bundle.journal_bytes, bundle.journal_sha256) {
        return Err(Error::Inconsistent("the journal is not the one that was signed".to_owned()));
    }
    let verified = lifeboat_playbook::verify(journal).map_err(|error| Error::Inconsistent(crate::chain(&error)))?;
    if verified.record.run.as_str() != bundle.run.as_str() {
        return Err(Error::Inconsistent(format!("the journal is of run {}", verified.record.run)));
    }
    Ok(format!("{} lines, each with the digest of the one before, head {}", verified.lines.len(), verified.head))
}

/// Reads all of it, and holds each file to the list that comes last.
fn open(source: SealedReader<ObjectReader>) -> Result<Opened> {
    let mut tar = TarReader::new(source, DEFAULT_ENTRY_LIMIT);
    let (mut found, mut journal, mut contents): (Vec<(String, u64, Digest)>, _, Option<BundleContents>) =
        (Vec::new(), Vec::new(), None);
    while let Some(entry) = tar.next_entry().map_err(Error::from)? {
        if contents.is_some() {
            return Err(Error::Inconsistent(format!("'{}' comes after the list of the files", entry.path())));
        }
        let path = entry.path().to_owned();
        let bytes = entry.into_bytes().map_err(Error::from)?;
        if path == CONTENTS {
            let parsed = parse_json(&bytes, bytes.len());
            contents = Some(parsed.map_err(|source| Error::Document { key: path, source })?);
            continue;
        }
        found.push((path.clone(), bytes.len() as u64, Digest::of(&bytes)));
        if path == JOURNAL {
            journal = bytes;
        }
    }
    let contents = contents.ok_or_else(|| Error::Inconsistent(format!("'{CONTENTS}' is not there")))?;
    let same = |(listed, found): (&BundleItem, &(String, u64, Digest))| {
        (&listed.path, listed.bytes, listed.sha256) == (&found.0, found.1, found.2)
    };
    if contents.items.len() != found.len() || !contents.items.iter().zip(&found).all(same) {
        return Err(Error::Inconsistent(format!("the files are not those that '{CONTENTS}' lists")));
    }
    Ok(Opened { contents, journal })
}
