//! Kubeconfigs and credentials: loading them, and reporting what is wrong with them without giving them away.

use kube::client::{AuthError, Client};
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::task::spawn_blocking;

use crate::refusal::printable;
use crate::{ConnectOptions, Error};

/// Loads what the options name.
pub(crate) async fn load(options: &ConnectOptions) -> Result<Config, Error> {
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &options.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(refused)?;
        return Config::from_custom_kubeconfig(kubeconfig, &choice).await.map_err(refused);
    }
    match Config::from_kubeconfig(&choice).await {
        // Only a file that is not there leads into the pod: one that is wrong is the user's to correct.
        Err(error) if options.in_cluster && options.context.is_none() && not_found(&error) => {
            tracing::debug!("no kubeconfig, using the pod's service account");
            Config::incluster().map_err(|source| Error::Config(source.into()))
        }
        other => other.map_err(refused),
    }
}

/// Makes a client, which runs the kubeconfig's credential command, if it has one.
pub(crate) async fn client(config: Config) -> Result<Client, Error> {
    let client = spawn_blocking(|| Client::try_from(config)).await.map_err(|source| Error::Config(source.into()))?;
    client.map_err(|error| match error {
        kube::Error::Auth(error) => Error::Unauthorized { message: describe(&error) },
        error => Error::Config(error.into()),
    })
}

/// What failed when credentials were to be obtained. A credential command's output may hold them, and so may its
/// arguments and environment; its complaints are for people.
pub(crate) fn describe(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let complaint = printable(String::from_utf8_lossy(&out.stderr).trim());
            format!("the credential command ended with {}: {complaint}", out.status)
        }
        AuthError::AuthExecParse(_) => "the credential command's output is not an ExecCredential".to_owned(),
        error => error.to_string(),
    }
}

fn refused(error: KubeconfigError) -> Error {
    let KubeconfigError::Parse(error) = error else { return Error::Config(error.into()) };
    // The parser's own words quote the lines around the error, and they may hold keys and tokens.
    let place =
        error.location().map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
    Error::Config(format!("the kubeconfig is not valid{place}").into())
}

fn not_found(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(source, _) => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}
