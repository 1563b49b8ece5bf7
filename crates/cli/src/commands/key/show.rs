//! `key show`.

use std::fmt::Write as _;

use lifeboat_archive::PublicKey;
use serde::Serialize;

use crate::app::App;
use crate::args::ShowKeysArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::keys;
use crate::output::{Report, View, printable};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema: &'static str,
    /// Who can open backups that are taken with this configuration.
    recipients: Vec<String>,
    /// What backups are signed with, where the configuration names a key.
    signing_key: Option<Public>,
    /// Whose signatures are believed.
    trusted_keys: Vec<Public>,
    /// The public parts of the identity, where one was given.
    identity: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Public {
    id: String,
    public_key: String,
}

impl From<&PublicKey> for Public {
    fn from(key: &PublicKey) -> Self {
        Self { id: key.key_id().to_string(), public_key: key.to_base64() }
    }
}

impl Shown {
    fn signing_line(&self, key: &Public) -> String {
        let is_trusted = self.trusted_keys.iter().any(|trusted| trusted.public_key == key.public_key);
        let note = if is_trusted { "" } else { "  not among the trusted keys" };
        format!("{}  {}{note}", key.id, key.public_key)
    }
}

impl Report for Shown {
    fn text(&self, _: &View) -> String {
        let mut text = String::new();
        let mut section = |title: &str, lines: &[String]| {
            let _ = writeln!(text, "{title}:");
            for line in lines {
                let _ = writeln!(text, "  {}", printable(line));
            }
        };
        section("recipients", &self.recipients);
        if let Some(key) = &self.signing_key {
            section("signing key", &[self.signing_line(key)]);
        }
        let trusted = self.trusted_keys.iter().map(|key| format!("{}  {}", key.id, key.public_key));
        section("trusted keys", &trusted.collect::<Vec<_>>());
        if let Some(identity) = &self.identity {
            let note = |recipient: &String| {
                let is_used = self.recipients.contains(recipient);
                format!("{recipient}{}", if is_used { "" } else { "  not among the recipients" })
            };
            let lines: Vec<String> = identity.iter().map(note).collect();
            section("identity", &lines);
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &ShowKeysArgs) -> Result<ExitCode> {
    let identity = keys::optional_identities(&arguments.identity)?.map(|identities| identities.recipients().to_vec());
    let config = match app.config(&[]) {
        Ok(config) => config,
        // Who only has the key at hand wants to know what it is.
        Err(Error::NoConfig(_)) if identity.is_some() => {
            return print(app, Vec::new(), None, Vec::new(), identity);
        }
        Err(error) => return Err(error),
    };
    let recipients = keys::recipients(&config.encryption)?.as_texts().to_vec();
    let signing_key = match &config.signing.secret_key_file {
        Some(path) => Some(keys::public_part(&keys::signing_key(&config.signing)?, path)?),
        None => None,
    };
    let trusted = keys::trusted_keys(&config.signing)?;
    let trusted = trusted.keys().iter().map(Public::from).collect();
    print(app, recipients, signing_key.as_ref().map(Public::from), trusted, identity)
}

fn print(
    app: &App,
    recipients: Vec<String>,
    signing_key: Option<Public>,
    trusted_keys: Vec<Public>,
    identity: Option<Vec<String>>,
) -> Result<ExitCode> {
    app.output.print(&Shown { schema: "lifeboat.dev/key-show/v1", recipients, signing_key, trusted_keys, identity })?;
    Ok(ExitCode::Done)
}
