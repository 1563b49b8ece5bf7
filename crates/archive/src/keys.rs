//! age recipients (who can open a part) and identities (the secret that opens it).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, EncryptError, NoCallbacks, plugin, tag, tagpq, x25519};

use crate::error::{ArchiveError, Damage, excerpt};
use crate::prompt::{Callbacks, NoPrompt, PluginPrompt};

/// Identity files are a few hundred bytes; a megabyte of them is a mistake.
const MAX_IDENTITY_FILE: usize = 1024 * 1024;

type AnyRecipient = Box<dyn age::Recipient + Send + Sync>;
type AnyIdentity = Box<dyn age::Identity + Send + Sync>;

/// Public keys that parts are sealed to. Each of their owners alone can open what is sealed.
pub struct Recipients {
    texts: Vec<String>,
    keys: Vec<AnyRecipient>,
}

impl Recipients {
    /// Reads recipients as `age -r` takes them: `age1...`, and `age1<name>1...`, for which the program
    /// `age-plugin-<name>` must be installed. SSH keys are not taken.
    pub fn parse<I>(texts: I) -> Result<Self, ArchiveError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut recipients = Self { texts: Vec::new(), keys: Vec::new() };
        let mut plugins: BTreeMap<String, Vec<plugin::Recipient>> = BTreeMap::new();
        for (index, text) in texts.into_iter().enumerate() {
            let text = text.as_ref().trim();
            match parse_recipient(text, index + 1)? {
                ParsedRecipient::Native(key) => recipients.keys.push(key),
                ParsedRecipient::Plugin(key) => plugins.entry(key.plugin().to_owned()).or_default().push(key),
            }
            recipients.texts.push(text.to_owned());
        }
        for (name, keys) in plugins {
            let plugin = plugin::RecipientPluginV1::new(&name, &keys, &[], NoCallbacks)
                .map_err(|error| missing_plugin(&name, error))?;
            recipients.keys.push(Box::new(plugin));
        }
        if recipients.keys.is_empty() {
            return Err(ArchiveError::NoRecipients);
        }
        Ok(recipients)
    }

    /// The recipients as they were given, in their order.
    pub fn as_texts(&self) -> &[String] {
        &self.texts
    }

    pub(crate) fn encryptor(&self) -> Result<age::Encryptor, ArchiveError> {
        age::Encryptor::with_recipients(self.keys.iter().map(|key| &**key as &dyn age::Recipient)).map_err(|error| {
            match error {
                EncryptError::Io(error) => ArchiveError::Io(error),
                other => ArchiveError::Seal(Box::new(other)),
            }
        })
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.texts).finish()
    }
}

enum ParsedRecipient {
    Native(AnyRecipient),
    Plugin(plugin::Recipient),
}

fn parse_recipient(text: &str, position: usize) -> Result<ParsedRecipient, ArchiveError> {
    let upper: String = text.chars().take(16).collect::<String>().to_ascii_uppercase();
    if upper.starts_with("AGE-SECRET-KEY-") || upper.starts_with("AGE-PLUGIN-") {
        return Err(ArchiveError::RecipientIsSecret { position });
    }
    let bad = |reason| ArchiveError::Recipient { position, recipient: excerpt(text), reason };
    if text.starts_with("ssh-") {
        return Err(bad("SSH keys are not supported"));
    }
    // A plugin's name may be anything, so the kinds that age knows itself come first, as in age's own tools.
    if let Ok(key) = x25519::Recipient::from_str(text) {
        return Ok(ParsedRecipient::Native(Box::new(key)));
    }
    if let Ok(key) = tag::Recipient::from_str(text) {
        return Ok(ParsedRecipient::Native(Box::new(key)));
    }
    if let Ok(key) = tagpq::Recipient::from_str(text) {
        return Ok(ParsedRecipient::Native(Box::new(key)));
    }
    plugin::Recipient::from_str(text).map(ParsedRecipient::Plugin).map_err(bad)
}

fn missing_plugin(name: &str, error: plugin::ResolveError) -> ArchiveError {
    ArchiveError::Plugin { name: name.to_owned(), source: Box::new(error) }
}

/// Secret keys that open parts.
pub struct Identities {
    keys: Vec<AnyIdentity>,
    recipients: Vec<String>,
}

impl Identities {
    /// Reads the text of an identity file as `age-keygen` and age plugins write it: comments, empty lines,
    /// `AGE-SECRET-KEY-1...`, `AGE-PLUGIN-...`. A plugin that asks something gets no answer.
    pub fn parse(text: &str) -> Result<Self, ArchiveError> {
        Self::parse_with(text, &(Arc::new(NoPrompt) as Arc<dyn PluginPrompt>))
    }

    /// As [`Identities::parse`], with somebody to answer what plugins ask.
    pub fn parse_with(text: &str, prompt: &Arc<dyn PluginPrompt>) -> Result<Self, ArchiveError> {
        if text.len() > MAX_IDENTITY_FILE {
            return Err(ArchiveError::KeyTooLarge { what: "identity file", limit: MAX_IDENTITY_FILE });
        }
        let mut identities = Self { keys: Vec::new(), recipients: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Ok(identity) = x25519::Identity::from_str(line) {
                identities.recipients.push(identity.to_public().to_string());
                identities.keys.push(Box::new(identity));
            } else if let Ok(identity) = plugin::Identity::from_str(line) {
                let name = identity.plugin().to_owned();
                let plugin = plugin::IdentityPluginV1::new(&name, &[identity], Callbacks(Arc::clone(prompt)))
                    .map_err(|error| missing_plugin(&name, error))?;
                identities.keys.push(Box::new(plugin));
            } else {
                return Err(ArchiveError::Identity { line: index + 1 });
            }
        }
        if identities.keys.is_empty() {
            return Err(ArchiveError::NoIdentities);
        }
        Ok(identities)
    }

    /// The public keys of the X25519 identities. Only a plugin itself can tell those of its identities.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| &**key as &dyn age::Identity)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("keys", &self.keys.len()).field("recipients", &self.recipients).finish()
    }
}

/// Why age finds no key in a header. The part itself is not read while it looks: an I/O error is a plugin's.
pub(crate) fn unwrap_error(error: DecryptError) -> ArchiveError {
    match error {
        DecryptError::NoMatchingKeys => ArchiveError::WrongIdentity,
        DecryptError::InvalidHeader | DecryptError::InvalidMac | DecryptError::DecryptionFailed => {
            Damage::Header { reason: error.to_string() }.into()
        }
        other => ArchiveError::IdentityFailed(Box::new(other)),
    }
}

/// A fresh recovery key: what opens the backups, to be kept away from the cluster.
pub struct RecoveryKey {
    identity_file: SecretString,
    recipient: String,
}

impl RecoveryKey {
    /// Makes a key. `created` goes into the file's first comment, as `age-keygen` writes it (RFC 3339).
    pub fn generate(created: &str) -> Self {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let created: String = created.chars().filter(|c| !c.is_control()).collect();
        let secret = identity.to_string();
        let file = format!("# created: {created}\n# public key: {recipient}\n{}\n", secret.expose_secret());
        Self { identity_file: SecretString::from(file), recipient }
    }

    /// The text of the identity file: secret.
    pub fn identity_file(&self) -> &str {
        self.identity_file.expose_secret()
    }

    /// The public key to seal to.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKey").field("recipient", &self.recipient).finish_non_exhaustive()
    }
}
