//! Kubeconfig files: JSON, which is YAML too, with the credentials inside so that the file can be moved.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::Credentials;

/// The file for one user of one cluster.
pub(crate) fn kubeconfig(url: &str, ca: &str, user: &str, credentials: &Credentials) -> String {
    let name = "lifeboat";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": STANDARD.encode(ca)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&credentials.certificate),
            "client-key-data": STANDARD.encode(&credentials.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    format!("{config:#}\n")
}

/// A file name for a user's kubeconfig: names such as `system:serviceaccount:a:b` hold characters that paths do not.
pub(crate) fn file_name(user: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
    format!("kubeconfig-{}", user.chars().map(safe).collect::<String>())
}
