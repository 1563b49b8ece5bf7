//! The configuration file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::yaml::nearest;
use crate::{
    Age, ClusterName, DaemonConfig, GroupResource, LockMode, NamedSchedule, ObjectLock, RetentionPolicy, YamlError,
    parse_yaml, schedule,
};

/// `lifeboat.yaml`. Secrets are never in it: it names files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// `lifeboat.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// `Config`.
    pub kind: ConfigKind,
    /// The cluster that is backed up.
    pub cluster: ClusterConfig,
    /// Where backups live: one of `s3` and `directory`.
    pub store: StoreConfig,
    /// To whom backups are sealed.
    #[serde(default)]
    pub encryption: EncryptionConfig,
    /// Who signs backups, and whose signatures are trusted.
    #[serde(default)]
    pub signing: SigningConfig,
    /// How to reach etcd. Leave out where it cannot be reached, as in managed clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdConfig>,
    /// How to reach the API server.
    #[serde(default)]
    pub kubernetes: KubernetesConfig,
    /// Which objects are captured.
    #[serde(default)]
    pub resources: ResourcesConfig,
    /// Which backups `backup prune` keeps, and the daemon, of each schedule that has no rules of its own.
    #[serde(default)]
    pub retention: RetentionPolicy,
    /// When the daemon takes backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<NamedSchedule>,
    /// How the daemon runs.
    #[serde(default)]
    pub daemon: DaemonConfig,
}

/// Version of the configuration's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one yet.
    #[serde(rename = "lifeboat.dev/v1alpha1")]
    V1Alpha1,
}

/// Kind of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigKind {
    /// A configuration file.
    Config,
}

/// The cluster that is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// The name under which its backups lie in the store.
    pub name: ClusterName,
}

/// Where backups live: one of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreConfig {
    /// A bucket of S3, or of a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Store>,
    /// A local directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryStore>,
    /// The Object Lock of S3 that is put on everything that is written. The bucket has to be made with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
}

/// A bucket. Credentials come from the AWS chain: environment, profile, web identity, instance metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Store {
    /// Its name.
    pub bucket: String,
    /// Put before every key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Its region; the AWS chain's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The server's address, where it is not AWS's: `https://minio.example:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Put the bucket into the path rather than into the host's name, as most servers other than AWS want.
    #[serde(default)]
    pub force_path_style: bool,
    /// PEM file of certificate authorities to trust for this server besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Set to `whenRequired` for a server that refuses the checksums which the AWS SDK sends by default.
    #[serde(default)]
    pub checksums: Checksums,
    /// How the server encrypts what it stores, besides that backups are sealed; by itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// The key of `kms`; the default one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// How a server encrypts what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServerSideEncryption {
    /// With keys of its own.
    S3,
    /// With a key of a key management service.
    Kms,
}

/// When uploads carry a checksum for the server to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Checksums {
    /// Always.
    #[default]
    WhenSupported,
    /// Only where the protocol asks for one.
    WhenRequired,
}

/// A local directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryStore {
    /// Its path; made when it is not there.
    pub path: PathBuf,
}

/// To whom backups are sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionConfig {
    /// age recipients, `age1...`. Two or more are advised: each alone opens every backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// A file with one recipient a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_file: Option<PathBuf>,
}

/// Who signs backups, and whose signatures are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningConfig {
    /// minisign secret key, without a password, that signs new backups. Not needed to read or restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    /// minisign public keys, `RWQ...`, whose signatures are trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<String>,
}

/// How to reach etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdConfig {
    /// Client URLs of all members.
    pub endpoints: Vec<String>,
    /// PEM file of the certificate authority of etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// How to reach the API server. Empty: as kubectl finds it, or the service account of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesConfig {
    /// A kubeconfig file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of it; the current one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// Which objects are captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourcesConfig {
    /// Capture only these, as `deployments.apps`; all where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<GroupResource>,
    /// Leave these out. A resource here is left out also where `include` names it.
    pub exclude: Vec<GroupResource>,
    /// The most objects that are asked for at once, from 1 to 10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub page_size: u32,
}

