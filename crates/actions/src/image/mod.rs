//! Which images are meant, and where they run.

mod hunt;

pub(crate) use hunt::Hunt;

use serde_json::Value;

use crate::fields::{items, text};

/// A reference of an image: `registry.example.com/shop/web:1@sha256:...`, or a digest alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference<'a> {
    repository: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Docker's defaults are filled in: `nginx` is `docker.io/library/nginx`.
    /// Source: <https://github.com/distribution/reference>, `normalize.go`.
    fn parse(text: &'a str) -> Self {
        let text = text.rsplit("://").next().unwrap_or(text);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None if text.starts_with("sha256:") => ("", Some(text)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            // A colon before a slash is that of a port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let repository = match name.split_once('/') {
            None if name.is_empty() => String::new(),
            None => format!("docker.io/library/{name}"),
            Some(("docker.io" | "index.docker.io", rest)) if !rest.contains('/') => {
                format!("docker.io/library/{rest}")
            }
            Some(("index.docker.io", rest)) => format!("docker.io/{rest}"),
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
            Some(_) => format!("docker.io/{name}"),
        };
        Self { repository, tag, digest }
    }

    /// Whether what was found is what is wanted. A digest decides; without one the repository has to be the same, and
    /// the tag, if one is wanted.
    fn is(&self, wanted: &Self) -> bool {
        if wanted.digest.is_some() {
            return self.digest == wanted.digest;
        }
        // By a digest alone, nobody knows which tag it was.
        let tag = self.tag.or(self.digest.is_none().then_some("latest"));
        !wanted.repository.is_empty()
            && self.repository == wanted.repository
            && wanted.tag.is_none_or(|wanted| tag == Some(wanted))
    }
}

/// Whether a text names an image at all.
pub(crate) fn is_image(text: &str) -> bool {
    let Reference { repository, digest, .. } = Reference::parse(text);
    let plain = !text.is_empty() && text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_digest = |digest: &str| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    plain && digest.map_or(!repository.is_empty(), is_digest)
}

/// Whether one image is one of those wanted.
pub(crate) fn is_one_of(found: &str, wanted: &[String]) -> bool {
    let found = Reference::parse(found);
    wanted.iter().any(|wanted| found.is(&Reference::parse(wanted)))
}

/// The images of a pod or a template of one: as they are asked for, and as the kubelet says that they run. What is found
/// at either is found.
pub(crate) fn images_of(pod: &Value) -> Vec<&str> {
    let asked = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    let run = ["/status/initContainerStatuses", "/status/containerStatuses", "/status/ephemeralContainerStatuses"];
    let asked = asked.into_iter().flat_map(|pointer| items(pod, pointer)).map(|container| text(container, "/image"));
    let run = run.into_iter().flat_map(|pointer| items(pod, pointer));
    let run = run.flat_map(|status| [text(status, "/imageID"), text(status, "/image")]);
    asked.chain(run).filter(|image| !image.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_name_tag_and_digest() {
        let aa = format!("sha256:{}", "a".repeat(64));
        let bb = format!("sha256:{}", "b".repeat(64));
        let with = |name: &str| format!("{name}@{aa}");
        for (found, wanted, is) in [
            ("nginx".to_owned(), "docker.io/library/nginx:latest".to_owned(), true),
            ("docker.io/nginx:1".to_owned(), "nginx:1".to_owned(), true),
            ("nginx:1".to_owned(), "nginx".to_owned(), true),
            ("nginx:1".to_owned(), "nginx:2".to_owned(), false),
            ("shop/web:1".to_owned(), "docker.io/shop/web".to_owned(), true),
            ("r.example.com:5000/web:1".to_owned(), "r.example.com:5000/web".to_owned(), true),
            ("r.example.com:5000/web".to_owned(), "r.example.com:5000/web:latest".to_owned(), true),
            ("r.example.com/web:1".to_owned(), "web:1".to_owned(), false),
            (with("docker-pullable://r.example.com/web"), aa.clone(), true),
            (with("r.example.com/web"), with("elsewhere.example.com/web"), true),
            (with("r.example.com/web"), bb, false),
            ("r.example.com/web:1".to_owned(), aa.clone(), false),
            (with("r.example.com/web"), "r.example.com/web".to_owned(), true),
            (with("r.example.com/web"), "r.example.com/web:latest".to_owned(), false),
        ] {
            assert_eq!(is_one_of(&found, std::slice::from_ref(&wanted)), is, "{found} for {wanted}");
        }
        for (text, is) in [
            ("web", true),
            (aa.as_str(), true),
            ("sha256:ab", false),
            ("", false),
            ("a b", false),
            ("w@sha256:", false),
        ] {
            assert_eq!(is_image(text), is, "{text}");
        }
    }
}
