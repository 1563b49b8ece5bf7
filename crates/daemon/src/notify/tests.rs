//! Messages to real servers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use lifeboat_model::{BackupId, BackupState, Gap, NamedSchedule, NotifyConfig, parse_yaml};
use lifeboat_recovery::Clock;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{About, Notifier, Patience};
use crate::event::{BackupFacts, DaemonEvent, Missed, Origin, Run};
use crate::metrics::Metrics;

const PATIENCE: Patience = Patience {
    request: Duration::from_secs(20),
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    all: Duration::from_mins(2),
};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-03-04T05:06:07Z".parse().unwrap()
    }

    fn random(&self) -> u64 {
        0
    }
}

/// A request that came.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    line: String,
    authorization: Option<String>,
    body: String,
}

/// A server that remembers what it hears, and answers as it is told; 200 in the end.
struct Server {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Server {
    async fn start(answers: &[u16], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<u16>>()));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sender, answers, tls) = (sender.clone(), Arc::clone(&answers), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &sender, &answers));
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        Self { address, heard }
    }

    async fn hear(&mut self) -> Heard {
        timeout(Duration::from_mins(1), self.heard.recv()).await.unwrap().unwrap()
    }
}

async fn answer(
    request: Request<Incoming>,
    sender: &mpsc::UnboundedSender<Heard>,
    answers: &Mutex<VecDeque<u16>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    sender.send(Heard { line, authorization, body: String::from_utf8(body.to_vec()).unwrap() }).unwrap();
    let status = answers.lock().unwrap().pop_front().unwrap_or(200);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if status == 302 {
        response.headers_mut().insert("location", "http://127.0.0.1:1/".parse().unwrap());
    }
    Ok(response)
}

/// A notifier and what it needs.
struct Bench {
    dir: TempDir,
    config: String,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let (dir, config) = (TempDir::new().unwrap(), String::new());
        Self { dir, config, metrics: Metrics::new("lifeboat 0.1.0"), shutdown: CancellationToken::new() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self) -> Notifier {
        let config: NotifyConfig = parse_yaml("notify.yaml", &self.config).unwrap();
        let about = About { cluster: "prod".to_owned(), tool: "lifeboat 0.1.0".to_owned() };
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let mut notifier = Notifier::start(&config, about, PATIENCE, &clock, &self.metrics, &self.shutdown);
        let text = "name: nightly\nspec: {schedule: '0 3 * * *', heartbeat: pulse}";
        let schedule: NamedSchedule = parse_yaml("schedule.yaml", text).unwrap();
        notifier.observe(&DaemonEvent::Schedules([schedule].into()), Still.now());
        notifier
    }

