//! A small S3 server for the demo and for tests: s3s-fs, which keeps buckets as folders.
//!
//! It accepts Object Lock and ignores it, and it has no versions.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Parser;
use lifeboat_tests::s3::Embedded;
use tokio::net::TcpListener;

/// Serves the folders in a folder as S3 buckets, on 127.0.0.1.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the buckets.
    #[arg(long)]
    root: PathBuf,
    /// The port to listen on.
    #[arg(long)]
    port: u16,
    /// The access key's id.
    #[arg(long)]
    access: String,
    /// The secret access key.
    #[arg(long)]
    secret: String,
    /// A bucket to make.
    #[arg(long)]
    bucket: Option<String>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.root)?;
    let server = Embedded::new(&arguments.root, &arguments.access, &arguments.secret)?;
    if let Some(bucket) = &arguments.bucket {
        server.create_bucket(bucket)?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    server.serve(listener).await;
    Ok(())
}
