//! Asking a Service through the API server.

use std::fmt;

use percent_encoding::utf8_percent_encode;

use crate::object::SEGMENT;
use crate::refusal::printable;
use crate::request::{Request, Room};
use crate::{Cluster, Error};

/// The most that is read of an answer.
const ANSWER: Room = Room { expected: 4 * 1024, limit: 1024 * 1024 };

/// A port of a Service, to be asked through the API server's proxy.
///
/// Source: <https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePort<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The Service's name.
    pub service: &'a str,
    /// The port's name or number.
    pub port: &'a str,
    /// Whether the endpoint speaks TLS. Its certificate is not checked.
    pub https: bool,
}

impl fmt::Display for ServicePort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}/{} port {}", self.namespace, self.service, self.port)
    }
}

impl ServicePort<'_> {
    /// The proxy's path. One that leads out of the proxy, or a name that is none, would be of something else.
    fn url(&self, path: &str) -> Result<String, Error> {
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_path = path.starts_with('/')
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
            && !path.split(['/', '?']).any(|segment| ["..", "."].contains(&segment) || segment.contains("%2"));
        if ![self.namespace, self.service, self.port].into_iter().all(is_name) || !is_path {
            let message = format!("'{}' cannot be asked for", printable(path));
            return Err(Error::Invalid { object: printable(&self.to_string()), message, causes: Vec::new() });
        }
        let Self { namespace, service, port, https } = self;
        let scheme = if *https { "https" } else { "http" };
        let segment = format!("{scheme}:{service}:{port}");
        let segment = utf8_percent_encode(&segment, SEGMENT);
        Ok(format!("/api/v1/namespaces/{namespace}/services/{segment}/proxy{path}"))
    }
}

impl Cluster {
    /// What `GET` of a path of a Service answers, once: the API server asks one of its endpoints. Whatever is no success
    /// is an error with the server's words. `path` begins with a slash, and may have a query.
    pub async fn get_through_service(&self, service: ServicePort<'_>, path: &str) -> Result<Vec<u8>, Error> {
        let (url, what) = (service.url(path)?, service.to_string());
        let request = Request { accept: "*/*", ..Request::get(&url, &what, "get") };
        Ok(self.send(request, ANSWER).await?.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_proxy_of_its_service() {
        let web = ServicePort { namespace: "shop", service: "web", port: "80", https: false };
        let url = web.url("/healthz?full=1").unwrap();
        assert_eq!(url, "/api/v1/namespaces/shop/services/http%3Aweb%3A80/proxy/healthz?full=1");
        let named = ServicePort { port: "metrics", https: true, ..web };
        assert_eq!(named.url("/").unwrap(), "/api/v1/namespaces/shop/services/https%3Aweb%3Ametrics/proxy/");
        for path in ["", "healthz", "/../../secrets", "/a/..", "/%2e%2e/x", "/a b", "/a\r\nb", "/ä", "/a#b"] {
            assert!(web.url(path).is_err(), "{path}");
        }
        for name in ["", "a/b", "a:b", "..", "a%2Fb"] {
            assert!(ServicePort { service: name, ..web }.url("/").is_err(), "{name}");
            assert!(ServicePort { namespace: name, ..web }.url("/").is_err(), "{name}");
            assert!(ServicePort { port: name, ..web }.url("/").is_err(), "{name}");
        }
    }
}
