//! The identity that an object names: a key of a Secret beside it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use lifeboat_archive::Identities;
use lifeboat_model::IdentityRef;
use lifeboat_recovery::chain;

use super::driver::Failure;

/// The identity, or why there is none, in words for a status; a word of the Secret is never in them.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    wanted: &IdentityRef,
) -> Result<Result<Arc<Identities>, String>, Failure> {
    let IdentityRef { secret_name: name, key } = wanted;
    let secret = match Api::<Secret>::namespaced(client.clone(), namespace).get(name).await {
        Ok(secret) => secret,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return Ok(Err(format!("there is no Secret '{name}' in namespace '{namespace}'")));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Ok(Err(format!("the daemon may not read Secret '{name}'")));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Ok(Err(format!("Secret '{name}' has no key '{key}'")));
    };
    Ok(parse(&bytes.0).map_err(|problem| format!("key '{key}' of Secret '{name}' {problem}")))
}

fn parse(bytes: &[u8]) -> Result<Arc<Identities>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no text".to_owned())?;
    let identities = Identities::parse(text).map_err(|error| format!("is no age identity: {}", chain(&error)))?;
    Ok(Arc::new(identities))
}
