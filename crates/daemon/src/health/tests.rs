//! What is served, to clients of all kinds.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{CONNECTIONS, HEADER, Health, serve};
use crate::event::{CatalogFacts, DaemonEvent, Leadership};
use crate::metrics::Metrics;

struct Served {
    address: std::net::SocketAddr,
    health: Health,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, Metrics::new("lifeboat 0.1.0"), health.clone(), shutdown.clone()));
        Self { address, health, shutdown, task }
    }

    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(&format!("GET {path} HTTP/1.1")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn readiness_has_reasons() {
    let served = Served::start().await;
    assert_eq!(served.get("/livez").await, (200, "ok\n".to_owned()));
    let (status, reasons) = served.get("/readyz").await;
    assert_eq!((status, reasons.as_str()), (503, "[-]leadership: not known yet who leads\n[-]store: not read yet\n"));

    served.health.observe(&DaemonEvent::Leading(Leadership::Follower));
    served.health.observe(&DaemonEvent::Catalog(Arc::new(CatalogFacts::default())));
    assert_eq!(served.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(served.get("/readyz?verbose").await, (200, "[+]leadership ok\n[+]store ok\nok\n".to_owned()));

    served.health.observe(&DaemonEvent::StoreFailed { error: "no\nbucket".to_owned() });
    let (status, reasons) = served.get("/readyz?verbose").await;
    assert_eq!((status, reasons.as_str()), (503, "[+]leadership ok\n[-]store: no bucket\n"));
    assert_eq!(served.get("/livez?verbose").await, (200, "[+]loop ok\nok\n".to_owned()));

    let (status, metrics) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        metrics.contains("lifeboat_build_info{version=\"0.1.0\"} 1\n") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert_eq!(served.get("/").await.0, 404);
    assert!(served.ask("POST /metrics HTTP/1.1").await.starts_with("HTTP/1.1 405"));

    served.shutdown.cancel();
    timeout(Duration::from_mins(1), served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    // Refused with an answer, or cut off while it is still being sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(served.get("/livez").await.0, 200);
}

/// The clock is real here: paused time would run away from sockets.
#[tokio::test]
async fn slow_clients_do_not_shut_others_out() {
    let served = Served::start().await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    // All places are taken, until those who do not say what they want are sent away.
    let answered = timeout(HEADER * 12, served.get("/livez")).await.unwrap();
    assert_eq!(answered.0, 200);
    served.shutdown.cancel();
    timeout(Duration::from_mins(1), served.task).await.unwrap().unwrap();
}
