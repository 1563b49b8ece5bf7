//! How to reach a bucket.

use std::fmt;
use std::time::Duration;

/// A bucket, and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Its name.
    pub bucket: String,
    /// Put before every key; empty for none.
    pub prefix: String,
    /// Its region; otherwise the AWS chain's, or `us-east-1` where an endpoint is given.
    pub region: Option<String>,
    /// The server's address, `https://...` or `http://...`, where it is not AWS's.
    pub endpoint: Option<String>,
    /// Put the bucket into the path rather than into the host's name.
    pub force_path_style: bool,
    /// When uploads carry a checksum.
    pub checksums: Checksums,
    /// How the server encrypts what it stores.
    pub encryption: Option<ServerSideEncryption>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<Vec<u8>>,
    /// Who asks.
    pub credentials: Credentials,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl S3Options {
    /// A bucket at AWS, or at that endpoint, in path style, with the credentials of the AWS chain.
    pub fn new(bucket: impl Into<String>, endpoint: Option<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            force_path_style: endpoint.is_some(),
            endpoint,
            checksums: Checksums::default(),
            encryption: None,
            ca_file: None,
            credentials: Credentials::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// How a server encrypts what it stores, besides that backups are sealed anyway.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// With keys of its own: `AES256`.
    S3,
    /// With a key of a key management service: `aws:kms`.
    Kms {
        /// The key's id or name; the default one where absent.
        key_id: Option<String>,
    },
}

/// When uploads carry a checksum for the server to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Always (CRC32).
    #[default]
    WhenSupported,
    /// Only where the protocol asks for one: for servers that refuse them. TLS and the reading back of what was
    /// written remain; buckets with a default retention need `WhenSupported`.
    WhenRequired,
}

/// Where the credentials come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The AWS chain: environment, profile, web identity, container and instance metadata.
    #[default]
    Chain,
    /// These.
    Static {
        /// The access key's id.
        access_key: String,
        /// The secret access key.
        secret_key: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "Chain",
            Self::Static { .. } => "Static",
        })
    }
}

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to one request, not counting the time that its bytes need.
    pub request: Duration,
    /// The slowest transfer that is waited for, in bytes a second: a request of n bytes has n / slowest more time.
    pub slowest: u64,
    /// For a request and its repetitions together; at least what a single request may take.
    pub total: Duration,
    /// How often a request is sent at most.
    pub attempts: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            slowest: 128 << 10,
            total: Duration::from_mins(3),
            attempts: 5,
        }
    }
}

impl Timeouts {
    /// For one request that carries or moves so many bytes.
    pub(super) fn request_of(&self, bytes: u64) -> Duration {
        self.request + Duration::from_secs(bytes / self.slowest.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let credentials = Credentials::Static { access_key: "AKIA".to_owned(), secret_key: "hunter2".to_owned() };
        let options = S3Options { credentials, ..S3Options::new("b", None) };
        let text = format!("{options:?}");
        assert!(!text.contains("hunter2") && !text.contains("AKIA"), "{text}");
    }

    #[test]
    fn larger_requests_have_more_time() {
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.request_of(0), Duration::from_secs(30));
        assert_eq!(timeouts.request_of(8 << 20), Duration::from_secs(30 + 64));
    }
}
