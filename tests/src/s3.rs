//! S3 servers for tests, each in a folder of its own and gone with the value that holds it.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test whose server does not start has failed")]

use std::fmt::Display;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::types::{ObjectLockConfiguration, ObjectLockEnabled};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lifeboat_controlplane::{Process, ProcessSpec, free_port};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, dto};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use crate::cluster::binaries;

/// How long a server may take to answer.
const READY: Duration = Duration::from_mins(2);
/// How often another port is tried when the first was taken.
const STARTS: u32 = 3;

/// The key of `MinIO`'s built-in key management.
pub const KMS_KEY: &str = "lifeboat-tests";

/// Tells the servers of one test program apart.
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// The servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Kind {
    /// versitygw on a folder: Object Lock, versioning, conditional writes.
    Versitygw,
    /// `MinIO`: another implementation.
    Minio,
    /// s3s-fs within the test program: no Object Lock, no versioning, no list of unfinished uploads.
    Embedded,
    /// The same, but `If-None-Match` is accepted and ignored, as some servers do.
    Careless,
}

/// A running server with an empty bucket.
#[derive(Debug)]
pub struct S3Server {
    /// Which one.
    pub kind: S3Kind,
    /// Its address, `http://127.0.0.1:port`.
    pub endpoint: String,
    /// The access key's id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// A bucket.
    pub bucket: String,
    // Before its folder, so that it ends first.
    running: Running,
    dir: TempDir,
}

/// A port on 127.0.0.1 on which nobody listens.
pub fn unused_port() -> u16 {
    free_port().unwrap_or_else(|e| panic!("{e}"))
}

#[derive(Debug)]
enum Running {
    Process(Process),
    Task(JoinHandle<()>),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}

impl S3Server {
    /// versitygw.
    pub async fn versitygw() -> Self {
        Self::start(S3Kind::Versitygw).await
    }

    /// `MinIO`.
    pub async fn minio() -> Self {
        Self::start(S3Kind::Minio).await
    }

    /// s3s-fs.
    pub async fn embedded() -> Self {
        Self::start(S3Kind::Embedded).await
    }

    /// A server of that kind.
    pub async fn start(kind: S3Kind) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let access_key = format!("access-{}-{number}", process::id());
        let secret_key = format!("secret-{}-{number}", process::id());
        let dir = TempDir::with_prefix("lifeboat-s3-").unwrap_or_else(|e| panic!("a temporary folder: {e}"));
        let mut failure = String::new();
        for _ in 0..STARTS {
            let begun = match kind {
                S3Kind::Embedded => begin_embedded(dir.path(), Embedded::new, &access_key, &secret_key).await,
                S3Kind::Careless => begin_embedded(dir.path(), Embedded::careless, &access_key, &secret_key).await,
                S3Kind::Versitygw | S3Kind::Minio => begin_process(kind, dir.path(), &access_key, &secret_key),
            };
            let (port, running) = begun.unwrap_or_else(|e| panic!("{kind:?} does not start: {e}"));
            let endpoint = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
            let client = client(&endpoint, &access_key, &secret_key);
            let ready = match &running {
                Running::Process(process) => process.wait_ready(READY, || answers(&client)).await,
                Running::Task(_) => Ok(()),
            };
            if let Err(e) = ready {
                failure = e.to_string();
                continue;
            }
            let bucket = "backups".to_owned();
            let server = Self { kind, endpoint, access_key, secret_key, bucket, running, dir };
            server.create_bucket(&server.bucket, false).await;
            return server;
        }
        panic!("{kind:?} does not start: {failure}")
    }

    /// Makes another bucket, with Object Lock on if asked.
    pub async fn create_bucket(&self, name: &str, object_lock: bool) {
        let request =
            self.client().create_bucket().bucket(name).set_object_lock_enabled_for_bucket(object_lock.then_some(true));
        request.send().await.unwrap_or_else(|e| panic!("bucket {name}: {e:?}"));
        if object_lock {
            let lock = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).build();
            let request = self.client().put_object_lock_configuration().bucket(name).object_lock_configuration(lock);
            request.send().await.unwrap_or_else(|e| panic!("object lock of {name}: {e:?}"));
        }
    }

    /// Makes a user who may not touch any bucket: versitygw only. Gives the access key's id and the secret access key.
    pub fn add_user(&self, name: &str) -> (String, String) {
        let secret = format!("secret-of-{name}");
        let program = binaries().find("versitygw").unwrap_or_else(|e| panic!("{e}"));
        let created = Command::new(program)
            .args(["admin", "--access", &self.access_key, "--secret", &self.secret_key])
            .args(["--endpoint-url", &self.endpoint, "create-user", "--access", name, "--secret", &secret])
            .args(["--role", "user"])
            .output()
            .unwrap_or_else(|e| panic!("versitygw: {e}"));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        (name.to_owned(), secret)
    }

    /// A client that is let in.
    pub fn client(&self) -> Client {
        client(&self.endpoint, &self.access_key, &self.secret_key)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// Where the server keeps its data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the server.
    pub async fn kill(&self) {
        match &self.running {
            Running::Process(process) => process.kill().await,
            Running::Task(task) => task.abort(),
        }
    }
}

async fn answers(client: &Client) -> Result<(), impl Display> {
    client.list_buckets().send().await.map(|_| ()).map_err(DisplayErrorContext)
}

fn client(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"));
    Client::from_conf(config.build())
}