impl Default for ResourcesConfig {
    fn default() -> Self {
        let exclude = [
            "componentstatuses",
            "events",
            "events.events.k8s.io",
            "leases.coordination.k8s.io",
            "nodes.metrics.k8s.io",
            "pods.metrics.k8s.io",
        ];
        Self {
            include: Vec::new(),
            exclude: exclude.map(|name| GroupResource::from(name.to_owned())).to_vec(),
            page_size: 500,
        }
    }
}

impl ResourcesConfig {
    /// Whether a resource is captured, by any of its names: another group may serve the same objects.
    pub fn wants<'a>(&self, mut names: impl Iterator<Item = &'a GroupResource> + Clone) -> bool {
        let included = self.include.is_empty() || names.clone().any(|name| self.include.contains(name));
        included && !names.any(|name| self.exclude.contains(name))
    }
}

/// A value given by a variable or a flag that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No such setting.
    #[error("unknown setting '{name}'{}", hint(.nearest.as_deref()))]
    Unknown {
        /// The name as given.
        name: String,
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// The value does not fit.
    #[error("'{value}' cannot be the value of {name}: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// The value as given.
        value: String,
        /// Why not.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", did you mean '{nearest}'?"))
}

type Setter = fn(&mut Config, &str) -> Result<(), String>;

/// Every setting that a variable or a flag can override, by its path in the file.
const SETTINGS: &[(&str, Setter)] = &[
    ("cluster.name", |c, v| v.parse().map(|name| c.cluster.name = name).map_err(|e| format!("{e}"))),
    ("store.s3.bucket", |c, v| text(&mut s3(c).bucket, v)),
    ("store.s3.prefix", |c, v| text(&mut s3(c).prefix, v)),
    ("store.s3.region", |c, v| optional(&mut s3(c).region, v)),
    ("store.s3.endpoint", |c, v| optional(&mut s3(c).endpoint, v)),
    ("store.s3.forcePathStyle", |c, v| switch(&mut s3(c).force_path_style, v)),
    ("store.s3.caFile", |c, v| path(&mut s3(c).ca_file, v)),
    ("store.s3.checksums", |c, v| {
        s3(c).checksums = match v {
            "whenSupported" => Checksums::WhenSupported,
            "whenRequired" => Checksums::WhenRequired,
            _ => return Err("expected whenSupported or whenRequired".to_owned()),
        };
        Ok(())
    }),
    ("store.s3.serverSideEncryption", |c, v| {
        s3(c).server_side_encryption = Some(match v {
            "s3" => ServerSideEncryption::S3,
            "kms" => ServerSideEncryption::Kms,
            _ => return Err("expected s3 or kms".to_owned()),
        });
        Ok(())
    }),
    ("store.s3.kmsKeyId", |c, v| optional(&mut s3(c).kms_key_id, v)),
    ("store.directory.path", |c, v| {
        c.store.directory = Some(DirectoryStore { path: v.into() });
        c.store.s3 = None;
        Ok(())
    }),
    ("store.objectLock.mode", |c, v| {
        object_lock(c).mode = match v {
            "governance" => LockMode::Governance,
            "compliance" => LockMode::Compliance,
            _ => return Err("expected governance or compliance".to_owned()),
        };
        Ok(())
    }),
    ("store.objectLock.retain", |c, v| age(v).map(|age| object_lock(c).retain = age)),
    ("encryption.recipients", |c, v| list(&mut c.encryption.recipients, v)),
    ("encryption.recipientsFile", |c, v| path(&mut c.encryption.recipients_file, v)),
    ("signing.secretKeyFile", |c, v| path(&mut c.signing.secret_key_file, v)),
    ("signing.trustedKeys", |c, v| list(&mut c.signing.trusted_keys, v)),
    ("etcd.endpoints", |c, v| list(&mut etcd(c).endpoints, v)),
    ("etcd.caFile", |c, v| path(&mut etcd(c).ca_file, v)),
    ("etcd.certFile", |c, v| path(&mut etcd(c).cert_file, v)),
    ("etcd.keyFile", |c, v| path(&mut etcd(c).key_file, v)),
    ("kubernetes.kubeconfig", |c, v| path(&mut c.kubernetes.kubeconfig, v)),
    ("kubernetes.context", |c, v| optional(&mut c.kubernetes.context, v)),
    ("resources.include", |c, v| resources(&mut c.resources.include, v)),
    ("resources.exclude", |c, v| resources(&mut c.resources.exclude, v)),
    ("resources.pageSize", |c, v| number(&mut c.resources.page_size, v)),
    ("retention.keepLast", |c, v| number(&mut c.retention.keep_last, v)),
    ("retention.keepHourly", |c, v| number(&mut c.retention.keep_hourly, v)),
    ("retention.keepDaily", |c, v| number(&mut c.retention.keep_daily, v)),
    ("retention.keepWeekly", |c, v| number(&mut c.retention.keep_weekly, v)),
    ("retention.keepMonthly", |c, v| number(&mut c.retention.keep_monthly, v)),
    ("retention.keepYearly", |c, v| number(&mut c.retention.keep_yearly, v)),
    ("retention.keepWithin", |c, v| age(v).map(|age| c.retention.keep_within = Some(age))),
    ("retention.minBackups", |c, v| number(&mut c.retention.min_backups, v)),
    ("retention.minVerified", |c, v| number(&mut c.retention.min_verified, v)),
    ("daemon.listen", |c, v| optional(&mut c.daemon.listen, v)),
    ("retention.unfinishedAfter", |c, v| age(v).map(|age| c.retention.unfinished_after = age)),
    ("retention.removeAfter", |c, v| age(v).map(|age| c.retention.remove_after = Some(age))),
    ("retention.purgeVersions", |c, v| switch(&mut c.retention.purge_versions, v)),
];

