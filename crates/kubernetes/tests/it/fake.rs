//! A server that answers as the test says, over plain HTTP.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_kubernetes::{Cluster, ConnectOptions, Retry};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole answer: status, further headers with their line ends, body.
    Full(u16, &'static str, String),
    /// An answer that promises a body, sends half of it and hangs up.
    Cut(String),
    /// An answer that promises a body and then falls silent.
    Stall,
    /// Nothing: the connection is closed.
    HangUp,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Full(200, "", body.into())
    }

    /// A failure with a `Status`, as the API server sends it.
    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        let body = format!(
            r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
        );
        Self::Full(code, "", body)
    }
}

/// A request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// What the server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    paths: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    /// The most requests at one time.
    pub(crate) most: AtomicUsize,
    /// The bytes of all bodies sent.
    pub(crate) sent: AtomicUsize,
}

impl Seen {
    /// Path and query of each request.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }
}

/// The server, which ends with this value.
pub(crate) struct Fake {
    pub(crate) cluster: Cluster,
    pub(crate) seen: Arc<Seen>,
    _dir: TempDir,
    _task: JoinSet<()>,
}

/// Patience for faults that pass, on a machine that may be busy.
pub(crate) const QUICK: Retry = Retry {
    min_delay: Duration::from_millis(5),
    max_delay: Duration::from_millis(20),
    budget: Duration::from_secs(20),
};

/// Patience for faults that stay.
pub(crate) const BRIEF: Retry = Retry { budget: Duration::from_millis(500), ..QUICK };

impl Fake {
    /// Answers each request with what `answer` says to its path and query.
    pub(crate) async fn start(answer: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        Self::start_with(QUICK, answer).await
    }

    pub(crate) async fn start_with(retry: Retry, mut answer: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        Self::start_model(retry, move |asked| answer(&asked.path)).await
    }

    /// Answers each request with what `answer` says to all of it.
    pub(crate) async fn start_model(retry: Retry, answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = TempDir::new().unwrap();
        let cluster = Cluster::connect(ConnectOptions {
            kubeconfig: Some(kubeconfig(&dir, port)),
            stall_timeout: Duration::from_millis(500),
            retry,
            ..ConnectOptions::default()
        });
        let seen = Arc::new(Seen::default());
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&seen), Arc::new(Mutex::new(answer))));
        Self { cluster: cluster.await.unwrap(), seen, _dir: dir, _task: task }
    }
}

/// Writes a kubeconfig for a server without TLS.
pub(crate) fn kubeconfig(dir: &TempDir, port: u16) -> PathBuf {
    let path = dir.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: fake\n\
         clusters: [{{name: fake, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
         contexts: [{{name: fake, context: {{cluster: fake, user: nobody}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

type Answer = Arc<Mutex<dyn FnMut(&Asked) -> Reply + Send>>;

async fn serve(listener: TcpListener, seen: Arc<Seen>, answer: Answer) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(converse(stream, Arc::clone(&seen), Arc::clone(&answer)));
    }
}

/// Serves one connection until either side hangs up.
async fn converse(stream: TcpStream, seen: Arc<Seen>, answer: Answer) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let asked = read_request(&mut stream).await?;
        seen.paths.lock().unwrap().push(asked.path.clone());
        let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        // Requests that may overlap shall have the time to.
        tokio::task::yield_now().await;
        let reply = (answer.lock().unwrap())(&asked);
        let open = send(stream.get_mut(), reply, &seen).await;
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        open?;
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    Some(Asked { method: words.next()?, path: words.next()?, body })
}

/// Sends a reply; `None` when the connection is to be closed.
async fn send(stream: &mut TcpStream, reply: Reply, seen: &Seen) -> Option<()> {
    let head = |status: u16, headers: &str, length: usize| {
        let date = "date: Tue, 15 Nov 1994 08:12:31 GMT";
        format!(
            "HTTP/1.1 {status} X\r\n{date}\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    match reply {
        Reply::Full(status, headers, body) => {
            seen.sent.fetch_add(body.len(), Ordering::SeqCst);
            let text = head(status, headers, body.len()) + &body;
            stream.write_all(text.as_bytes()).await.ok()
        }
        Reply::Cut(body) => {
            let text = head(200, "", body.len()) + &body[..body.len() / 2];
            stream.write_all(text.as_bytes()).await.ok()?;
            None
        }
        Reply::Stall => {
            stream.write_all(head(200, "", 1000).as_bytes()).await.ok()?;
            std::future::pending().await
        }
        Reply::HangUp => None,
    }
}

/// What a list request asks for: its `limit`, and its continue token or an empty one.
pub(crate) fn query(path: &str) -> (usize, String) {
    let value = |name: &str| {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or("").to_owned()
    };
    (value("limit").parse().unwrap(), value("continue"))
}

/// A page with the objects from `from` up to `to` of a list of `total`, each with `padding` bytes of ballast.
pub(crate) fn page(from: usize, to: usize, total: usize, padding: usize) -> String {
    let ballast = "x".repeat(padding);
    let items: Vec<_> =
        (from..to).map(|i| format!(r#"{{"metadata":{{"name":"{i:06}"}},"data":"{ballast}"}}"#)).collect();
    let rest = match total - to {
        0 => String::new(),
        rest => format!(r#","continue":"{to}","remainingItemCount":{rest}"#),
    };
    format!(
        r#"{{"kind":"ThingList","apiVersion":"v1","metadata":{{"resourceVersion":"1"{rest}}},"items":[{}]}}"#,
        items.join(",")
    )
}

/// Answers list requests from `total` objects, honouring limit and token.
pub(crate) fn list(path: &str, total: usize, padding: usize) -> Reply {
    let (limit, token) = query(path);
    let from = if token.is_empty() { 0 } else { token.parse().unwrap() };
    Reply::ok(page(from, total.min(from + limit), total, padding))
}