fn begin_process(kind: S3Kind, dir: &Path, access_key: &str, secret_key: &str) -> io::Result<(u16, Running)> {
    let name = if kind == S3Kind::Minio { "minio" } else { "versitygw" };
    let program = binaries().find(name).map_err(io::Error::other)?;
    let port = free_port().map_err(io::Error::other)?;
    let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
    let [root, versions, users] = ["root", "versions", "users"].map(|name| dir.join(name));
    for folder in [&root, &versions, &users] {
        std::fs::create_dir_all(folder)?;
    }
    let spec = ProcessSpec::new(name, program, dir.join("log"));
    let spec = if kind == S3Kind::Minio {
        spec.env("MINIO_ROOT_USER", access_key)
            .env("MINIO_ROOT_PASSWORD", secret_key)
            // A key to encrypt with where it is asked for.
            .env("MINIO_KMS_SECRET_KEY", format!("{KMS_KEY}:{}", "A".repeat(43) + "="))
            .env("HOME", dir)
            .args(["server", "--quiet", "--address"])
            .arg(address)
            .arg(root)
    } else {
        spec.args(["--port", &address, "--access", access_key, "--secret", secret_key, "--quiet", "--keep-alive"])
            .arg("--iam-dir")
            .arg(users)
            .args(["posix", "--versioning-dir"])
            .arg(versions)
            .arg(root)
    };
    let process = Process::spawn(&spec).map_err(io::Error::other)?;
    Ok((port, Running::Process(process)))
}

async fn begin_embedded(
    dir: &Path,
    make: impl Fn(&Path, &str, &str) -> io::Result<Embedded>,
    access_key: &str,
    secret_key: &str,
) -> io::Result<(u16, Running)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let root = dir.join("root");
    std::fs::create_dir_all(&root)?;
    let server = make(&root, access_key, secret_key)?;
    let task = tokio::spawn(async move { server.serve(listener).await });
    Ok((port, Running::Task(task)))
}

/// s3s-fs behind a listener.
#[derive(Debug)]
pub struct Embedded {
    root: PathBuf,
    service: S3Service,
}

impl Embedded {
    /// A server of the buckets, which are folders, in `root`.
    pub fn new(root: &Path, access_key: &str, secret_key: &str) -> io::Result<Self> {
        let builder = S3ServiceBuilder::new(files(root)?);
        Ok(Self::with(builder, root, access_key, secret_key))
    }

    /// The same, ignoring `If-None-Match`.
    pub fn careless(root: &Path, access_key: &str, secret_key: &str) -> io::Result<Self> {
        let builder = S3ServiceBuilder::new(Careless(files(root)?));
        Ok(Self::with(builder, root, access_key, secret_key))
    }

    fn with(mut builder: S3ServiceBuilder, root: &Path, access_key: &str, secret_key: &str) -> Self {
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Self { root: root.to_owned(), service: builder.build() }
    }

    /// Makes a bucket if it is not there.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(name))
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        // The server looks whether an object exists and writes it later: only one conditional write at a time.
        let conditional = Arc::new(Mutex::new(()));
        let mut connections = JoinSet::new();
        loop {
            // A connection that failed to be accepted is the client's loss.
            let Ok((socket, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            let (service, conditional) = (self.service.clone(), Arc::clone(&conditional));
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (service, conditional) = (service.clone(), Arc::clone(&conditional));
                async move {
                    let write = request.method() != hyper::Method::GET && request.method() != hyper::Method::HEAD;
                    let _alone = if write && request.headers().contains_key("if-none-match") {
                        Some(conditional.lock().await)
                    } else {
                        None
                    };
                    hyper::service::Service::call(&service, request).await
                }
            });
            connections.spawn(async move {
                // Without it, small answers wait for the client's delayed acknowledgements.
                let _ = socket.set_nodelay(true);
                // A connection that breaks is the client's affair.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
            });
        }
    }
}

fn files(root: &Path) -> io::Result<FileSystem> {
    FileSystem::new(root).map_err(|e| io::Error::other(format!("{e:?}")))
}

/// Writes whether the object exists or not.
#[derive(Debug)]
struct Careless(FileSystem);

/// Hands requests on: the first ones without their condition, the others as they are.
macro_rules! hand_on {
    (
        careless: $($careless:ident($careless_input:ty) -> $careless_output:ty),+;
        others: $($method:ident($input:ty) -> $output:ty),+;
    ) => {
        #[async_trait]
        impl S3 for Careless {
            $(async fn $careless(
                &self,
                mut request: S3Request<$careless_input>,
            ) -> S3Result<S3Response<$careless_output>> {
                request.input.if_none_match = None;
                self.0.$careless(request).await
            })+

            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.0.$method(request).await
            })+
        }
    };
}

hand_on! {
    careless:
        put_object(dto::PutObjectInput) -> dto::PutObjectOutput,
        complete_multipart_upload(dto::CompleteMultipartUploadInput) -> dto::CompleteMultipartUploadOutput;
    others:
        abort_multipart_upload(dto::AbortMultipartUploadInput) -> dto::AbortMultipartUploadOutput,
        create_bucket(dto::CreateBucketInput) -> dto::CreateBucketOutput,
        create_multipart_upload(dto::CreateMultipartUploadInput) -> dto::CreateMultipartUploadOutput,
        delete_object(dto::DeleteObjectInput) -> dto::DeleteObjectOutput,
        get_object(dto::GetObjectInput) -> dto::GetObjectOutput,
        list_objects_v2(dto::ListObjectsV2Input) -> dto::ListObjectsV2Output,
        upload_part(dto::UploadPartInput) -> dto::UploadPartOutput;
}
