//! The configuration file.

mod settings;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::settings::OverrideError;
use crate::{
    ClusterName, DaemonConfig, GroupResource, NamedSchedule, ObjectLock, PlaybooksConfig, RetentionPolicy,
    TelemetryConfig, YamlError, parse_yaml, schedule,
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
    /// What playbooks may do outside of the cluster; nothing by default.
    #[serde(default)]
    pub playbooks: PlaybooksConfig,
    /// Where traces of Lifeboat's own work go; nowhere by default.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
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

impl Config {
    /// Parses a configuration file.
    ///
    /// # Errors
    /// With file, line and column.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, YamlError> {
        let config: Self = parse_yaml(source_name, text)?;
        Ok(config)
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
        faults.extend(self.playbooks.faults());
        faults.extend(self.telemetry.faults());
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const FULL: &str = "\
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
        insta::assert_snapshot!(error, @"c.yaml:11:1: unknown key 'shop', expected one of: apiVersion, kind, cluster, store, encryption, signing, etcd, kubernetes, resources, retention, schedules, daemon, playbooks, telemetry");
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
    fn faults_of_the_whole_are_all_named() {
        let mut config = Config::parse("lifeboat.yaml", FULL).unwrap();
        config.store = StoreConfig::default();
        config.etcd = Some(EtcdConfig { cert_file: Some("c".into()), ..EtcdConfig::default() });
        config.resources.page_size = 0;
        config.retention.min_backups = 0;
        config.set("telemetry.otlp.endpoint", "collector:4318").unwrap();
        assert_eq!(config.check().unwrap_err().len(), 6);
    }
}
