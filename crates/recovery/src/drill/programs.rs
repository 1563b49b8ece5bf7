//! The programs of a drill, by version: the same minor version as the backup's, or the next later one that is there.

use std::fmt;
use std::path::PathBuf;

use lifeboat_controlplane::{Binaries, Version};
use lifeboat_model::{EtcdRecord, Manifest, Tier};

use super::Request;
use crate::error::{Error, Result};

/// What was chosen.
#[derive(Debug)]
pub(super) struct Programs {
    binaries: Binaries,
    /// The one that rebuilds the data directory.
    pub(super) etcdutl: PathBuf,
    pub(super) etcd: Option<Version>,
    pub(super) kubernetes: Option<Version>,
    warnings: Vec<String>,
}

/// Major and minor version.
type Minor = (u32, u32);

/// A program and what it says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    program: PathBuf,
    version: Version,
}

impl Candidate {
    fn minor(&self) -> Minor {
        (self.version.major, self.version.minor)
    }
}

impl Programs {
    /// Chooses what the tier needs.
    ///
    /// # Errors
    /// When a program is not there, or only in older versions: it is named.
    pub(super) async fn choose(request: &Request, manifest: &Manifest) -> Result<Self> {
        let mut chosen = Self {
            binaries: Binaries::new(request.programs.iter().cloned()),
            etcdutl: PathBuf::new(),
            etcd: None,
            kubernetes: None,
            warnings: Vec::new(),
        };
        if request.restores_etcd()
            && let EtcdRecord::Captured { version, .. } = &manifest.etcd
        {
            let etcdutl = chosen.take("etcdutl", minor(version)).await?;
            if request.tier != Tier::Workloads {
                // A data directory is for the version that made it.
                let etcd = chosen.take("etcd", Some(etcdutl.minor())).await?;
                chosen.etcd = Some(etcd.version);
            }
            chosen.etcdutl = etcdutl.program;
        }
        if request.tier == Tier::Objects {
            let wanted = manifest.kubernetes_version.as_deref().and_then(minor);
            let server = chosen.take("kube-apiserver", wanted).await?;
            chosen.kubernetes = Some(server.version);
        }
        Ok(chosen)
    }

    pub(super) fn binaries(&self) -> Binaries {
        self.binaries.clone()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    async fn take(&mut self, name: &'static str, wanted: Option<Minor>) -> Result<Candidate> {
        let mut found = Vec::new();
        for program in self.binaries.all(name) {
            match Version::of(&program).await {
                Ok(version) => found.push(Candidate { program, version }),
                Err(error) => tracing::debug!(program = %program.display(), %error, "passed over"),
            }
        }
        let Some(best) = best(&found, wanted) else {
            let others: Vec<String> = found.iter().map(|other| other.version.to_string()).collect();
            return Err(Error::Program {
                name,
                wanted: wanted.map_or_else(String::new, |minor| Wanted(minor).to_string()),
                looked_in: self.binaries.dirs().to_vec(),
                others: if others.is_empty() { String::new() } else { format!(": there is {}", others.join(", ")) },
            });
        };
        let best = best.clone();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != best.minor()) {
            self.warnings.push(format!(
                "{name} {} stands in for {}: differences may come from the version",
                best.version,
                Wanted(wanted)
            ));
        }
        self.binaries = self.binaries().choose(name, &best.program);
        Ok(best)
    }
}

struct Wanted(Minor);

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.0, self.0.1)
    }
}

/// The first of the same minor version; otherwise of the next later one. Without a wish, the first.
fn best(found: &[Candidate], wanted: Option<Minor>) -> Option<&Candidate> {
    let Some(wanted) = wanted else { return found.first() };
    let fitting = found.iter().filter(|candidate| candidate.minor() >= wanted);
    // Of several, `min_by_key` takes the first.
    fitting.min_by_key(|candidate| candidate.minor())
}

/// The minor version of `v1.36.3+k3s1` or `3.6.16`.
fn minor(version: &str) -> Option<Minor> {
    let mut numbers = version.strip_prefix('v').unwrap_or(version).split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(minor: u32, patch: u32) -> Candidate {
        let program = PathBuf::from(format!("/{minor}.{patch}/kube-apiserver"));
        Candidate { program, version: Version { major: 1, minor, patch } }
    }

    #[test]
    fn the_same_minor_version_or_the_next_later_one() {
        let all = [candidate(34, 2), candidate(36, 1), candidate(36, 9), candidate(35, 0)];
        let chosen = |wanted| best(&all, wanted).map(|found| (found.version.minor, found.version.patch));
        assert_eq!(chosen(Some((1, 36))), Some((36, 1)), "the first folder has precedence");
        assert_eq!(chosen(Some((1, 35))), Some((35, 0)));
        assert_eq!(chosen(Some((1, 33))), Some((34, 2)));
        assert_eq!(chosen(Some((1, 37))), None);
        assert_eq!(chosen(None), Some((34, 2)));
        assert_eq!(best(&[], None), None);
    }

    #[test]
    fn minor_versions_as_manifests_have_them() {
        assert_eq!(minor("v1.36.3"), Some((1, 36)));
        assert_eq!(minor("v1.31.4+k3s1"), Some((1, 31)));
        assert_eq!(minor("3.6.16"), Some((3, 6)));
        assert_eq!(minor("unknown"), None);
    }
}
