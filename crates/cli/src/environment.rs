//! What the process finds around it, read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variables of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// That of this process. What is not Unicode is left out: none of it is ours.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os();
        let text = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: text.collect() }
    }

    /// A variable's value; an empty one counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variables whose names begin with that.
    pub(crate) fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.variables
            .range(prefix.to_owned()..)
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// The user's folder of configurations.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.base_directory("XDG_CONFIG_HOME", ".config")
    }

    /// The user's folder of what programs keep from one run to the next.
    pub(crate) fn state_home(&self) -> Option<PathBuf> {
        self.base_directory("XDG_STATE_HOME", ".local/state")
    }

    /// A folder of the XDG Base Directory Specification: a relative path is ignored.
    fn base_directory(&self, variable: &str, default: &str) -> Option<PathBuf> {
        let absolute = |path: &&str| Path::new(path).is_absolute();
        match self.get(variable).filter(absolute) {
            Some(path) => Some(path.into()),
            None => Some(Path::new(self.get("HOME").filter(absolute)?).join(default)),
        }
    }

    /// The program of that name in PATH.
    pub(crate) fn find_program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(self.get("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self { variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }
}

/// Whether it is a file that somebody may run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
