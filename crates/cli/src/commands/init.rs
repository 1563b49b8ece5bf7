//! `init`: a configuration and keys to begin with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lifeboat_archive::{RecoveryKey, SigningKey};
use serde::Serialize;

use crate::app::App;
use crate::args::InitArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::files::{self, NewFile, PRIVATE, PUBLIC};
use crate::output::{Report, View, printable};

/// The file that is written, with `@NAME@` for what is filled in.
const TEMPLATE: &str = include_str!("init/lifeboat.yaml");
/// What a bucket's lines begin with where it is the store, and the directory's where that is.
const COMMENT: &str = "# ";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Initialised {
    schema: &'static str,
    /// What was written.
    files: Vec<PathBuf>,
    /// The public part of the recovery key.
    recipient: String,
    /// The public part of the signing key.
    public_key: String,
    /// The file that must leave this machine.
    recovery_key_file: PathBuf,
}

impl Report for Initialised {
    fn text(&self, view: &View) -> String {
        let what = ["what to back up, and where to", "opens every backup", "signs backups", "checks their signatures"];
        let mut text = String::new();
        for (path, what) in self.files.iter().zip(what) {
            let _ = writeln!(text, "wrote {}: {what}", printable(&path.display().to_string()));
        }
        let key = self.recovery_key_file.display().to_string();
        let key = printable(&key);
        let warning = format!("{key} must leave this machine.");
        let _ = write!(
            text,
            "\n{} Whoever has it reads every backup; without it none opens. Copy it to a\n\
             password manager or a safe, prove there that the copy works, then delete it here:\n\
             \n    lifeboat key check --identity {key}\n\
             \nNext: edit {}, then 'lifeboat doctor', then 'lifeboat backup create'.\n",
            view.style.strong(&warning),
            self.files.first().map(|path| path.display().to_string()).unwrap_or_default(),
        );
        text
    }
}

pub(crate) fn run(app: &App, arguments: &InitArgs) -> Result<ExitCode> {
    let store = parse_store(arguments)?;
    let recovery = RecoveryKey::generate(&app.output.view().now.to_string());
    let (secret, public) = signing_pair()?;
    let path = |name: &str| if arguments.dir == Path::new(".") { name.into() } else { arguments.dir.join(name) };
    let files = ["lifeboat.yaml", "recovery.key", "signing.key", "signing.pub"].map(path);
    let public_key = public.lines().nth(1).unwrap_or_default().to_owned();
    let config = fill_in(&store, arguments.cluster.as_str(), recovery.recipient(), &public_key);

    files::make_private_folder(&arguments.dir)?;
    let texts = [(config.as_str(), PUBLIC), (recovery.identity_file(), PRIVATE), (&secret, PRIVATE), (&public, PUBLIC)];
    let new = files.iter().zip(texts).map(|(path, (text, mode))| NewFile { path, text, mode });
    files::write_new(&new.collect::<Vec<_>>())?;

    let [_, recovery_key_file, ..] = files.clone();
    app.output.print(&Initialised {
        schema: "lifeboat.dev/init/v1",
        files: files.to_vec(),
        recipient: recovery.recipient().to_owned(),
        public_key,
        recovery_key_file,
    })?;
    Ok(ExitCode::Done)
}

/// A new signing key: the texts of its secret and of its public file.
pub(crate) fn signing_pair() -> Result<(String, String)> {
    let pair = || {
        let key = SigningKey::generate()?;
        Ok((key.to_file_text()?, key.public_key()?.to_file_text()))
    };
    pair().map_err(|source| Error::Key { what: "the new signing key".to_owned(), source })
}

/// Where backups are to go.
#[derive(Debug, PartialEq, Eq)]
enum Store {
    Bucket { bucket: String, prefix: String },
    Directory(String),
}

fn parse_store(arguments: &InitArgs) -> Result<Store> {
    if let Some(rest) = arguments.store.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::Usage(format!("'{}' names no bucket: expected s3://BUCKET/PREFIX", arguments.store)));
        }
        return Ok(Store::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() });
    }
    if arguments.store.contains("://") {
        return Err(Error::Usage(format!(
            "'{}' is no store: expected s3://BUCKET/PREFIX or a directory",
            arguments.store
        )));
    }
    // The configuration counts paths from its own folder, the argument counts from where we are.
    let is_here = arguments.dir == Path::new(".") || arguments.store == "./backups";
    let path = if is_here { PathBuf::from(&arguments.store) } else { absolute(&arguments.store)? };
    let text = path.into_os_string().into_string();
    text.map(Store::Directory).map_err(|path| Error::Usage(format!("'{}' is not Unicode", path.display())))
}

fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

