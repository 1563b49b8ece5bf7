//! `backup list`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use lifeboat_model::{BackupId, BackupState, EtcdRecord, Hold, ResourcesRecord};
use lifeboat_recovery::{Entry, Listing, chain, retention};
use serde::Serialize;

use super::forms::HoldForm;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::ListArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, bytes, moment, printable};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    cluster: String,
    backups: Vec<BackupForm>,
    /// What has a manifest that cannot be believed.
    problems: Vec<ProblemForm>,
    /// What has no manifest; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupForm {
    id: String,
    state: BackupState,
    started_at: Timestamp,
    sequence: u64,
    stored_bytes: u64,
    /// Whether a drill has proved that it restores.
    verified: bool,
    /// Since when and why it is held, if it is.
    held: Option<HoldForm>,
    #[serde(skip)]
    contents: &'static str,
}

#[derive(Debug, Serialize)]
struct ProblemForm {
    id: String,
    message: String,
}

impl BackupForm {
    fn new(Entry { manifest, verified, .. }: &Entry, hold: Option<&Hold>) -> Self {
        let has_etcd = matches!(manifest.etcd, EtcdRecord::Captured { .. });
        let has_objects = matches!(manifest.resources, ResourcesRecord::Captured { .. });
        Self {
            id: manifest.id.to_string(),
            state: manifest.state,
            started_at: manifest.started,
            sequence: manifest.sequence,
            stored_bytes: manifest.stored_bytes(),
            verified: *verified,
            held: hold.map(HoldForm::from),
            contents: match (has_etcd, has_objects) {
                (true, true) => "etcd, objects",
                (true, false) => "etcd",
                (false, _) => "objects",
            },
        }
    }
}

impl Report for Listed {
    fn text(&self, view: &View) -> String {
        if self.backups.is_empty() && self.problems.is_empty() && self.incomplete.as_ref().is_none_or(Vec::is_empty) {
            return format!("no backups of cluster '{}'\n", self.cluster);
        }
        let mut table = Table::new(["BACKUP", "STATE", "STARTED", "NUMBER", "CONTENTS", "STORED", "VERIFIED", "HELD"]);
        for backup in &self.backups {
            let started = moment(view.now, backup.started_at);
            let verified = if backup.verified { "yes" } else { "" };
            let held = if backup.held.is_some() { "yes" } else { "" };
            let (state, number) = (backup.state.to_string(), backup.sequence.to_string());
            let stored = bytes(backup.stored_bytes);
            table.row([&backup.id, &state, &started, &number, backup.contents, &stored, verified, held]);
        }
        for problem in &self.problems {
            table.row([&problem.id, "Untrusted", "", "", "", "", "", ""]);
        }
        for id in self.incomplete.iter().flatten() {
            table.row([id, "Incomplete", "", "", "", "", "", ""]);
        }
        let mut text = table.to_string();
        for ProblemForm { id, message } in &self.problems {
            let _ = writeln!(text, "{} {id}: {}", view.style.bad("untrusted:"), printable(message));
        }
        text
    }
}

impl Listed {
    fn new(cluster: String, listing: &Listing, holds: &BTreeMap<BackupId, Hold>, with_incomplete: bool) -> Self {
        let problem = |problem: &lifeboat_recovery::Problem| ProblemForm {
            id: problem.id.to_string(),
            message: chain(&problem.error),
        };
        Self {
            schema: "lifeboat.dev/backup-list/v1",
            cluster,
            backups: listing.backups.iter().map(|e| BackupForm::new(e, holds.get(&e.manifest.id))).collect(),
            problems: listing.problems.iter().map(problem).collect(),
            incomplete: with_incomplete.then(|| listing.incomplete.iter().map(ToString::to_string).collect()),
        }
    }
}

pub(crate) fn run(app: &App, arguments: &ListArgs) -> Result<ExitCode> {
    let (cluster, listing, holds) = block_on(async |cancel| {
        let listed = async {
            let catalog = sources::catalog(app, cancel.clone()).await?;
            let listing = catalog.list().await?;
            let holds = retention::holds(catalog.context()).await?;
            Ok((catalog.context().cluster.to_string(), listing, holds))
        };
        unless_cancelled(&cancel, listed).await
    })?;
    app.output.print(&Listed::new(cluster, &listing, &holds, arguments.incomplete))?;
    Ok(if listing.problems.is_empty() { ExitCode::Done } else { ExitCode::Integrity })
}
