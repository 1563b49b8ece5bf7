use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::{Error, Result};

/// The folders where programs such as `etcd` and `kube-apiserver` lie.
#[derive(Debug, Clone)]
pub struct Binaries {
    dirs: Vec<PathBuf>,
    chosen: BTreeMap<String, PathBuf>,
}

/// A version that a program told, such as 1.36.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl Binaries {
    /// Programs are looked for in these folders, in this order.
    pub fn new<D: Into<PathBuf>>(dirs: impl IntoIterator<Item = D>) -> Self {
        Self { dirs: dirs.into_iter().map(Into::into).collect(), chosen: BTreeMap::new() }
    }

    /// Takes this program for that name, whatever the folders have.
    #[must_use]
    pub fn choose(mut self, name: &str, program: impl Into<PathBuf>) -> Self {
        self.chosen.insert(name.to_owned(), program.into());
        self
    }

    /// The folders.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The program that was chosen for the name, or the first executable file of that name.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        self.chosen.get(name).cloned().or_else(|| self.all(name).next()).ok_or_else(|| Error::MissingBinary {
            name: name.to_owned(),
            looked_in: self.dirs.clone(),
            source_page: source_page(name),
        })
    }

    /// Every executable file of that name, in the order of the folders.
    pub fn all(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(move |dir| dir.join(name)).filter(|path| is_executable(path))
    }

    /// Asks the program of that name for its version.
    pub async fn version(&self, name: &str) -> Result<Version> {
        Version::of(&self.find(name)?).await
    }
}

impl Version {
    /// Asks a program for its version.
    pub async fn of(program: &Path) -> Result<Self> {
        const DEADLINE: Duration = Duration::from_secs(20);
        let name = program.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let failed = |reason: String| Error::Version { program: program.to_owned(), reason };
        let args: &[&str] = match name {
            "etcdctl" | "etcdutl" => &["version"],
            "kubectl" => &["version", "--client"],
            _ => &["--version"],
        };
        let output = Command::new(program).args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
        let output = timeout(DEADLINE, output)
            .await
            .map_err(|_| failed(format!("no answer within {DEADLINE:?}")))?
            .map_err(|e| failed(e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Version::find_in(&text).ok_or_else(|| failed(format!("it ended with {}", output.status)))
    }
    /// The first word that reads as a version, with or without a leading `v` and a suffix such as `+k3s1` or `-rc.0`.
    fn find_in(text: &str) -> Option<Self> {
        text.split_ascii_whitespace().find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let core = word.split(['-', '+', ',']).next()?;
            let mut numbers = core.split('.').map(|n| n.parse().ok());
            let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
            numbers.next().is_none().then_some(version)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn source_page(name: &str) -> &'static str {
    match name {
        "etcd" | "etcdctl" | "etcdutl" => "https://github.com/etcd-io/etcd/releases",
        "kwok" => "https://github.com/kubernetes-sigs/kwok/releases",
        _ => "https://kubernetes.io/releases/download/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_the_programs_print_them() {
        let cases = [
            ("etcd Version: 3.6.16\nGit SHA: abc\nGo Version: go1.26.1\n", "3.6.16"),
            ("etcdutl version: 3.6.16\nAPI version: 3.6\n", "3.6.16"),
            ("Kubernetes v1.36.3\n", "1.36.3"),
            ("Kubernetes v1.31.4+k3s1\n", "1.31.4"),
            ("Client Version: v1.36.3\nKustomize Version: v5.8.1\n", "1.36.3"),
            ("kwok version v0.8.0 go1.26 (linux/amd64)\n", "0.8.0"),
        ];
        for (text, want) in cases {
            assert_eq!(Version::find_in(text).map(|v| v.to_string()).as_deref(), Some(want), "{text}");
        }
        for text in ["", "usage: etcd", "1.2", "1.2.x", "1.2.3.4"] {
            assert_eq!(Version::find_in(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_every_place() {
        let error = Binaries::new(["/nonexistent/a", "/nonexistent/b"]).find("kube-apiserver").unwrap_err();
        let text = error.to_string();
        for part in ["'kube-apiserver'", "'/nonexistent/a'", "'/nonexistent/b'", "scripts/testbed", "kubernetes.io"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
