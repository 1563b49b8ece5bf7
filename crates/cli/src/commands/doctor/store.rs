//! The store: written to, read from, and put to the proof.

use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{BackupId, Config, Digest, RetentionPolicy};
use lifeboat_recovery::Clock as _;
use lifeboat_store::{
    Capabilities, Expiry, Key, KeyError, ObjectLock, Prefix, RetentionPeriod, Store, StoreError, Versioning, body,
    digest,
};

use super::{Check, clock};
use crate::error::{Error, Result};
use crate::output::printable;
use crate::sources::{self, System};

/// An upload that is older than this is not being worked on any more.
const ABANDONED: SignedDuration = SignedDuration::from_hours(24);
/// What is written, read and compared.
const PROBE: &[u8] = b"written by lifeboat doctor, and safe to remove\n";

pub(super) async fn check(config: &Config) -> Vec<Check> {
    let store = match sources::store(&config.store).await {
        Ok(store) => store,
        Err(error) => return vec![Check::error("store", error)],
    };
    let name = format!("store {}", store.location());
    let checks = match config.cluster.name.as_str().parse::<Prefix>() {
        Ok(folder) => check_folder(store.as_ref(), &name, &folder, config).await,
        Err(error) => vec![Check::error(&name, unusable(&error))],
    };
    store.close().await;
    checks
}

async fn check_folder(store: &dyn Store, name: &str, folder: &Prefix, config: &Config) -> Vec<Check> {
    let mut checks = match write_and_read(store, folder).await {
        Ok(check) => vec![Check { name: name.to_owned(), ..check }],
        Err(error) => return vec![Check::error(name, error)],
    };
    checks.extend(capabilities(store, folder, config).await);
    checks.push(unfinished(store, folder).await);
    checks
}

fn unusable(error: &KeyError) -> Error {
    Error::Usage(format!("the cluster's name cannot be a folder of the store: {error}"))
}

/// A key that was never written.
fn probe(folder: &Prefix) -> Result<Key> {
    let unique = BackupId::new(System.now(), System.random());
    folder.key(&format!("probes/{unique}")).map_err(|error| unusable(&error))
}

/// What a backup does: writes a key, reads it back, compares. Removing it again is not necessary.
async fn write_and_read(store: &dyn Store, folder: &Prefix) -> Result<Check> {
    let key = probe(folder)?;
    store.put_once(&key, body(PROBE)).await?;
    let (bytes, found) = digest(store, &key).await?;
    if (bytes, found) != (PROBE.len() as u64, Digest::of(PROBE)) {
        return Ok(Check::fail("", "what was read is not what was written", "do not use this store"));
    }
    Ok(match store.delete(&key).await {
        Ok(()) => Check::ok("", "written, read back and compared"),
        Err(error) => {
            let reason = lifeboat_recovery::chain(&error);
            Check::ok(
                "",
                format!("written, read back and compared; '{key}' stays, since it may not be removed: {reason}"),
            )
        }
    })
}

async fn capabilities(store: &dyn Store, folder: &Prefix, config: &Config) -> Vec<Check> {
    let found = async {
        let key = probe(folder)?;
        Ok::<_, Error>(store.capabilities(&key, Timestamp::now()).await?)
    };
    match found.await {
        Err(error) => vec![Check::error("store capabilities", error)],
        Ok(found) => {
            let lock = object_lock(&found, config.store.object_lock.is_some());
            let mut checks = vec![conditional_writes(&found), lock, versioning(&found)];
            checks.push(lifecycle(&found, &config.retention));
            checks.extend(found.clock_skew.map(|ahead| clock("clock of the store", ahead)));
            checks
        }
    }
}

fn conditional_writes(found: &Capabilities) -> Check {
    const NAME: &str = "conditional writes";
    if found.conditional_writes {
        return Check::ok(NAME, "proved: a key that is there is not overwritten");
    }
    let remedy = "use a server that honours If-None-Match: two backups at once could overwrite each other here";
    Check::fail(NAME, "not honoured: a key that is there was overwritten", remedy)
}

fn object_lock(found: &Capabilities, wanted: bool) -> Check {
    const NAME: &str = "object lock";
    let remedy = "a bucket made with object lock keeps backups from whoever steals these credentials";
    let proven = matches!(&found.object_lock, ObjectLock::Enabled { proven, .. } if *proven != Some(false));
    if wanted && !proven {
        let remedy = "make a bucket with object lock, or take store.objectLock out of the configuration";
        return Check::fail(
            NAME,
            "store.objectLock asks for locks, and this store does not hold: no backup can be written",
            remedy,
        );
    }
    match &found.object_lock {
        ObjectLock::Enabled { default, proven } => {
            let default = default.as_ref().map_or("no default retention".to_owned(), |default| {
                let period = match default.period {
                    RetentionPeriod::Days(days) => format!("{days} days"),
                    RetentionPeriod::Years(years) => format!("{years} years"),
                };
                format!("{} for {period} by default", default.mode)
            });
            match proven {
                Some(true) => Check::ok(NAME, format!("on and proved, {default}")),
                Some(false) => Check::fail(
                    NAME,
                    "said to be on, and a held object was removed",
                    "do not rely on this store's locks",
                ),
                None => Check::ok(NAME, format!("on, not put to the proof, {default}")),
            }
        }
        ObjectLock::Disabled => Check::warn(NAME, "off: whoever may delete can delete every backup", remedy),
        ObjectLock::Unknown => Check::warn(NAME, "the store does not tell", remedy),
    }
}

