//! Store, etcd and API server, as the configuration names them.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_etcd::{ClientCertificate, EtcdOptions, Tls};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_model::{Config, EtcdConfig, KubernetesConfig, Reason, StoreConfig};
use lifeboat_recovery::backup::{self, Source};
use lifeboat_recovery::{Backup, BackupRef, Catalog, Clock, Context, OpenBackup};
use lifeboat_store::{Checksums, DirectoryStore, RetainedStore, S3Options, S3Store, ServerSideEncryption, Store};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::args::{ClusterArgs, IdentityArgs};
use crate::commands::version::TOOL;
use crate::error::{Error, Result};
use crate::{files, keys};

/// A file of certificates of a megabyte is a mistake.
const MAX_PEM: u64 = 1 << 20;

/// The clock and the random source of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// The settings that a command's options for the API server override.
pub(crate) fn overrides(arguments: &ClusterArgs) -> Vec<(&'static str, String)> {
    let kubeconfig = arguments.kubeconfig.as_ref().map(|path| path.display().to_string());
    let options = [("kubernetes.kubeconfig", kubeconfig), ("kubernetes.context", arguments.context.clone())];
    options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What recovery is given for that configuration.
pub(crate) async fn context(config: &Config, cancel: CancellationToken) -> Result<Context> {
    let trusted = Arc::new(keys::trusted_keys(&config.signing)?);
    let mut store = store(&config.store).await?;
    if let Some(lock) = &config.store.object_lock {
        store = Arc::new(RetainedStore::new(store, lock.clone(), Arc::new(Timestamp::now)));
    }
    Ok(Context { store, cluster: config.cluster.name.clone(), trusted, clock: Arc::new(System), cancel })
}

/// The catalog of the configured store.
pub(crate) async fn catalog(app: &App, cancel: CancellationToken) -> Result<Catalog> {
    let config = app.config(&[])?;
    Ok(Catalog::open(context(&config, cancel).await?).await?)
}

/// A backup of the configured store.
pub(crate) async fn backup(app: &App, wanted: &BackupRef, cancel: CancellationToken) -> Result<Backup> {
    Ok(catalog(app, cancel).await?.get(wanted).await?)
}

/// A backup of the configured store, opened.
pub(crate) async fn open_backup(
    app: &App,
    wanted: &BackupRef,
    identity: &IdentityArgs,
    cancel: CancellationToken,
) -> Result<OpenBackup> {
    let identities = Arc::new(keys::identities(identity)?);
    let backup = backup(app, wanted, cancel).await?;
    Ok(OpenBackup::open(backup, identities).await?)
}

/// The store.
pub(crate) async fn store(config: &StoreConfig) -> Result<Arc<dyn Store>> {
    match config {
        StoreConfig { s3: Some(s3), .. } => {
            let options = s3_options(s3)?;
            Ok(Arc::new(S3Store::connect(options).await?))
        }
        StoreConfig { directory: Some(directory), .. } => {
            Ok(Arc::new(DirectoryStore::open(&directory.path, System.random()).await?))
        }
        StoreConfig { s3: None, directory: None, .. } => {
            Err(Error::NotConfigured { setting: "store", purpose: "backups live in a bucket or in a directory" })
        }
    }
}

fn s3_options(config: &lifeboat_model::S3Store) -> Result<S3Options> {
    Ok(S3Options {
        prefix: config.prefix.clone(),
        region: config.region.clone(),
        force_path_style: config.force_path_style,
        checksums: match config.checksums {
            lifeboat_model::Checksums::WhenSupported => Checksums::WhenSupported,
            lifeboat_model::Checksums::WhenRequired => Checksums::WhenRequired,
        },
        encryption: config.server_side_encryption.map(|encryption| match encryption {
            lifeboat_model::ServerSideEncryption::S3 => ServerSideEncryption::S3,
            lifeboat_model::ServerSideEncryption::Kms => {
                ServerSideEncryption::Kms { key_id: config.kms_key_id.clone() }
            }
        }),
        ca_file: config.ca_file.as_deref().map(pem).transpose()?,
        ..S3Options::new(config.bucket.clone(), config.endpoint.clone())
    })
}

/// How to reach etcd.
pub(crate) fn etcd(config: &EtcdConfig) -> Result<EtcdOptions> {
    let is_tls = config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    let tls = if is_tls { Some(tls(config)?) } else { None };
    Ok(EtcdOptions::new(config.endpoints.clone(), tls))
}

fn tls(config: &EtcdConfig) -> Result<Tls> {
    let Some(ca_file) = &config.ca_file else {
        return Err(Error::NotConfigured {
            setting: "etcd.caFile",
            purpose: "etcd at https:// is trusted by its authority",
        });
    };
    let client = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => Some(ClientCertificate { cert: pem(cert)?, key: pem(key)? }),
        _ => None,
    };
    Ok(Tls { ca: pem(ca_file)?, client, server_name: None })
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    files::read(path, MAX_PEM)
}

/// A backup as it is configured, without what is left out for a reason.
pub(crate) fn backup_request(
    config: &Config,
    without_etcd: Option<&str>,
    without_objects: Option<&str>,
) -> Result<backup::Request> {
    let etcd = match (without_etcd, &config.etcd) {
        (Some(reason), _) => Source::Skip(reason.to_owned()),
        (None, None) => Source::Skip("no etcd is configured".to_owned()),
        (None, Some(config)) => Source::Use(etcd(config)?),
    };
    let kubernetes = match without_objects {
        Some(reason) => Source::Skip(reason.to_owned()),
        None => Source::Use(kubernetes(&config.kubernetes)),
    };
    Ok(backup::Request {
        etcd,
        kubernetes,
        resources: config.resources.clone(),
        recipients: Arc::new(keys::recipients(&config.encryption)?),
        signer: Arc::new(keys::signing_key(&config.signing)?),
        reason: Reason::Manual,
        fence: None,
        tool: TOOL.to_owned(),
    })
}

/// How to reach the API server.
pub(crate) fn kubernetes(config: &KubernetesConfig) -> ConnectOptions {
    ConnectOptions {
        kubeconfig: config.kubeconfig.clone(),
        context: config.context.clone(),
        ..ConnectOptions::default()
    }
}
