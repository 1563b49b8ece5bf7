use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::files::{at, private_dir, write_private};
use crate::{Error, Result};

/// The user that the control plane's own parts and its owner act as.
pub(crate) const ADMIN: (&str, &str) = ("lifeboat-admin", "system:masters");

/// Names under which the servers are reached: from outside by loopback, by webhooks and aggregated API servers by the
/// name of the service.
const SERVER_NAMES: [&str; 5] =
    ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// The certificates and keys of a control plane: one authority for etcd and the API server, a second one for the
/// front proxy (API aggregation), and the key that signs ServiceAccount tokens.
///
/// They live in a folder that only its owner may enter and are used again when the control plane starts again there.
/// The certificates do not expire: the folder is as throwaway as the control plane.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    ca: Issuer<'static, KeyPair>,
}

/// A certificate and its key as PEM, in memory only.
pub(crate) struct Credentials {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pki {
    /// Reads the certificates in `dir`, or makes them.
    pub fn open_or_create(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        private_dir(&dir)?;
        let ca = authority(&dir, "ca")?;
        let front_proxy_ca = authority(&dir, "front-proxy-ca")?;
        let pki = Self { dir, ca };
        pki.ensure(&pki.ca, "etcd-server", &server("lifeboat-etcd")?)?;
        pki.ensure(&pki.ca, "etcd-client", &client("lifeboat-etcd-client", &[])?)?;
        pki.ensure(&pki.ca, "server", &server("lifeboat-controlplane")?)?;
        pki.ensure(&pki.ca, "admin", &client(ADMIN.0, &[ADMIN.1])?)?;
        pki.ensure(&front_proxy_ca, "front-proxy-client", &client("front-proxy-client", &[])?)?;
        if !pki.key("service-account").exists() {
            let key = generate("service-account")?;
            write_private(&pki.path("service-account.pub"), key.public_key_pem().as_bytes())?;
            write_private(&pki.key("service-account"), key.serialize_pem().as_bytes())?;
        }
        Ok(pki)
    }

    /// The certificate of the authority that signed all others.
    pub fn ca(&self) -> PathBuf {
        self.certificate("ca")
    }

    /// The certificate and key of an etcd client.
    pub fn etcd_client(&self) -> (PathBuf, PathBuf) {
        (self.certificate("etcd-client"), self.key("etcd-client"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.crt"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.key"))
    }

    /// The PEM text of one of the files.
    pub(crate) fn read(path: &Path) -> Result<String> {
        fs::read_to_string(path).map_err(at("reading", path))
    }

    /// A new client certificate: to the API server the common name is the user, the organisations its groups.
    pub(crate) fn issue(&self, user: &str, groups: &[&str]) -> Result<Credentials> {
        sign(&self.ca, user, &client(user, groups)?)
    }

    fn ensure(&self, issuer: &Issuer<'static, KeyPair>, name: &str, params: &CertificateParams) -> Result<()> {
        if self.key(name).exists() {
            return Ok(());
        }
        let made = sign(issuer, name, params)?;
        write_private(&self.certificate(name), made.certificate.as_bytes())?;
        // Last, since its presence says that both are there.
        write_private(&self.key(name), made.key.as_bytes())
    }
}

fn failed(name: &str) -> impl FnOnce(rcgen::Error) -> Error {
    move |source| Error::Certificate { name: name.to_owned(), source }
}

fn generate(name: &str) -> Result<KeyPair> {
    KeyPair::generate().map_err(failed(name))
}

/// An authority; one read back gets the parameters that it was made with, so it need not be parsed.
fn authority(dir: &Path, name: &str) -> Result<Issuer<'static, KeyPair>> {
    let (certificate_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    let mut params = params(&format!("lifeboat-{name}"), &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    if key_path.exists() {
        let key = KeyPair::from_pem(&Pki::read(&key_path)?).map_err(failed(name))?;
        return Ok(Issuer::new(params, key));
    }
    let key = generate(name)?;
    let certificate = params.self_signed(&key).map_err(failed(name))?;
    write_private(&certificate_path, certificate.pem().as_bytes())?;
    write_private(&key_path, key.serialize_pem().as_bytes())?;
    Ok(Issuer::new(params, key))
}

fn sign(issuer: &Issuer<'static, KeyPair>, name: &str, params: &CertificateParams) -> Result<Credentials> {
    let key = generate(name)?;
    let certificate = params.signed_by(&key, issuer).map_err(failed(name))?;
    Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(failed(common_name))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// A server's certificate, usable by a client too: etcd members are both to one another.
fn server(common_name: &str) -> Result<CertificateParams> {
    let mut params = params(common_name, &SERVER_NAMES)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn client(user: &str, groups: &[&str]) -> Result<CertificateParams> {
    let mut params = params(user, &[])?;
    // rcgen's names hold one value a type. The number of O (2.5.4.10, X.520) counts as a type of its own beside
    // OrganizationName, which makes room for two.
    let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    if groups.len() > types.len() {
        return Err(Error::Invalid(format!(
            "a certificate for '{user}' can carry {} groups, not {}",
            types.len(),
            groups.len()
        )));
    }
    for (kind, group) in types.into_iter().zip(groups) {
        params.distinguished_name.push(kind, *group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
