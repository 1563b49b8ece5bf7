//! Finding, reading and overriding the configuration: file < variables < `--set` < options of their own.

use std::path::{Path, PathBuf};

use lifeboat_model::Config;

use crate::args::GlobalArgs;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::files;

/// The file's name, wherever it is looked for.
const NAME: &str = "lifeboat.yaml";
/// What begins the names of our variables.
const PREFIX: &str = "LIFEBOAT_";
/// Variables that override no setting.
const OTHER_VARIABLES: [&str; 3] = ["LIFEBOAT_CONFIG", "LIFEBOAT_IDENTITY", "LIFEBOAT_ETCDUTL"];
/// What begins the names of variables that are for developers.
const DEVELOPERS: &str = "LIFEBOAT_TEST";
/// A configuration file of a megabyte is a mistake.
const MAX_BYTES: u64 = 1 << 20;
/// What there is where all settings come from variables and options.
const BARE: &str = "{apiVersion: lifeboat.dev/v1alpha1, kind: Config, cluster: {name: unnamed}, store: {}}";

/// A configuration, and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The file; `None` where all of it came from variables and options.
    pub(crate) path: Option<PathBuf>,
    /// Things that are probably mistakes.
    pub(crate) warnings: Vec<String>,
}

/// Loads the configuration. `options` are settings that a command has options of their own for.
pub(crate) fn load(
    globals: &GlobalArgs,
    environment: &Environment,
    options: &[(&'static str, String)],
) -> Result<Loaded> {
    let (variables, warnings) = variables(environment);
    let overrides: Vec<Override> = variables
        .into_iter()
        .chain(globals.overrides.iter().map(|(name, value)| Override { origin: format!("--set {name}"), name, value }))
        .chain(options.iter().map(|(name, value)| Override { origin: "option".to_owned(), name, value }))
        .collect();
    let (mut config, path) = base(globals, environment, &overrides)?;
    for Override { origin, name, value } in overrides {
        config.set(name, value).map_err(|source| Error::Override { origin, source })?;
    }
    let origin = path.as_ref().map_or("the configuration".to_owned(), |path| path.display().to_string());
    config.check().map_err(|faults| Error::Faults { origin, faults })?;
    Ok(Loaded { config, path, warnings })
}

/// A value that takes the place of the file's.
struct Override<'a> {
    origin: String,
    name: &'a str,
    value: &'a str,
}

/// What the file says, or nothing where there is none and the overrides say all.
fn base(
    globals: &GlobalArgs,
    environment: &Environment,
    overrides: &[Override<'_>],
) -> Result<(Config, Option<PathBuf>)> {
    if let Some(path) = &globals.config {
        return Ok((read(path)?, Some(path.clone())));
    }
    let places = places(environment);
    if let Some(path) = places.iter().find(|path| path.exists()) {
        return Ok((read(path)?, Some(path.clone())));
    }
    let is_given = |prefix: &str| overrides.iter().any(|one| one.name.starts_with(prefix));
    if is_given("cluster.name") && is_given("store.") {
        return Ok((Config::parse("", BARE)?, None));
    }
    Err(Error::NoConfig(places))
}

fn places(environment: &Environment) -> Vec<PathBuf> {
    let mut places = vec![Path::new(".").join(NAME)];
    places.extend(environment.config_home().map(|home| home.join("lifeboat").join(NAME)));
    places.push(Path::new("/etc/lifeboat").join(NAME));
    places
}

fn read(path: &Path) -> Result<Config> {
    let text = files::read_text(path, MAX_BYTES)?;
    let mut config = Config::parse(&path.display().to_string(), &text)?;
    match path.parent() {
        Some(folder) if folder != Path::new(".") => make_relative_to_file(&mut config, folder),
        _ => {}
    }
    Ok(config)
}

/// Paths in the file count from the file's folder, so that it means the same wherever it is used from.
fn make_relative_to_file(config: &mut Config, folder: &Path) {
    let store = &mut config.store;
    let etcd = config.etcd.as_mut().map(|etcd| [&mut etcd.ca_file, &mut etcd.cert_file, &mut etcd.key_file]);
    let others = [
        store.s3.as_mut().map(|s3| &mut s3.ca_file),
        Some(&mut config.encryption.recipients_file),
        Some(&mut config.signing.secret_key_file),
        Some(&mut config.kubernetes.kubeconfig),
    ];
    let paths = others.into_iter().flatten().chain(etcd.into_iter().flatten()).filter_map(Option::as_mut);
    for path in paths.chain(store.directory.as_mut().map(|directory| &mut directory.path)) {
        *path = folder.join(&*path);
    }
}

/// The settings that variables override, and a warning for each of our variables that overrides none.
fn variables(environment: &Environment) -> (Vec<Override<'_>>, Vec<String>) {
    let settings: Vec<(&'static str, String)> = Config::settings().collect();
    let mut overrides = Vec::new();
    let mut warnings = Vec::new();
    for (variable, value) in environment.beginning_with(PREFIX) {
        if OTHER_VARIABLES.contains(&variable) || variable.starts_with(DEVELOPERS) || value.is_empty() {
            continue;
        }
        match settings.iter().find(|(_, known)| known == variable) {
            Some((name, _)) => overrides.push(Override { origin: format!("variable {variable}"), name, value }),
            None => warnings.push(unknown(variable, settings.iter().map(|(_, known)| known.as_str()))),
        }
    }
    (overrides, warnings)
}

fn unknown<'a>(variable: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distance = |name: &str| strsim::damerau_levenshtein(variable, name);
    let nearest = known.chain(OTHER_VARIABLES).map(|name| (distance(name), name)).min();
    match nearest.filter(|(distance, _)| *distance <= 1 + variable.len() / 4) {
        Some((_, name)) => format!("unknown variable {variable}, did you mean {name}?"),
        None => format!("unknown variable {variable}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    const FILE: &str = "\
apiVersion: lifeboat.dev/v1alpha1
kind: Config
cluster: {name: prod}
store: {directory: {path: backups}}
signing: {secretKeyFile: keys/signing.key}
etcd: {endpoints: [\"https://127.0.0.1:2379\"], caFile: /etc/ca.crt}
";

    fn globals(arguments: &[&str]) -> GlobalArgs {
        Cli::try_parse_from(["lifeboat", "version"].iter().chain(arguments)).unwrap().globals
    }

    fn in_a_file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.yaml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn paths_count_from_the_folder_of_the_file() {
        let (folder, path) = in_a_file(FILE);
        let config = load(&globals(&["--config", &path]), &Environment::default(), &[]).unwrap().config;
        assert_eq!(config.store.directory.unwrap().path, folder.path().join("backups"));
        assert_eq!(config.signing.secret_key_file.unwrap(), folder.path().join("keys/signing.key"));
        assert_eq!(config.etcd.unwrap().ca_file.unwrap(), Path::new("/etc/ca.crt"));
    }

    #[test]
    fn the_nearer_to_the_command_the_stronger() {
        let (_folder, path) = in_a_file(FILE);
        let name = |arguments: &[&str], environment: Environment, options: &[(&'static str, String)]| {
            let arguments = [&["--config", &path], arguments].concat();
            load(&globals(&arguments), &environment, options).unwrap().config.cluster.name.to_string()
        };
        let variable = || Environment::from([("LIFEBOAT_CLUSTER_NAME", "by-variable")]);
        assert_eq!(name(&[], Environment::default(), &[]), "prod");
        assert_eq!(name(&[], variable(), &[]), "by-variable");
        let set = ["--set", "cluster.name=by-set"];
        assert_eq!(name(&set, variable(), &[]), "by-set");
        assert_eq!(name(&set, variable(), &[("cluster.name", "by-option".to_owned())]), "by-option");
    }

    #[test]
    fn values_from_the_command_line_count_from_where_it_was_given() {
        let (_folder, path) = in_a_file(FILE);
        let set = ["--config", &path, "--set", "store.directory.path=here"];
        let config = load(&globals(&set), &Environment::default(), &[]).unwrap().config;
        assert_eq!(config.store.directory.unwrap().path, Path::new("here"));
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_nearest() {
        let (_folder, path) = in_a_file(FILE);
        let environment = Environment::from([
            ("LIFEBOAT_CLUSTERNAME", "x"),
            ("LIFEBOAT_CONFIG", "x"),
            ("LIFEBOAT_IDENTITY", "x"),
            ("LIFEBOAT_TESTBED_BIN", "x"),
            ("LIFEBOAT_WHATEVER_THIS_IS", "x"),
            ("LIFEBOATS", "x"),
        ]);
        let loaded = load(&globals(&["--config", &path]), &environment, &[]).unwrap();
        assert_eq!(
            loaded.warnings,
            [
                "unknown variable LIFEBOAT_CLUSTERNAME, did you mean LIFEBOAT_CLUSTER_NAME?",
                "unknown variable LIFEBOAT_WHATEVER_THIS_IS",
            ]
        );
    }

    #[test]
    fn a_bad_override_says_where_it_came_from() {
        let (_folder, path) = in_a_file(FILE);
        let environment = Environment::from([("LIFEBOAT_RESOURCES_PAGE_SIZE", "many")]);
        let error = load(&globals(&["--config", &path]), &environment, &[]).unwrap_err();
        assert_eq!(
            lifeboat_recovery::chain(&error),
            "variable LIFEBOAT_RESOURCES_PAGE_SIZE: 'many' cannot be the value of resources.pageSize: expected a number"
        );
        let set = globals(&["--config", &path, "--set", "cluster.nam=x"]);
        let error = load(&set, &Environment::default(), &[]).unwrap_err();
        assert_eq!(
            lifeboat_recovery::chain(&error),
            "--set cluster.nam: unknown setting 'cluster.nam', did you mean 'cluster.name'?"
        );
    }

    #[test]
    fn the_bucket_and_a_name_are_enough_without_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::from([("XDG_CONFIG_HOME", folder.path().to_str().unwrap())]);
        let set = globals(&["--set", "cluster.name=prod", "--set", "store.s3.bucket=b"]);
        let loaded = load(&set, &environment, &[]).unwrap();
        assert_eq!(loaded.path, None);
        assert_eq!(loaded.config.store.s3.unwrap().bucket, "b");
        let error = load(&globals(&["--set", "cluster.name=prod"]), &environment, &[]).unwrap_err();
        assert!(matches!(error, Error::NoConfig(places) if places.len() == 3));
    }
}