    /// Waits until so many messages came to an end, and gives the samples of their counter.
    async fn settled(&self, count: usize) -> Vec<String> {
        let all = async {
            loop {
                let text = self.metrics.render();
                let lines = text.lines().filter(|line| line.starts_with("lifeboat_notifications_total{"));
                let lines: Vec<String> = lines.map(str::to_owned).collect();
                let sum: usize =
                    lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum();
                if sum >= count {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_mins(1), all).await.unwrap()
    }
}

fn run() -> Run {
    Run { origin: Origin::Schedule("nightly".to_owned()), due: Still.now() }
}

fn started() -> DaemonEvent {
    DaemonEvent::BackupStarted { run: run(), attempt: 1 }
}

fn finished(gaps: &[Gap]) -> DaemonEvent {
    let state = if gaps.is_empty() { BackupState::Complete } else { BackupState::Partial };
    let backup = BackupFacts {
        id: BackupId::new(Still.now(), 0),
        state,
        sequence: 1,
        started: Still.now(),
        finished: Still.now(),
        stored_bytes: 1,
        objects: 1,
        gaps: gaps.into(),
    };
    DaemonEvent::BackupFinished { run: run(), backup, took: Duration::from_secs(1) }
}

fn failed(attempt: u32, retry: bool) -> DaemonEvent {
    let error = "the store is away: <!channel> & more\nsecond line".to_owned();
    DaemonEvent::BackupFailed { run: run(), attempt, error, retry: retry.then(|| Still.now()) }
}

#[tokio::test]
async fn a_dead_mans_switch_hears_of_each_run() {
    let mut server = Server::start(&[], None).await;
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/ping/0f1e/?create=1\n", server.address));
    bench.config = format!("heartbeats: [{{name: pulse, urlFile: {}, style: healthchecks}}]", file.display());
    let mut notifier = bench.start();
    let gap = Gap { resource: "secrets".to_owned(), reason: "forbidden".to_owned() };
    for event in [started(), failed(1, true), finished(&[]), started(), finished(&[gap]), started(), failed(1, false)] {
        notifier.observe(&event, Still.now());
    }
    for path in ["/start", "/", "/start", "/fail", "/start", "/fail"] {
        let path = if path == "/" { "/ping/0f1e/?create=1".to_owned() } else { format!("/ping/0f1e{path}?create=1") };
        assert_eq!(server.hear().await.line, format!("GET {path}"));
    }
    bench.shutdown.cancel();
    notifier.ended().await;
}

#[tokio::test]
async fn a_plain_switch_hears_of_successes_alone() {
    let mut server = Server::start(&[], None).await;
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/push/abc", server.address));
    bench.config = format!("heartbeats: [{{name: pulse, urlFile: {}}}]", file.display());
    let mut notifier = bench.start();
    for event in [started(), failed(1, false), started(), finished(&[]), finished(&[])] {
        notifier.observe(&event, Still.now());
    }
    assert_eq!(server.hear().await.line, "GET /push/abc");
    assert_eq!(server.hear().await.line, "GET /push/abc");
    bench.settled(2).await;
    assert!(server.heard.try_recv().is_err());
}

#[tokio::test]
async fn failures_are_told_once_and_their_end_too() {
    let mut server = Server::start(&[503, 429], None).await;
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/hook", server.address));
    bench.config = format!("webhooks: [{{name: oncall, urlFile: {}}}]", file.display());
    let mut notifier = bench.start();
    let first = Still.now();
    let later = first + jiff::SignedDuration::from_secs(90);
    for (event, now) in [
        (failed(1, true), first),
        (failed(2, true), first),
        (failed(3, true), first),
        (failed(4, true), first),
        (failed(5, false), first),
        (failed(1, false), first),
        (finished(&[]), later),
        (finished(&[]), later),
    ] {
        notifier.observe(&event, now);
    }
    // Refused twice.
    let told = [server.hear().await, server.hear().await, server.hear().await];
    assert!(told.iter().all(|heard| *heard == told[0]), "{told:?}");
    insta::assert_snapshot!(told[0].line, @"POST /hook");
    insta::assert_snapshot!(told[0].body, @r#"{"version":1,"event":"failure","subject":"backups","cluster":"prod","schedule":"nightly","outcome":"failed","summary":"prod: backups of schedule nightly fail","detail":"the store is away: <!channel> & more second line","at":"2026-03-04T05:06:07Z","tool":"lifeboat 0.1.0"}"#);
    insta::assert_snapshot!(server.hear().await.body, @r#"{"version":1,"event":"recovery","subject":"backups","cluster":"prod","schedule":"nightly","backup":"20260304T050607Z-000000","summary":"prod: backups of schedule nightly work again","detail":"after 90 s","at":"2026-03-04T05:07:37Z","failingSince":"2026-03-04T05:06:07Z","tool":"lifeboat 0.1.0"}"#);
    let counts = bench.settled(2).await;
    assert!(counts.iter().any(|line| line.contains("\"delivered\"") && line.ends_with(" 2")), "{counts:?}");
    assert!(server.heard.try_recv().is_err());
}

#[tokio::test]
async fn slack_is_given_text_that_can_do_nothing() {
    let mut server = Server::start(&[], None).await;
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/services/T0/B0/x", server.address));
    bench.config = format!("webhooks: [{{name: chat, urlFile: {}, format: slack}}]", file.display());
    let mut notifier = bench.start();
    notifier.observe(&failed(1, false), Still.now());
    let gap = Gap { resource: "secrets".to_owned(), reason: "no permission".to_owned() };
    notifier.observe(&finished(&[gap]), Still.now());
    let missed = DaemonEvent::RunMissed {
        schedule: "nightly".to_owned(),
        first: Still.now(),
        last: Still.now(),
        count: 2,
        reason: Missed::Deadline,
    };
    notifier.observe(&missed, Still.now());
    let mut said = String::new();
    for _ in 0..3 {
        writeln!(said, "{}", server.hear().await.body).unwrap();
    }
    insta::assert_snapshot!(said, @r#"
    {"text":"[failure] prod: backups of schedule nightly fail\ndetail: the store is away: &lt;!channel&gt; &amp; more second line"}
    {"text":"[failure] prod: backups of schedule nightly are not complete\nbackup: 20260304T050607Z-000000\ndetail: secrets: no permission"}
    {"text":"[failure] prod: backups of schedule nightly were missed\ndetail: 2 due since 2026-03-04T05:06:07Z: no daemon led before the starting deadline"}
    "#);
}

/// An authority of its own, and a server's certificate by it for 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&issuer_key).unwrap();
    let issuer = rcgen::Issuer::new(params, issuer_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_alone() {
    let (ca, tls) = authority();
    let mut server = Server::start(&[], Some(tls)).await;
    let mut bench = Bench::new();
    let url = bench.file("url", &format!("https://{}/hook", server.address));
    let token = bench.file("token", "s3cr3t-token\n");
    let (ca, other) = (bench.file("ca.crt", &ca), bench.file("other.crt", &authority().0));
    let (url, token, ca, other) = (url.display(), token.display(), ca.display(), other.display());
    bench.config = format!(
        "webhooks:\n- {{name: right, urlFile: {url}, tokenFile: {token}, caFile: {ca}}}\n\
         - {{name: wrong, urlFile: {url}, tokenFile: {token}, caFile: {other}}}\n\
         - {{name: system, urlFile: {url}, tokenFile: {token}}}\n"
    );
    let mut notifier = bench.start();
    notifier.observe(&failed(1, false), Still.now());
    let heard = server.hear().await;
    assert_eq!(heard.authorization.as_deref(), Some("Bearer s3cr3t-token"));
    let counts = bench.settled(1).await;
    assert!(counts.iter().any(|line| line.contains("\"right\"") && line.ends_with(" 1")), "{counts:?}");
    for name in ["wrong", "system"] {
        let target = super::Target {
            name: name.to_owned(),
            url_file: url.to_string().into(),
            token_file: Some(token.to_string().into()),
            ca_file: (name == "wrong").then(|| other.to_string().into()),
        };
        let error =
            super::client::send(&target, &super::Parcel::post("{}".into()), PATIENCE.request).await.unwrap_err();
        let said = lifeboat_recovery::chain(&error);
        assert!(said.contains("certificate"), "{said}");
        assert!(!said.contains("hook") && !said.contains("s3cr3t"), "{said}");
    }
    bench.shutdown.cancel();
    timeout(Duration::from_mins(1), notifier.ended()).await.unwrap();
    assert!(server.heard.try_recv().is_err(), "nobody else got through");
}

#[tokio::test]
async fn what_cannot_be_taken_is_given_up() {
    let mut server = Server::start(&[404, 302, 200], None).await;
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/hook", server.address));
    bench.config = format!("webhooks: [{{name: oncall, urlFile: {}}}]", file.display());
    let mut notifier = bench.start();
    notifier.observe(&failed(1, false), Still.now());
    notifier.observe(&finished(&[]), Still.now());
    notifier.observe(&failed(1, false), Still.now());
    for _ in 0..3 {
        assert_eq!(server.hear().await.line, "POST /hook");
    }
    let counts = bench.settled(3).await;
    assert!(counts.iter().any(|line| line.contains("\"failed\"") && line.ends_with(" 2")), "{counts:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_silent_target() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = Bench::new();
    let file = bench.file("url", &format!("http://{}/hook", silent.local_addr().unwrap()));
    bench.config = format!("webhooks: [{{name: oncall, urlFile: {}}}]", file.display());
    let mut notifier = bench.start();
    for _ in 0..500 {
        notifier.observe(&failed(1, false), Still.now());
        notifier.observe(&finished(&[]), Still.now());
    }
    // One is on its way, or waits with the others; all further ones were dropped.
    let counts = bench.settled(1000 - 65).await;
    assert!(counts.iter().any(|line| line.contains("\"failed\"")), "{counts:?}");
    bench.shutdown.cancel();
    timeout(Duration::from_mins(1), notifier.ended()).await.unwrap();
}
