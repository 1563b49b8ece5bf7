//! `backup show`.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_model::{
    BackupState, Coverage, EtcdRecord, Hold, Manifest, Previous, Reason, RequiredForRestore, ResourceCoverage,
    ResourcesRecord,
};
use lifeboat_recovery::{OpenBackup, retention};
use serde::Serialize;

use super::forms::{GapForm, HoldForm, PartForm};
use crate::app::{App, block_on, unless_cancelled};
use crate::args::ShowArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, bytes, moment, printable};
use crate::{keys, sources};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    schema: &'static str,
    id: String,
    state: BackupState,
    cluster: String,
    cluster_id: String,
    sequence: u64,
    previous: Option<Previous>,
    started_at: Timestamp,
    finished_at: Timestamp,
    reason: Reason,
    tool: String,
    kubernetes_version: Option<String>,
    etcd: EtcdRecord,
    resources: ResourcesRecord,
    parts: Vec<PartForm>,
    recipients: Vec<String>,
    required_for_restore: RequiredForRestore,
    /// Since when and why it is held, if it is.
    held: Option<HoldForm>,
    /// What it covers: sealed, and therefore only where an identity was given.
    coverage: Option<CoverageForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CoverageForm {
    objects: u64,
    resources: Vec<ResourceForm>,
    gaps: Vec<GapForm>,
    excluded: Vec<String>,
    etcd_keys: Option<u64>,
    encryption_at_rest: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceForm {
    resource: String,
    version: String,
    kind: String,
    expected: Option<u64>,
    captured: u64,
    resource_version: String,
}

impl From<&ResourceCoverage> for ResourceForm {
    fn from(coverage: &ResourceCoverage) -> Self {
        Self {
            resource: coverage.resource.group_resource().to_string(),
            version: coverage.resource.version.clone(),
            kind: coverage.resource.kind.clone(),
            expected: coverage.expected,
            captured: coverage.captured,
            resource_version: coverage.resource_version.clone(),
        }
    }
}

impl From<&Coverage> for CoverageForm {
    fn from(coverage: &Coverage) -> Self {
        Self {
            objects: coverage.objects(),
            resources: coverage.resources.iter().map(ResourceForm::from).collect(),
            gaps: coverage.gaps.iter().map(GapForm::from).collect(),
            excluded: coverage.excluded.iter().map(ToString::to_string).collect(),
            etcd_keys: coverage.etcd_keys,
            encryption_at_rest: coverage.encryption_at_rest.clone(),
        }
    }
}

impl Shown {
    fn new(manifest: &Manifest, hold: Option<&Hold>, coverage: Option<&Coverage>) -> Self {
        Self {
            schema: "lifeboat.dev/backup-show/v1",
            id: manifest.id.to_string(),
            state: manifest.state,
            cluster: manifest.cluster.to_string(),
            cluster_id: manifest.cluster_id.clone(),
            sequence: manifest.sequence,
            previous: manifest.previous.clone(),
            started_at: manifest.started,
            finished_at: manifest.finished,
            reason: manifest.reason.clone(),
            tool: manifest.tool.clone(),
            kubernetes_version: manifest.kubernetes_version.clone(),
            etcd: manifest.etcd.clone(),
            resources: manifest.resources.clone(),
            parts: manifest.parts.iter().map(PartForm::from).collect(),
            recipients: manifest.recipients.clone(),
            required_for_restore: manifest.required_for_restore.clone(),
            held: hold.map(HoldForm::from),
            coverage: coverage.map(CoverageForm::from),
        }
    }

    /// The facts of the manifest, each with its name.
    fn facts(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let previous = self.previous.as_ref().map_or("none".to_owned(), |previous| previous.id.to_string());
        let etcd = match &self.etcd {
            EtcdRecord::Captured { version, revision, alarms, .. } if alarms.is_empty() => {
                format!("version {version}, revision {revision}")
            }
            EtcdRecord::Captured { version, revision, alarms, .. } => {
                format!("version {version}, revision {revision}, alarms {}", alarms.join(", "))
            }
            EtcdRecord::Absent { reason } => format!("none: {reason}"),
        };
        let objects = match &self.resources {
            ResourcesRecord::Captured { from_resource_version, to_resource_version } => {
                format!("resource versions {from_resource_version} to {to_resource_version}")
            }
            ResourcesRecord::Absent { reason } => format!("none: {reason}"),
        };
        let reason = match &self.reason {
            Reason::Manual => "by hand".to_owned(),
            Reason::Schedule(name) => format!("schedule {name}"),
        };
        let mut facts = vec![
            ("backup", self.id.clone()),
            ("state", self.state.to_string()),
            ("cluster", format!("{}, id {}", self.cluster, self.cluster_id)),
            ("number", format!("{}, before it {previous}", self.sequence)),
            ("started", moment(now, self.started_at)),
            ("finished", moment(now, self.finished_at)),
            ("taken", format!("{reason}, with {}", self.tool)),
            ("kubernetes", self.kubernetes_version.clone().unwrap_or_else(|| "not known".to_owned())),
            ("etcd", etcd),
            ("objects", objects),
        ];
        facts.extend(self.recipients.iter().map(|recipient| ("opened by", recipient.clone())));
        if let Some(hold) = &self.held {
            let reason = hold.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            facts.push(("held", format!("since {}{reason}", moment(now, hold.since))));
        }
        if self.required_for_restore.pki {
            facts.push(("needed besides", "the cluster's certificate authorities and keys".to_owned()));
        }
        if self.required_for_restore.encryption_configuration {
            facts.push(("needed besides", "the API server's EncryptionConfiguration".to_owned()));
        }
        facts
    }
}

impl Report for Shown {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for (name, value) in self.facts(view.now) {
            let _ = writeln!(text, "{name:<16}{}", printable(&value));
        }
        let mut parts = Table::new(["PART", "SIZE", "STORED"]);
        for part in &self.parts {
            parts.row([&part.name, &bytes(part.plain_bytes), &bytes(part.stored_bytes)]);
        }
        let _ = write!(text, "\n{parts}");
        match &self.coverage {
            Some(coverage) => text.push_str(&coverage.text(view)),
            None => text.push_str("\nWhat it covers is sealed: give --identity to see it.\n"),
        }
        text
    }
}

