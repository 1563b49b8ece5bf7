//! `backup create`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lifeboat_model::{BackupState, Config};
use lifeboat_recovery::Progress;
use lifeboat_recovery::backup::{Outcome, Request, Source, create};
use serde::Serialize;

use super::forms::{GapForm, PartForm};
use crate::app::{App, block_on};
use crate::args::CreateArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, bytes, duration, printable};
use crate::{progress, sources};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    schema: &'static str,
    id: String,
    state: BackupState,
    parts: Vec<PartForm>,
    objects: u64,
    resources: usize,
    etcd_keys: Option<u64>,
    gaps: Vec<GapForm>,
    duration_seconds: f64,
    #[serde(skip)]
    stored_bytes: u64,
}

impl Created {
    fn new(outcome: &Outcome, took: Duration) -> Self {
        let Outcome { manifest, coverage } = outcome;
        Self {
            schema: "lifeboat.dev/backup-create/v1",
            id: manifest.id.to_string(),
            state: manifest.state,
            parts: manifest.parts.iter().map(PartForm::from).collect(),
            objects: coverage.objects(),
            resources: coverage.resources.len(),
            etcd_keys: coverage.etcd_keys,
            gaps: coverage.gaps.iter().map(GapForm::from).collect(),
            duration_seconds: took.as_secs_f64(),
            stored_bytes: manifest.stored_bytes(),
        }
    }
}

impl Report for Created {
    fn text(&self, view: &View) -> String {
        let state = match self.state {
            BackupState::Complete => view.style.good("Complete"),
            BackupState::Partial => view.style.bad("Partial"),
        };
        let took = Duration::try_from_secs_f64(self.duration_seconds).unwrap_or_default();
        let mut text =
            format!("backup {}: {state}, {} stored in {}\n\n", self.id, bytes(self.stored_bytes), duration(took));
        let mut table = Table::new(["PART", "SIZE", "STORED"]);
        for part in &self.parts {
            table.row([&part.name, &bytes(part.plain_bytes), &bytes(part.stored_bytes)]);
        }
        let _ = write!(text, "{table}\n{} objects of {} resources", self.objects, self.resources);
        if let Some(keys) = self.etcd_keys {
            let _ = write!(text, ", {keys} keys of etcd");
        }
        text.push('\n');
        for gap in &self.gaps {
            let _ =
                writeln!(text, "{} {}: {}", view.style.bad("gap:"), printable(&gap.resource), printable(&gap.reason));
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &CreateArgs) -> Result<ExitCode> {
    let config = app.config(&sources::overrides(&arguments.cluster))?;
    let request = request(&config, arguments)?;
    announce(&request);
    let progress = Progress::default();
    let begun = Instant::now();
    let outcome = block_on(async |cancel| {
        let context = sources::context(&config, cancel).await?;
        let work = create(&context, request, progress.clone());
        Ok(Box::pin(progress::watch(&app.bars, &progress, work)).await?)
    })?;
    let created = Created::new(&outcome, begun.elapsed());
    tracing::info!(id = created.id, state = %created.state, objects = created.objects, "backup finished");
    app.output.print(&created)?;
    Ok(match created.state {
        BackupState::Complete => ExitCode::Done,
        BackupState::Partial => ExitCode::Partial,
    })
}

fn request(config: &Config, arguments: &CreateArgs) -> Result<Request> {
    let without_etcd = arguments.no_etcd.then_some("left out by --no-etcd");
    let without_objects = arguments.no_resources.then_some("left out by --no-resources");
    sources::backup_request(config, without_etcd, without_objects)
}

fn announce(request: &Request) {
    match &request.etcd {
        Source::Use(options) => tracing::info!(endpoints = options.endpoints.join(","), "backing up etcd"),
        Source::Skip(reason) => tracing::info!(reason, "no etcd snapshot"),
    }
    match &request.kubernetes {
        Source::Use(_) => tracing::info!("backing up the objects of the API"),
        Source::Skip(reason) => tracing::info!(reason, "no objects"),
    }
}
