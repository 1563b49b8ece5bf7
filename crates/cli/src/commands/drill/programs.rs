//! Where the programs of a drill may lie.

use std::path::{Path, PathBuf};

use crate::app::App;

/// The folders, in the order of preference.
pub(crate) fn folders(app: &App, given: &[PathBuf]) -> Vec<PathBuf> {
    let environment = &app.environment;
    let home = |variable: &str, below: &str| {
        let set = environment.get(variable).map(PathBuf::from);
        set.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(below)))
    };
    let mut folders = given.to_vec();
    folders.extend(environment.get("KUBEBUILDER_ASSETS").map(PathBuf::from));
    folders.extend(environment.get("PATH").into_iter().flat_map(std::env::split_paths));
    if let Some(cache) = home("XDG_CACHE_HOME", ".cache") {
        let cache = cache.join("lifeboat/bin");
        folders.extend(within(&cache));
        folders.push(cache);
    }
    // Where `setup-envtest` leaves them: `k8s/1.36.0-linux-amd64`.
    if let Some(data) = home("XDG_DATA_HOME", ".local/share") {
        folders.extend(within(&data.join("kubebuilder-envtest/k8s")));
    }
    let mut known = std::collections::BTreeSet::new();
    folders.retain(|folder| folder.is_dir() && known.insert(folder.clone()));
    folders
}

/// The folders in a folder, by name; none where it is not there.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort_unstable();
    found
}