impl CoverageForm {
    fn text(&self, view: &View) -> String {
        let mut table = Table::new(["TYPE", "VERSION", "EXPECTED", "CAPTURED"]);
        for resource in &self.resources {
            let expected = resource.expected.map(|count| count.to_string()).unwrap_or_default();
            table.row([&resource.resource, &resource.version, &expected, &resource.captured.to_string()]);
        }
        let mut text = format!("\n{table}\n{} objects", self.objects);
        if let Some(keys) = self.etcd_keys {
            let _ = write!(text, ", {keys} keys of etcd");
        }
        let _ = writeln!(text, "; left out by configuration: {}", printable(&self.excluded.join(", ")));
        for prefix in &self.encryption_at_rest {
            let _ = writeln!(text, "encrypted at rest in etcd: {}", printable(prefix));
        }
        for gap in &self.gaps {
            let _ =
                writeln!(text, "{} {}: {}", view.style.bad("gap:"), printable(&gap.resource), printable(&gap.reason));
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &ShowArgs) -> Result<ExitCode> {
    let identities = keys::optional_identities(&arguments.identity)?;
    let shown = block_on(async |cancel| {
        let shown = async {
            let backup = sources::backup(app, &arguments.backup, cancel.clone()).await?;
            let hold = retention::hold_of(&backup).await?;
            let hold = hold.as_ref();
            let Some(identities) = identities else { return Ok(Shown::new(backup.manifest(), hold, None)) };
            let open = OpenBackup::open(backup, Arc::new(identities)).await?;
            Ok(Shown::new(open.backup().manifest(), hold, Some(open.coverage())))
        };
        unless_cancelled(&cancel, shown).await
    })?;
    app.output.print(&shown)?;
    Ok(ExitCode::Done)
}