fn s3(config: &mut Config) -> &mut S3Store {
    config.store.directory = None;
    config.store.s3.get_or_insert_default()
}

/// The lock; where a variable gives a part of it only, with the shortest usual time and the mode that can be taken back.
fn object_lock(config: &mut Config) -> &mut ObjectLock {
    config.store.object_lock.get_or_insert_with(|| ObjectLock { mode: LockMode::Governance, retain: Age::hours(24) })
}

fn etcd(config: &mut Config) -> &mut EtcdConfig {
    config.etcd.get_or_insert_default()
}

#[expect(clippy::unnecessary_wraps, reason = "of the shape that every setter has")]
fn text(target: &mut String, value: &str) -> Result<(), String> {
    value.clone_into(target);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "of the shape that every setter has")]
fn optional(target: &mut Option<String>, value: &str) -> Result<(), String> {
    *target = Some(value.to_owned());
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "of the shape that every setter has")]
fn path(target: &mut Option<PathBuf>, value: &str) -> Result<(), String> {
    *target = Some(value.into());
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "of the shape that every setter has")]
fn list(target: &mut Vec<String>, value: &str) -> Result<(), String> {
    *target = items(value).collect();
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "of the shape that every setter has")]
fn resources(target: &mut Vec<GroupResource>, value: &str) -> Result<(), String> {
    *target = items(value).map(GroupResource::from).collect();
    Ok(())
}

fn number(target: &mut u32, value: &str) -> Result<(), String> {
    value.parse().map(|number| *target = number).map_err(|_| "expected a number".to_owned())
}

fn switch(target: &mut bool, value: &str) -> Result<(), String> {
    value.parse().map(|on| *target = on).map_err(|_| "expected true or false".to_owned())
}

fn age(value: &str) -> Result<Age, String> {
    value.parse().map_err(|_| "expected the form 36h, 14d, 8w, 6mo or 1y".to_owned())
}