fn versioning(found: &Capabilities) -> Check {
    const NAME: &str = "versioning";
    match found.versioning {
        Versioning::Enabled => Check::ok(NAME, "on: removed objects can be brought back"),
        Versioning::Suspended => Check::ok(NAME, "suspended: removed objects are gone"),
        Versioning::Disabled => Check::ok(NAME, "off: removed objects are gone"),
        Versioning::Unknown => Check::ok(NAME, "the store does not tell"),
    }
}

/// What the bucket removes by itself, which knows nothing of the last good backup.
fn lifecycle(found: &Capabilities, policy: &RetentionPolicy) -> Check {
    const NAME: &str = "lifecycle";
    let Some(rules) = &found.lifecycle else {
        return Check::ok(NAME, "the store does not tell of any rules that remove objects");
    };
    let removing = rules.iter().find_map(|rule| Some((rule, rule.expires?)));
    if let Some((rule, expires)) = removing {
        let when = match expires {
            Expiry::Days(days) => format!("{days} days after it was written"),
            Expiry::On(date) => format!("on {date}"),
        };
        let found = format!("rule '{}' removes everything {when}, the last good backup too", printable(&rule.id));
        return Check::fail(NAME, found, "end that rule for this prefix: `backup prune` removes what may go");
    }
    if let Some(days) = rules.iter().filter_map(|rule| rule.abort_days).min().filter(|days| *days < 1) {
        let remedy = "give uploads a day at least: a backup may take as long";
        return Check::warn(NAME, format!("unfinished uploads are removed after {days} days"), remedy);
    }
    let ended = rules.iter().filter_map(|rule| rule.noncurrent_days).min();
    match (found.versioning, ended) {
        (Versioning::Enabled | Versioning::Suspended, None) if !policy.purge_versions => Check::warn(
            NAME,
            "no rule ends old versions: what is removed takes space for ever",
            "add a rule NoncurrentVersionExpiration, or set retention.purgeVersions",
        ),
        (_, Some(days)) => Check::ok(NAME, format!("old versions end after {days} days, and no rule removes backups")),
        (_, None) => Check::ok(NAME, "no rule removes backups"),
    }
}

async fn unfinished(store: &dyn Store, folder: &Prefix) -> Check {
    const NAME: &str = "unfinished uploads";
    let all: Vec<_> = match store.incomplete_uploads(folder).try_collect().await {
        Ok(all) => all,
        Err(StoreError::Other { status: Some(501), .. }) => {
            let remedy = "look for them on the server itself: uploads of killed backups cost space there";
            return Check::warn(NAME, "the server cannot list them", remedy);
        }
        Err(error) => return Check::error(NAME, error),
    };
    let now = Timestamp::now();
    let abandoned = all.iter().filter(|upload| now.duration_since(upload.started) > ABANDONED).count();
    if abandoned == 0 {
        return Check::ok(NAME, if all.is_empty() { "none".to_owned() } else { format!("{}, all recent", all.len()) });
    }
    let remedy = "they cost space and are never used: a lifecycle rule of the bucket can abort them after a day";
    Check::warn(NAME, format!("{abandoned} of {} are older than a day", all.len()), remedy)
}

#[cfg(test)]
mod tests {
    use lifeboat_store::LifecycleRule;

    use super::*;

    /// What is found, by the rules of the bucket.
    fn found(versioning: Versioning, rules: Option<Vec<LifecycleRule>>, policy: &RetentionPolicy) -> Check {
        let capabilities = Capabilities {
            conditional_writes: true,
            object_lock: ObjectLock::Disabled,
            versioning,
            lifecycle: rules,
            clock_skew: None,
        };
        lifecycle(&capabilities, policy)
    }

    #[test]
    fn rules_that_remove_backups_are_named() {
        let policy = RetentionPolicy::default();
        let rule = |id: &str| LifecycleRule { id: id.to_owned(), ..LifecycleRule::default() };
        let expiring = LifecycleRule { expires: Some(Expiry::Days(30)), ..rule("monthly") };
        let check = found(Versioning::Disabled, Some(vec![rule("other"), expiring]), &policy);
        let text = format!("{check:?}");
        assert!(text.contains("'monthly' removes everything 30 days after"), "{text}");
        let noncurrent = LifecycleRule { noncurrent_days: Some(7), ..rule("old") };
        let fine = [
            found(Versioning::Disabled, Some(Vec::new()), &policy),
            found(Versioning::Enabled, Some(vec![noncurrent]), &policy),
            found(Versioning::Enabled, None, &policy),
            found(Versioning::Enabled, Some(Vec::new()), &RetentionPolicy { purge_versions: true, ..policy.clone() }),
        ];
        for check in fine {
            assert!(!format!("{check:?}").contains("NoncurrentVersionExpiration"), "{check:?}");
        }
        let endless = format!("{:?}", found(Versioning::Enabled, Some(Vec::new()), &policy));
        assert!(endless.contains("NoncurrentVersionExpiration"), "{endless}");
        let hasty = LifecycleRule { abort_days: Some(0), ..rule("abort") };
        assert!(format!("{:?}", found(Versioning::Disabled, Some(vec![hasty]), &policy)).contains("a day at least"));
    }
}
