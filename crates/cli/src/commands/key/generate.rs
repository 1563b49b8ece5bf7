//! `key generate`.

use std::path::{Path, PathBuf};

use lifeboat_archive::RecoveryKey;
use serde::Serialize;

use crate::app::App;
use crate::args::{GenerateArgs, KeyKind};
use crate::commands::init::signing_pair;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::files::{self, NewFile, PRIVATE, PUBLIC};
use crate::output::{Report, View, printable};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generated {
    schema: &'static str,
    kind: &'static str,
    /// Where the secret part is.
    file: PathBuf,
    /// The public part: an age recipient, or a minisign public key.
    public_key: String,
    #[serde(skip)]
    advice: &'static str,
}

impl Report for Generated {
    fn text(&self, _: &View) -> String {
        let file = self.file.display().to_string();
        format!("wrote {}\npublic key: {}\n{}\n", printable(&file), self.public_key, self.advice)
    }
}

pub(crate) fn run(app: &App, arguments: &GenerateArgs) -> Result<ExitCode> {
    match arguments.kind {
        KeyKind::Recovery => recovery(app, arguments),
        KeyKind::Signing => signing(app, arguments),
    }
}

fn recovery(app: &App, arguments: &GenerateArgs) -> Result<ExitCode> {
    let key = RecoveryKey::generate(&app.output.view().now.to_string());
    let file = arguments.out.clone().unwrap_or_else(|| "recovery.key".into());
    if is_stdout(&file) {
        tracing::info!(public_key = key.recipient(), "made a recovery key");
        app.output.write(key.identity_file())?;
        return Ok(ExitCode::Done);
    }
    files::write_new(&[NewFile { path: &file, text: key.identity_file(), mode: PRIVATE }])?;
    app.output.print(&Generated {
        schema: "lifeboat.dev/key-generate/v1",
        kind: "recovery",
        file,
        public_key: key.recipient().to_owned(),
        advice: "Add the public key to encryption.recipients, and move the file off this machine.",
    })?;
    Ok(ExitCode::Done)
}

fn signing(app: &App, arguments: &GenerateArgs) -> Result<ExitCode> {
    let (secret, public) = signing_pair()?;
    let public_key = public.lines().nth(1).unwrap_or_default().to_owned();
    let file = arguments.out.clone().unwrap_or_else(|| "signing.key".into());
    if is_stdout(&file) {
        tracing::info!(public_key, "made a signing key");
        app.output.write(&secret)?;
        return Ok(ExitCode::Done);
    }
    let public_file = file.with_extension("pub");
    files::write_new(&[
        NewFile { path: &file, text: &secret, mode: PRIVATE },
        NewFile { path: &public_file, text: &public, mode: PUBLIC },
    ])?;
    app.output.print(&Generated {
        schema: "lifeboat.dev/key-generate/v1",
        kind: "signing",
        file,
        public_key,
        advice: "Add the public key to signing.trustedKeys, and keep the old ones there: they vouch for older backups.",
    })?;
    Ok(ExitCode::Done)
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}