fn items(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

/// The variable that overrides the setting of that path: `LIFEBOAT_STORE_S3_FORCE_PATH_STYLE`.
fn variable(setting: &str) -> String {
    let mut name = "LIFEBOAT_".to_owned();
    for c in setting.chars() {
        match c {
            '.' => name.push('_'),
            c if c.is_ascii_uppercase() => name.extend(['_', c]),
            c => name.push(c.to_ascii_uppercase()),
        }
    }
    name
}

impl Config {
    /// Parses a configuration file.
    ///
    /// # Errors
    /// With file, line and column.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, YamlError> {
        let config: Self = parse_yaml(source_name, text)?;
        Ok(config)
    }

    /// Paths of the settings that [`Config::set`] knows, each with the variable of the same meaning.
    pub fn settings() -> impl Iterator<Item = (&'static str, String)> {
        SETTINGS.iter().map(|(name, _)| (*name, variable(name)))
    }

    /// Overrides one setting, named by its path: `store.s3.bucket`. Lists are separated by commas.
    ///
    /// # Errors
    /// When there is no such setting or the value does not fit.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OverrideError> {
        let Some((_, setter)) = SETTINGS.iter().find(|(candidate, _)| *candidate == name) else {
            let nearest = nearest(name, SETTINGS.iter().map(|(name, _)| *name)).map(str::to_owned);
            return Err(OverrideError::Unknown { name: name.to_owned(), nearest });
        };
        setter(self, value).map_err(|reason| OverrideError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            reason,
        })
    }

    /// What is wrong with the configuration as a whole, after all overrides.
    ///
    /// # Errors
    /// A sentence for each fault.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        match (&self.store.s3, &self.store.directory) {
            (None, None) => faults.push("store: one of 's3' and 'directory' is needed".to_owned()),
            (Some(_), Some(_)) => faults.push("store: 's3' and 'directory' exclude each other".to_owned()),
            (Some(s3), None) if s3.bucket.is_empty() => faults.push("store.s3.bucket: must not be empty".to_owned()),
            _ => {}
        }
        if let Some(s3) = &self.store.s3
            && s3.kms_key_id.is_some()
            && s3.server_side_encryption != Some(ServerSideEncryption::Kms)
        {
            faults.push("store.s3.kmsKeyId: needs serverSideEncryption: kms".to_owned());
        }
        if self.store.directory.is_some() && self.store.object_lock.is_some() {
            faults.push("store.objectLock: a directory knows no locks".to_owned());
        }
        if self.etcd.as_ref().is_some_and(|etcd| etcd.endpoints.is_empty()) {
            faults
                .push("etcd.endpoints: at least one is needed; leave 'etcd' out where it cannot be reached".to_owned());
        }
        if let Some(etcd) = &self.etcd
            && etcd.cert_file.is_some() != etcd.key_file.is_some()
        {
            faults.push("etcd: 'certFile' and 'keyFile' go together".to_owned());
        }
        if !(1..=10_000).contains(&self.resources.page_size) {
            faults.push(format!("resources.pageSize: {} is not from 1 to 10000", self.resources.page_size));
        }
        faults.extend(self.retention.faults());
        faults.extend(schedule::faults(&self.schedules, &self.daemon));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
