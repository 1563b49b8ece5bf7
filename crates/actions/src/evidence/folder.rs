//! Where evidence is put: files that nobody else may read, never written twice.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lifeboat_model::Digest;
use lifeboat_playbook::{ActionError, Permit, RunId, StepContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// The most files of one name, one for each time that a step was repeated.
const MAX_VERSIONS: u32 = 10_000;
/// The longest name of a file that is made of foreign text.
const MAX_NAME: usize = 100;

/// A folder of evidence, with a folder for each run.
#[derive(Debug, Clone)]
pub struct EvidenceFolder {
    root: PathBuf,
}

/// A file of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Item {
    /// Its path in the folder of evidence.
    pub(crate) path: String,
    /// What it is: `log of container web, before its last restart`.
    pub(crate) what: String,
    /// SHA-256 of its bytes.
    pub(crate) sha256: String,
    /// Its size.
    pub(crate) bytes: u64,
}

impl EvidenceFolder {
    /// The folder at that path; it is made when the first evidence comes.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of a run that steps have put here as evidence or beside it, with their paths in the folder.
    pub(crate) async fn files(&self, run: &RunId) -> Result<Vec<(String, PathBuf)>, ActionError> {
        let (root, run) = (self.root.clone(), run.as_str().to_owned());
        let listed = spawn_blocking(move || {
            let mut files = Vec::new();
            for step in entries(&root.join(&run))? {
                for file in entries(&step)?.into_iter().filter(|file| !file.is_dir()) {
                    let path = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
                    files.push((path, file));
                }
            }
            Ok(files)
        });
        finished(listed.await, &self.root)
    }

    /// The folder of a run, for people.
    pub(crate) fn place(&self, run: &RunId) -> String {
        self.root.join(run.as_str()).display().to_string()
    }

    /// Keeps bytes. They are durable when this returns.
    pub(crate) async fn put(
        &self,
        _: &Permit,
        context: &StepContext,
        (name, what): (&str, String),
        bytes: Vec<u8>,
    ) -> Result<Item, ActionError> {
        let folder = PathBuf::from(context.run().as_str()).join(tame(context.step()));
        let (root, name) = (self.root.clone(), tame(name));
        let kept = spawn_blocking(move || {
            let path = write_new(&root, &folder, &name, &bytes)?;
            let sha256 = Digest::of(&bytes).to_string();
            Ok(Item { path: path.display().to_string(), what, sha256, bytes: bytes.len() as u64 })
        });
        finished(kept.await, &self.root)
    }

    /// The path of a file beside the evidence of a step, for what is written by others.
    pub(crate) fn file(&self, context: &StepContext, name: &str) -> Result<PathBuf, ActionError> {
        let folder = self.root.join(context.run().as_str()).join(tame(context.step()));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| ActionError::failed(format!("cannot make {}", folder.display())).because(error))?;
        Ok(folder.join(tame(name)))
    }

    /// Reads a file again, and holds it to its digest.
    pub(crate) async fn read(&self, item: &Item) -> Result<Vec<u8>, ActionError> {
        let (path, size) = (self.root.join(&item.path), item.bytes);
        let read = spawn_blocking(move || {
            let mut bytes = Vec::new();
            File::open(path)?.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
            let digest = Digest::of(&bytes).to_string();
            Ok((bytes, digest))
        });
        let (bytes, digest) = finished(read.await, &self.root)?;
        if digest == item.sha256 {
            return Ok(bytes);
        }
        Err(ActionError::failed(format!("the evidence {} is not as it was written", item.path)))
    }
}

fn finished<T>(result: Result<io::Result<T>, tokio::task::JoinError>, root: &Path) -> Result<T, ActionError> {
    let failed = || ActionError::failed(format!("evidence cannot be kept in {}", root.display()));
    match result {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed().because(error)),
        Err(error) => Err(failed().because(error)),
    }
}

/// What is in a folder, by name; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}

/// The path within `root` of the file that was made.
fn write_new(root: &Path, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let full = root.join(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(&full)?;
    for version in 1..=MAX_VERSIONS {
        let name = if version == 1 { name.to_owned() } else { format!("{name}.{version}") };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(full.join(&name));
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        File::open(&full)?.sync_all()?;
        return Ok(folder.join(name));
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Foreign text as the name of a file.
fn tame(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = text.chars().take(MAX_NAME).map(plain).collect();
    if name.chars().all(|c| c == '.') { "_".repeat(name.len().max(1)) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for (text, name) in [
            ("contain[3]/isolate", "contain_3__isolate"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("..", "__"),
            ("", "_"),
            ("a\u{1b}[2J\0", "a__2J_"),
        ] {
            assert_eq!(tame(text), name);
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| write_new(folder.path(), Path::new("run/step"), "log", bytes).unwrap();
        assert_eq!(write(b"one"), Path::new("run/step/log"));
        assert_eq!(write(b"two"), Path::new("run/step/log.2"));
        assert_eq!(std::fs::read(folder.path().join("run/step/log")).unwrap(), b"one");
    }
}
