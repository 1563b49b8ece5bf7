//! The keys.

use std::path::Path;

use lifeboat_model::Config;

use super::Check;
use crate::args::IdentityArgs;
use crate::error::Result;
use crate::{files, keys};

pub(super) fn check(config: &Config, identity: &IdentityArgs) -> Vec<Check> {
    let mut checks = vec![recipients(config), signing_key(config), trusted_keys(config)];
    checks.extend(identity.identity.as_deref().map(|path| identity_file(config, identity, path)));
    checks
}

fn recipients(config: &Config) -> Check {
    const NAME: &str = "recipients";
    match keys::recipients(&config.encryption).map(|recipients| recipients.as_texts().len()) {
        Err(error) => Check::error(NAME, error),
        Ok(1) => Check::warn(
            NAME,
            "one key opens the backups",
            "add the public key of a second recovery key, kept elsewhere, to encryption.recipients: \
             a lost key is then no lost backup",
        ),
        Ok(count) => Check::ok(NAME, format!("each of {count} keys opens the backups")),
    }
}

fn signing_key(config: &Config) -> Check {
    const NAME: &str = "signing key";
    let Some(path) = &config.signing.secret_key_file else {
        let remedy = "set signing.secretKeyFile where backups are taken";
        return Check::warn(NAME, "none: backups can be read here and not taken", remedy);
    };
    let public = keys::signing_key(&config.signing).and_then(|key| keys::public_part(&key, path));
    let public = match public {
        Ok(public) => public,
        Err(error) => return Check::error(NAME, error),
    };
    let trusted = keys::trusted_keys(&config.signing);
    if !trusted.is_ok_and(|trusted| trusted.keys().contains(&public)) {
        let detail =
            format!("{} is not among the trusted keys: backups signed with it are not believed", public.key_id());
        return Check::fail(NAME, detail, format!("add {} to signing.trustedKeys", public.to_base64()));
    }
    open_to_others(NAME, path).unwrap_or_else(|| Check::ok(NAME, format!("{}, trusted", public.key_id())))
}

fn trusted_keys(config: &Config) -> Check {
    const NAME: &str = "trusted keys";
    match keys::trusted_keys(&config.signing) {
        Err(error) => Check::error(NAME, error),
        Ok(trusted) => {
            let ids: Vec<String> = trusted.keys().iter().map(|key| key.key_id().to_string()).collect();
            Check::ok(NAME, ids.join(", "))
        }
    }
}

fn identity_file(config: &Config, arguments: &IdentityArgs, path: &Path) -> Check {
    const NAME: &str = "identity";
    let parsed: Result<_> = keys::identities(arguments);
    let identities = match parsed {
        Ok(identities) => identities,
        Err(error) => return Check::error(NAME, error),
    };
    let recipients = keys::recipients(&config.encryption);
    let is_used = |own: &String| recipients.as_ref().is_ok_and(|recipients| recipients.as_texts().contains(own));
    let own = identities.recipients();
    if !own.is_empty() && !own.iter().any(is_used) {
        let detail = "new backups are not sealed to it: it opens at most older ones";
        return Check::warn(NAME, detail, format!("add {} to encryption.recipients", own.join(", ")));
    }
    open_to_others(NAME, path)
        .unwrap_or_else(|| Check::ok(NAME, "readable; 'lifeboat key check' proves that it opens a backup"))
}

fn open_to_others(name: &str, path: &Path) -> Option<Check> {
    files::is_open_to_others(path).then(|| {
        let path = path.display();
        Check::warn(name, format!("others can read '{path}'"), format!("chmod 600 '{path}'"))
    })
}