apiVersion: lifeboat.dev/v1alpha1
kind: Config
cluster: {name: prod-eu-1}
store:
  s3: {bucket: backups, prefix: k8s, region: eu-central-1, endpoint: \"http://127.0.0.1:9000\", forcePathStyle: true}
encryption: {recipients: [age1x]}
signing: {secretKeyFile: signing.key, trustedKeys: [RWQx]}
etcd: {endpoints: [\"https://127.0.0.1:2379\"], caFile: ca.crt, certFile: client.crt, keyFile: client.key}
resources: {exclude: [events], pageSize: 250}
retention: {keepDaily: 7, keepWithin: 36h}
";

    #[test]
    fn a_full_configuration() {
        let config = Config::parse("lifeboat.yaml", FULL).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.cluster.name.as_str(), "prod-eu-1");
        assert!(config.store.s3.as_ref().unwrap().force_path_style);
        assert_eq!(config.resources.page_size, 250);
        assert!(!config.resources.wants([GroupResource::from("events".to_owned())].iter()));
    }

    #[test]
    fn an_unknown_key_has_its_place_and_the_nearest_name() {
        let text = FULL.replace("forcePathStyle", "forcePathStile");
        let error = Config::parse("lifeboat.yaml", &text).unwrap_err();
        insta::assert_snapshot!(error, @"lifeboat.yaml:5:95: unknown key 'forcePathStile', did you mean 'forcePathStyle'?");
        let text = FULL.replace("keepDaily", "keepDayly");
        let error = Config::parse("lifeboat.yaml", &text).unwrap_err();
        insta::assert_snapshot!(error, @"lifeboat.yaml:10:13: unknown key 'keepDayly', did you mean 'keepDaily'?");
        let error = Config::parse("c.yaml", &format!("{FULL}shop: 1\n")).unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:11:1: unknown key 'shop', expected one of: apiVersion, kind, cluster, store, encryption, signing, etcd, kubernetes, resources, retention, schedules, daemon");
    }

    #[test]
    fn bad_values_have_their_place() {
        let error = Config::parse("c.yaml", &FULL.replace("pageSize: 250", "pageSize: many")).unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:9:42: invalid u32");
        let error = Config::parse("c.yaml", &FULL.replace("36h", "a while")).unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:10:39: 'a while' is no length of time: expected the form 36h, 14d, 8w, 6mo or 1y");
        let error = Config::parse("c.yaml", &FULL.replace("prod-eu-1", "../x")).unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:3:17: '../x' cannot name a cluster: expected 1 to 63 lower-case letters, digits, '-' or '.', beginning and ending with a letter or digit");
        let error = Config::parse("c.yaml", &FULL.replace("v1alpha1", "v2")).unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:1:13: unknown value 'lifeboat.dev/v2', expected one of: lifeboat.dev/v1alpha1");
        let error = Config::parse("c.yaml", "cluster: [").unwrap_err();
        insta::assert_snapshot!(error, @"c.yaml:1:10: expected mapping start");
    }

    #[test]
    fn a_resource_goes_by_the_name_of_its_twin_too() {
        let names =
            |texts: &[&str]| texts.iter().map(|text| GroupResource::from((*text).to_owned())).collect::<Vec<_>>();
        let wants = |include: &[&str], exclude: &[&str]| {
            let config = ResourcesConfig { include: names(include), exclude: names(exclude), page_size: 1 };
            config.wants(names(&["events", "events.events.k8s.io"]).iter())
        };
        assert!(wants(&[], &[]));
        assert!(wants(&["events.events.k8s.io"], &[]));
        assert!(!wants(&[], &["events.events.k8s.io"]));
        assert!(!wants(&["pods"], &[]));
        assert!(!wants(&["events"], &["events"]));
    }

    #[test]
    fn settings_are_overridden_by_path() {
        let mut config = Config::parse("lifeboat.yaml", FULL).unwrap();
        config.set("store.s3.bucket", "other").unwrap();
        config.set("encryption.recipients", "age1a, age1b").unwrap();
        assert_eq!(config.store.s3.as_ref().unwrap().bucket, "other");
        assert_eq!(config.encryption.recipients, ["age1a", "age1b"]);
        config.set("store.s3.checksums", "whenRequired").unwrap();
        assert_eq!(config.store.s3.as_ref().unwrap().checksums, Checksums::WhenRequired);
        assert!(config.set("store.s3.checksums", "never").is_err());
        config.set("resources.include", "pods,deployments.apps").unwrap();
        assert_eq!(config.resources.include[1].group, "apps");
        config.set("retention.keepWithin", "2w").unwrap();
        config.set("retention.keepLast", "3").unwrap();
        assert_eq!((config.retention.keep_last, &config.retention.keep_within), (3, &Some("2w".parse().unwrap())));
        config.set("store.directory.path", "/b").unwrap();
        assert_eq!(config.check(), Ok(()));
        let error = config.set("store.s3.buckett", "x").unwrap_err();
        insta::assert_snapshot!(error, @"unknown setting 'store.s3.buckett', did you mean 'store.s3.bucket'?");
        let error = config.set("resources.pageSize", "x").unwrap_err();
        insta::assert_snapshot!(error, @"'x' cannot be the value of resources.pageSize: expected a number");
    }

    #[test]
    fn every_setting_has_a_variable() {
        let variables: Vec<String> = Config::settings().map(|(_, variable)| variable).collect();
        assert!(variables.contains(&"LIFEBOAT_STORE_S3_FORCE_PATH_STYLE".to_owned()));
        assert!(variables.contains(&"LIFEBOAT_CLUSTER_NAME".to_owned()));
    }

    #[test]
    fn faults_of_the_whole_are_all_named() {
        let mut config = Config::parse("lifeboat.yaml", FULL).unwrap();
        config.store = StoreConfig::default();
        config.etcd = Some(EtcdConfig { cert_file: Some("c".into()), ..EtcdConfig::default() });
        config.resources.page_size = 0;
        config.retention.min_backups = 0;
        assert_eq!(config.check().unwrap_err().len(), 5);
    }
}
