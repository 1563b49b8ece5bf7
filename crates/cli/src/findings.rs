//! Imported findings: a folder for each tool and subject in the state directory, a file for each import.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lifeboat_model::{Digest, parse_json};
use lifeboat_playbook::{EventSource, Findings, MAX_REPORT_BYTES};

use crate::app::App;
use crate::args::{StateArgs, WhichArgs};
use crate::error::{Error, Result};
use crate::files::{self, PRIVATE};

/// So many imports of a subject are kept.
const KEPT: usize = 20;

/// Where imports are kept.
pub(crate) struct Imports(PathBuf);

impl Imports {
    pub(crate) fn open(app: &App, state: &StateArgs) -> Result<Self> {
        let default = || app.environment.state_home().map(|home| home.join("lifeboat"));
        let folder = state.state_dir.clone().or_else(default);
        let folder =
            folder.ok_or_else(|| Error::Usage("no folder for findings: neither HOME nor --state-dir".to_owned()))?;
        Ok(Self(folder.join("findings")))
    }

    /// The imports of a subject, newest first.
    pub(crate) fn of(&self, tool: EventSource, subject: &str) -> Result<Vec<PathBuf>> {
        names(&self.folder(tool, subject))
    }

    /// The last import of each subject there is.
    pub(crate) fn latest(&self) -> Result<Vec<Findings>> {
        let mut found = Vec::new();
        for folder in names(&self.0)? {
            if let Some(file) = names(&folder)?.first() {
                found.push(read(file)?);
            }
        }
        found.sort_by(|a, b| (name(a.tool), &a.subject).cmp(&(name(b.tool), &b.subject)));
        Ok(found)
    }

    /// Keeps an import, and of those of the subject as many as are kept.
    pub(crate) fn keep(&self, findings: &Findings) -> Result<()> {
        let folder = self.folder(findings.tool, &findings.subject);
        files::make_private_folder(&folder)?;
        // Names sort as times do.
        let file = folder.join(format!("{}.json", findings.read.strftime("%Y%m%dT%H%M%S.%9fZ")));
        let text =
            serde_json::to_string(findings).map_err(|source| Error::Form { format: "JSON", source: source.into() })?;
        files::replace(&file, &text, PRIVATE)?;
        for old in names(&folder)?.into_iter().skip(KEPT) {
            std::fs::remove_file(&old).map_err(Error::io("remove", &old))?;
        }
        Ok(())
    }

    /// A subject may be any text, and is no name of a folder.
    fn folder(&self, tool: EventSource, subject: &str) -> PathBuf {
        self.0.join(format!("{}-{}", name(tool), Digest::of(subject.as_bytes())))
    }
}

/// The name of a tool.
pub(crate) fn name(tool: EventSource) -> &'static str {
    match tool {
        EventSource::KubeBench => "kube-bench",
        EventSource::Trivy => "trivy",
        EventSource::Clair => "clair",
        _ => "other",
    }
}

/// What is in a folder, the last name first; nothing where there is no folder.
fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        // What a write that was broken off has left is none.
        if path.extension().is_none_or(|extension| extension == "json") {
            names.push(path);
        }
    }
    names.sort_unstable();
    names.reverse();
    Ok(names)
}

/// Reads an import.
pub(crate) fn read(path: &Path) -> Result<Findings> {
    let bytes = files::read(path, MAX_REPORT_BYTES as u64)?;
    parse_json(&bytes, MAX_REPORT_BYTES).map_err(|error| Error::Faults {
        origin: path.display().to_string(),
        faults: vec![lifeboat_recovery::chain(&error)],
    })
}

impl WhichArgs {
    /// Whether a report is one of those that are meant.
    pub(crate) fn means(&self, report: &Findings) -> bool {
        self.tool.is_none_or(|tool| EventSource::from(tool) == report.tool)
            && self.subject.as_ref().is_none_or(|subject| *subject == report.subject)
    }
}

/// Reads a report; - is standard input.
pub(crate) fn report(path: &Path, which: &WhichArgs, now: Timestamp) -> Result<Findings> {
    let limit = MAX_REPORT_BYTES as u64;
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        bytes
    } else {
        files::read(path, limit)?
    };
    let mut findings = Findings::read(&bytes, which.tool.map(Into::into), now)?;
    if let Some(subject) = &which.subject {
        findings.subject.clone_from(subject);
    }
    if findings.subject.is_empty() {
        return Err(Error::Usage("the report does not say what was scanned: say it with --subject".to_owned()));
    }
    Ok(findings)
}
