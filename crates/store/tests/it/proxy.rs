//! A connection to a server that does what it is told to the requests that pass through it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use lifeboat_tests::s3::S3Server;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// It is sent on, and so is its answer.
    Pass,
    /// It is sent on, and the connection breaks when the answer comes.
    LoseAnswer,
    /// Its answer breaks off after that many bytes, head included.
    CutAnswer(usize),
    /// It is not sent on; this is the answer.
    Answer(String),
}

/// An HTTP answer with an S3 error in it.
pub(crate) fn refusal(status: &str, code: &str) -> Act {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said the test</Message></Error>");
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    heads: Arc<Mutex<Vec<String>>>,
    _connections: JoinSet<()>,
}

type Plan = Box<dyn FnMut(&str) -> Act + Send>;

impl Proxy {
    /// A way to the server; `plan` is asked about the head of each request.
    pub(crate) async fn start(server: &S3Server, plan: impl FnMut(&str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        let (port, log) = (server.port(), Arc::clone(&heads));
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (log, plan) = (Arc::clone(&log), Arc::clone(&plan));
                open.spawn(async move {
                    // Connections break: that is what this is for.
                    let _ = pass(client, port, &log, &plan).await;
                });
            }
        });
        Self { endpoint, heads, _connections: connections }
    }

    /// The heads of the requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request; the connection is closed after it.
async fn pass(mut client: TcpStream, port: u16, log: &Mutex<Vec<String>>, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let end = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    log.lock().unwrap().push(head.clone());
    let act = plan.lock().unwrap()(&head);
    if let Act::Answer(answer) = act {
        client.write_all(answer.as_bytes()).await?;
        // Closing with bytes unread would take the answer back.
        return tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(|_| ());
    }
    let line = request.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    request.splice(line..line, *b"connection: close\r\n");
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.write_all(&request).await?;
    let (mut client_read, mut client_write) = client.split();
    let (mut server_read, mut server_write) = server.split();
    let upward = tokio::io::copy(&mut client_read, &mut server_write);
    let downward = async {
        let mut left = if let Act::CutAnswer(after) = act { after } else { usize::MAX };
        let mut chunk = vec![0; 16 << 10];
        loop {
            let n = server_read.read(&mut chunk).await?;
            let interim = chunk[..n].starts_with(b"HTTP/1.1 100");
            if n == 0 || (matches!(act, Act::LoseAnswer) && !interim) {
                return std::io::Result::Ok(());
            }
            client_write.write_all(&chunk[..n.min(left)]).await?;
            left -= n.min(left);
            if left == 0 {
                return Ok(());
            }
        }
    };
    tokio::select! {
        done = downward => done,
        // The client sends no more, and waits for the answer.
        failed = async { upward.await?; std::future::pending::<std::io::Result<()>>().await } => failed,
    }
}

/// A way to the server by TLS.
pub(crate) struct TlsProxy {
    pub(crate) endpoint: String,
    /// The certificate to trust, as PEM.
    pub(crate) certificate: String,
    _connections: JoinSet<()>,
}

impl TlsProxy {
    pub(crate) async fn start(server: &S3Server) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let port = server.port();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { endpoint, certificate: cert.pem(), _connections: connections }
    }
}
