//! The keys that the configuration names, read from where they lie.

use std::path::Path;
use std::sync::Arc;

use lifeboat_archive::{ArchiveError, Identities, PluginPrompt, PublicKey, Recipients, SigningKey, TrustedKeys};
use lifeboat_model::{EncryptionConfig, SigningConfig};

use crate::args::IdentityArgs;
use crate::error::{Error, Result};
use crate::files;
use crate::prompt::TerminalPrompt;

/// Key files have a few lines, and files of recipients not many more.
const MAX_BYTES: u64 = 1 << 20;

/// To whom backups are sealed.
pub(crate) fn recipients(config: &EncryptionConfig) -> Result<Recipients> {
    let mut texts = config.recipients.clone();
    let mut what = "encryption.recipients".to_owned();
    if let Some(path) = &config.recipients_file {
        let lines = files::read_text(path, MAX_BYTES)?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        texts.extend(lines.map(str::to_owned));
        what = format!("{what} and '{}'", path.display());
    }
    Recipients::parse(&texts).map_err(|source| Error::Key { what, source })
}

/// What signs backups.
pub(crate) fn signing_key(config: &SigningConfig) -> Result<SigningKey> {
    let Some(path) = &config.secret_key_file else {
        return Err(Error::NotConfigured { setting: "signing.secretKeyFile", purpose: "every backup is signed" });
    };
    let text = files::read_text(path, MAX_BYTES)?;
    SigningKey::from_text(&text, None).map_err(key_error("the signing key", path))
}

/// Whose signatures are trusted.
pub(crate) fn trusted_keys(config: &SigningConfig) -> Result<TrustedKeys> {
    let keys = config.trusted_keys.iter().map(|text| {
        PublicKey::parse(text).map_err(|source| Error::Key { what: "signing.trustedKeys".to_owned(), source })
    });
    let keys: Vec<PublicKey> = keys.collect::<Result<_>>()?;
    if keys.is_empty() {
        return Err(Error::NotConfigured {
            setting: "signing.trustedKeys",
            purpose: "a backup is believed only if a trusted key signed it",
        });
    }
    Ok(TrustedKeys::new(keys))
}

/// What opens backups, where the command was given it.
pub(crate) fn optional_identities(arguments: &IdentityArgs) -> Result<Option<Identities>> {
    arguments.identity.as_deref().map(identities_in).transpose()
}

/// What opens backups.
pub(crate) fn identities(arguments: &IdentityArgs) -> Result<Identities> {
    optional_identities(arguments)?.ok_or(Error::NoIdentity)
}

/// What opens backups, in a file.
pub(crate) fn identities_in(path: &Path) -> Result<Identities> {
    let text = files::read_text(path, MAX_BYTES)?;
    let prompt: Arc<dyn PluginPrompt> = Arc::new(TerminalPrompt);
    Identities::parse_with(&text, &prompt).map_err(key_error("the identity file", path))
}

fn key_error(what: &'static str, path: &Path) -> impl FnOnce(ArchiveError) -> Error {
    let what = format!("{what} '{}'", path.display());
    move |source| Error::Key { what, source }
}

/// The public part of a signing key.
pub(crate) fn public_part(key: &SigningKey, path: &Path) -> Result<PublicKey> {
    key.public_key().map_err(key_error("the signing key", path))
}