fn fill_in(store: &Store, cluster: &str, recipient: &str, public_key: &str) -> String {
    let (bucket, prefix, path) = match store {
        Store::Bucket { bucket, prefix } => (bucket.as_str(), prefix.as_str(), "./backups"),
        Store::Directory(path) => ("my-backups", "kubernetes", path.as_str()),
    };
    let (on_s3, on_directory) = match store {
        Store::Bucket { .. } => ("", COMMENT),
        Store::Directory(_) => (COMMENT, ""),
    };
    // A text in JSON is a text in YAML, whatever it looks like.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    TEMPLATE
        .replace("@CLUSTER@", &quoted(cluster))
        .replace("@S3@", on_s3)
        .replace("@DIRECTORY@", on_directory)
        .replace("@RECIPIENT@", recipient)
        .replace("@PUBLIC_KEY@", public_key)
        .replace("@BUCKET@", &quoted(bucket))
        .replace("@PREFIX@", &quoted(prefix))
        .replace("@PATH@", &quoted(path))
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Config;
    use proptest::prelude::*;

    use super::*;

    fn arguments(dir: &str, store: &str) -> InitArgs {
        InitArgs { dir: dir.into(), cluster: "prod".parse().unwrap(), store: store.to_owned() }
    }

    #[test]
    fn stores_are_told_apart() {
        let parse = |dir, store| parse_store(&arguments(dir, store));
        let bucket = |bucket: &str, prefix: &str| Store::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(parse(".", "s3://b").unwrap(), bucket("b", ""));
        assert_eq!(parse("etc", "s3://b/k8s/eu/").unwrap(), bucket("b", "k8s/eu"));
        assert_eq!(parse(".", "mnt/b").unwrap(), Store::Directory("mnt/b".to_owned()));
        assert_eq!(parse("etc", "/mnt/b").unwrap(), Store::Directory("/mnt/b".to_owned()));
        let here = std::env::current_dir().unwrap().join("mnt").display().to_string();
        assert_eq!(parse("etc", "mnt").unwrap(), Store::Directory(here));
        assert!(matches!(parse(".", "s3:///x"), Err(Error::Usage(_))));
        assert!(matches!(parse(".", "gs://x"), Err(Error::Usage(_))));
    }

    #[test]
    fn every_example_in_the_file_is_valid_when_its_comment_is_taken_away() {
        const SETTINGS: [&str; 15] = [
            "region:",
            "endpoint:",
            "forcePathStyle:",
            "caFile:",
            "etcd:",
            "endpoints:",
            "certFile:",
            "keyFile:",
            "kubernetes:",
            "kubeconfig:",
            "context:",
            "resources:",
            "exclude:",
            "pageSize:",
            "prefix:",
        ];
        let uncommented = |line: &str| {
            let bare = line.replacen("# ", "", 1);
            let is_setting = SETTINGS.iter().any(|setting| bare.trim_start().starts_with(setting));
            if is_setting { bare } else { line.to_owned() }
        };
        let store = Store::Bucket { bucket: "b".to_owned(), prefix: "p".to_owned() };
        let text = fill_in(&store, "prod", "age1x", "RWQx");
        let sections: Vec<&str> = text.split("\n#\n").collect();
        assert_eq!(sections.len(), 5, "{text}");
        for example in 1..=3 {
            let chosen = |(place, section): (usize, &&str)| match place {
                1..=3 if place != example => String::new(),
                _ => section.lines().map(uncommented).collect::<Vec<_>>().join("\n"),
            };
            let whole: Vec<String> = sections.iter().enumerate().map(chosen).collect();
            let whole = whole.join("\n#\n");
            let config = Config::parse("lifeboat.yaml", &whole).unwrap_or_else(|error| panic!("{error}\n{whole}"));
            assert_eq!(config.check(), Ok(()));
            assert!(config.etcd.is_some_and(|etcd| etcd.key_file.is_some()), "{whole}");
            assert!(config.store.s3.is_some_and(|s3| s3.endpoint.is_some() && s3.ca_file.is_some()), "{whole}");
            assert!(config.kubernetes.context.is_some(), "{whole}");
        }
    }

    proptest! {
        #[test]
        fn what_was_asked_for_is_what_the_file_says(
            cluster in "[a-z0-9]{1,5}", bucket in "[a-z0-9.-]{3,9}", path in "[ -~é]{1,20}", on_s3: bool,
        ) {
            let store = if on_s3 {
                Store::Bucket { bucket: bucket.clone(), prefix: "p".to_owned() }
            } else {
                Store::Directory(path.clone())
            };
            let text = fill_in(&store, &cluster, "age1x", "RWQx");
            let config = Config::parse("lifeboat.yaml", &text).unwrap();
            prop_assert_eq!(config.check(), Ok(()));
            prop_assert_eq!(config.cluster.name.as_str(), cluster);
            prop_assert_eq!(config.encryption.recipients, ["age1x"]);
            prop_assert_eq!(config.signing.trusted_keys, ["RWQx"]);
            if let Some(s3) = config.store.s3 {
                prop_assert_eq!((s3.bucket, s3.prefix), (bucket, "p".to_owned()));
            } else {
                prop_assert_eq!(config.store.directory.unwrap().path, PathBuf::from(path));
            }
        }
    }
}
