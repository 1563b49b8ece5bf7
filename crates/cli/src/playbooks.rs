//! What playbooks are made of at the desk: the actions, the folder of playbooks, the folder of journals.

use std::path::{Path, PathBuf};

use lifeboat_daemon::ClusterJournals;
use lifeboat_playbook::{
    DirectoryJournals, Journals, LoadErrors, MAX_PLAYBOOK_BYTES, Playbook, Registry, RunId, Verified, load, verify,
};

use crate::app::App;
use crate::args::{LibraryArgs, PlaceArgs, StateArgs};
use crate::cluster_runs::ClusterRuns;
use crate::error::{Error, Result};
use crate::files;

/// The actions that this program has, to read playbooks with: none of them has a cluster.
pub(crate) fn registry() -> Result<Registry> {
    crate::desk::manual()
}

/// A folder of playbooks, files `NAME.yaml`.
pub(crate) struct Folder<'a>(pub(crate) &'a Path);

impl lifeboat_playbook::Library for Folder<'_> {
    fn text(&self, name: &str) -> Option<String> {
        // A name is what a file names; nothing that leads out of the folder.
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
        let path = self.0.join(format!("{name}.yaml"));
        (is_name && !name.starts_with('.')).then(|| read(&path).ok()).flatten()
    }

    fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        names
    }
}

fn read(path: &Path) -> Result<String> {
    files::read_text(path, MAX_PLAYBOOK_BYTES as u64)
}

/// Reads and checks a file.
pub(crate) fn check(
    path: &Path,
    registry: &Registry,
    library: &LibraryArgs,
) -> Result<std::result::Result<Playbook, LoadErrors>> {
    let text = read(path)?;
    Ok(load(&path.display().to_string(), &text, registry, &Folder(&library.library)))
}

/// A playbook by its file or its name.
pub(crate) fn named(name: &str, registry: &Registry, library: &LibraryArgs) -> Result<Playbook> {
    let file = PathBuf::from(name);
    let is_file = name.contains('/') || file.extension().is_some_and(|extension| extension == "yaml");
    let path = if is_file { file } else { library.library.join(format!("{name}.yaml")) };
    check(&path, registry, library)?.map_err(Error::Playbook)
}

/// The folder of journals.
pub(crate) fn journals(app: &App, state: &StateArgs) -> Result<DirectoryJournals> {
    let default = || app.environment.state_home().map(|home| home.join("lifeboat").join("runs"));
    let folder = state.state_dir.clone().or_else(default);
    let folder = folder.ok_or_else(|| Error::Usage("no folder for runs: neither HOME nor --state-dir".to_owned()))?;
    Ok(DirectoryJournals::new(folder))
}

/// Journals, and the objects of their runs where they are in a cluster.
pub(crate) struct Place {
    pub(crate) journals: Box<dyn Journals>,
    cluster: Option<ClusterRuns>,
}

/// The journals of this desk, or of a namespace of a cluster.
pub(crate) async fn place(app: &App, state: &StateArgs, place: &PlaceArgs) -> Result<Place> {
    let Some(namespace) = &place.namespace else {
        return Ok(Place { journals: Box::new(journals(app, state)?), cluster: None });
    };
    let runs = ClusterRuns::open(app, &place.cluster, namespace).await?;
    let journals = ClusterJournals::reader(runs.cluster.clone(), namespace.clone());
    Ok(Place { journals: Box::new(journals), cluster: Some(runs) })
}

impl Place {
    /// A run by its id, a beginning of one, `latest`, or the name of its object.
    pub(crate) async fn find(&self, wanted: &str) -> Result<RunId> {
        if let Some(runs) = &self.cluster
            && let Some(run) = runs.get(wanted).await?
        {
            let id = run.status.and_then(|status| status.run).and_then(|id| id.parse().ok());
            return id.ok_or_else(|| Error::NoRun(wanted.to_owned()));
        }
        find(self.journals.as_ref(), wanted).await
    }
}

/// A run by its id, a beginning of one, or `latest`.
pub(crate) async fn find(journals: &dyn Journals, wanted: &str) -> Result<RunId> {
    let runs = journals.list().await?;
    let mut found: Vec<RunId> = match wanted {
        "latest" => runs.into_iter().next_back().into_iter().collect(),
        _ => runs.into_iter().filter(|run| run.as_str().starts_with(wanted)).collect(),
    };
    match (found.pop(), found.len()) {
        (Some(run), 0) => Ok(run),
        (Some(_), more) => Err(Error::Usage(format!("'{wanted}' begins the ids of {} runs", more + 1))),
        (None, _) => Err(Error::NoRun(wanted.to_owned())),
    }
}

/// A run's journal, with every line held to the one before; and whether somebody is writing it.
pub(crate) async fn read_run(journals: &dyn Journals, run: &RunId) -> Result<(Verified, bool)> {
    let stored = journals.read(run).await?;
    Ok((verify(&stored.bytes)?, stored.held))
}
