//! The API server: its arguments and when it counts as ready.

use std::time::Duration;

use serde_json::json;

use crate::builder::Options;
use crate::client::Client;
use crate::files::write_private;
use crate::pki::Pki;
use crate::{Process, ProcessSpec, Result};

/// How long requests in flight may take to end.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Starts the API server's process.
pub(crate) fn spawn(options: &Options, pki: &Pki, port: u16, etcd: &[String]) -> Result<Process> {
    let (etcd_cert, etcd_key) = pki.etcd_client();
    let mut spec = options
        .process("kube-apiserver", "kube-apiserver")?
        .flag("etcd-servers", etcd.join(","))
        .flag("etcd-cafile", pki.ca())
        .flag("etcd-certfile", etcd_cert)
        .flag("etcd-keyfile", etcd_key)
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=127.0.0.1")
        .flag("secure-port", port.to_string())
        // Endpoints refuse loopback addresses; and in a restored copy those of the real cluster stay as they were.
        .arg("--endpoint-reconciler-type=none")
        .flag("tls-cert-file", pki.certificate("server"))
        .flag("tls-private-key-file", pki.key("server"))
        .flag("client-ca-file", pki.ca())
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg("--allow-privileged=true")
        .flag("service-cluster-ip-range", &options.service_cidr)
        .flag("service-account-issuer", ISSUER)
        .flag("service-account-key-file", pki.path("service-account.pub"))
        .flag("service-account-signing-key-file", pki.key("service-account"));
    spec = spec
        .flag("requestheader-client-ca-file", pki.certificate("front-proxy-ca"))
        .arg("--requestheader-allowed-names=front-proxy-client")
        .arg("--requestheader-username-headers=X-Remote-User")
        .arg("--requestheader-group-headers=X-Remote-Group")
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        .flag("proxy-client-cert-file", pki.certificate("front-proxy-client"))
        .flag("proxy-client-key-file", pki.key("front-proxy-client"));
    if options.isolated {
        spec = isolate(spec, options)?;
    }
    if let Some(config) = &options.encryption_config {
        spec = spec.flag("encryption-provider-config", config);
    }
    Process::spawn(&spec.args(&options.api_server_args))
}

/// Sends every connection but those to etcd to a proxy that does not exist, and leaves out the admission plugins that
/// ask webhooks and policies.
///
/// Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/setup-konnectivity/>; `controlplane` covers webhooks
/// given by URL, `cluster` those given by service, aggregated API servers, nodes, pods and services.
fn isolate(spec: ProcessSpec, options: &Options) -> Result<ProcessSpec> {
    let nowhere = json!({
        "proxyProtocol": "HTTPConnect",
        "transport": {"uds": {"udsName": options.dir.join("there-is-no-proxy.sock")}},
    });
    let config = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [
            {"name": "controlplane", "connection": nowhere},
            {"name": "cluster", "connection": nowhere},
            {"name": "etcd", "connection": {"proxyProtocol": "Direct"}},
        ],
    });
    let path = options.dir.join("egress.json");
    write_private(&path, config.to_string().as_bytes())?;
    Ok(spec.flag("egress-selector-config-file", path).flag(
        "disable-admission-plugins",
        "MutatingAdmissionWebhook,ValidatingAdmissionWebhook,MutatingAdmissionPolicy,ValidatingAdmissionPolicy",
    ))
}

/// Waits until the server says that it is ready, and has made the first namespace: it does that on the side.
pub(crate) async fn wait_ready(process: &Process, client: &Client, deadline: Duration) -> Result<()> {
    let ready = || async {
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            let answer = client.get(path).await?;
            if answer.status != 200 || path == "/readyz" && answer.body != "ok" {
                return Err(client.error(path, format!("status {}: {}", answer.status, answer.body)));
            }
        }
        Ok(())
    };
    process.wait_ready(deadline, ready).await
}
