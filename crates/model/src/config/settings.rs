//! What variables and flags override, by its path in the file.

use std::path::PathBuf;

use super::{Checksums, Config, DirectoryStore, EtcdConfig, S3Store, ServerSideEncryption};
use crate::yaml::nearest;
use crate::{Age, GroupResource, LockMode, ObjectLock, OtlpConfig};

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
    ("telemetry.otlp.endpoint", |c, v| text(&mut otlp(c).endpoint, v)),
    ("telemetry.otlp.headersFile", |c, v| path(&mut otlp(c).headers_file, v)),
    ("telemetry.otlp.caFile", |c, v| path(&mut otlp(c).ca_file, v)),
];

fn s3(config: &mut Config) -> &mut S3Store {
    config.store.directory = None;
    config.store.s3.get_or_insert_default()
}

/// The lock; where a variable gives a part of it only, with the shortest usual time and the mode that can be taken back.
fn object_lock(config: &mut Config) -> &mut ObjectLock {
    config.store.object_lock.get_or_insert_with(|| ObjectLock { mode: LockMode::Governance, retain: Age::hours(24) })
}

fn otlp(config: &mut Config) -> &mut OtlpConfig {
    config.telemetry.otlp.get_or_insert_default()
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
}

#[cfg(test)]
mod tests {
    use super::super::tests::FULL;
    use super::*;

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
}
