//! Senders of all kinds, and kills.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lifeboat_playbook::{Registry, add_builtin, load};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_mins(3);

struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Starts nothing, and notes what it was asked for.
#[derive(Default)]
struct Noted {
    keys: Mutex<Vec<(Digest, Timestamp, String)>>,
    /// Nothing ends while this is set.
    stuck: AtomicBool,
    failures: AtomicU64,
}

#[async_trait]
impl Starter for Noted {
    async fn start(&self, start: Start<'_>, _: &CancellationToken) -> Result<String, StartError> {
        let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(StartError::Transient("not yet".to_owned()));
        }
        let pod = start.inputs["pod"].as_str().unwrap().to_owned();
        self.keys.lock().unwrap().push((start.key, start.received, pod));
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok("done".to_owned())
    }
}

impl Noted {
    fn pods(&self) -> Vec<String> {
        let mut pods: Vec<String> = self.keys.lock().unwrap().iter().map(|(.., pod)| pod.clone()).collect();
        pods.sort();
        pods
    }

    async fn has(&self, count: usize) {
        let all = async {
            while self.keys.lock().unwrap().len() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{:?}", self.pods()));
    }
}

fn playbooks() -> Vec<Playbook> {
    let mut registry = Registry::new();
    add_builtin(&mut registry).unwrap();
    let text = "apiVersion: lifeboat.dev/v1alpha1\nkind: Playbook\nmetadata: {name: shell}\nspec:\n  description: A test.\n  \
        inputs: {pod: {type: string, required: true}}\n  triggers:\n    - name: t\n      source: falco\n      \
        when: event.rule == 'Terminal shell in container'\n      inputs: {pod: \"${{ event.target.pod }}\"}\n  \
        steps:\n    - {id: r, uses: report}\n";
    vec![load("shell", text, &registry, &BTreeMap::new()).unwrap()]
}

fn alert(number: usize) -> String {
    json!({
        "uuid": format!("uuid-{number}"), "rule": "Terminal shell in container", "priority": "Notice", "output": "x",
        "output_fields": {"k8s.ns.name": "shop", "k8s.pod.name": format!("web-{number}")},
    })
    .to_string()
}

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), AlertsError>>,
}

impl Running {
    async fn start(folder: &Path, document: Value, starter: &Arc<Noted>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let options = AlertsOptions {
            document: serde_json::from_value(document).unwrap(),
            listener,
            folder: folder.join("alerts"),
            playbooks: playbooks(),
            starter: Some(Arc::clone(starter) as Arc<dyn Starter>),
            clock: Arc::new(Ticking(AtomicU64::new(fastrand::u64(..)))),
        };
        Self { address, task: tokio::spawn(receive(options, shutdown.clone())), shutdown }
    }

    async fn send(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        send(&mut stream, head, body).await
    }

    /// Sends to the receiver `a`.
    async fn post(&self, headers: &str, body: &str) -> u16 {
        self.send(&format!("POST /alerts/a HTTP/1.1\r\n{headers}"), body.as_bytes()).await.0
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Waits until nothing waits any more.
async fn idle(folder: &Path) {
    let waiting = folder.join("alerts/waiting");
    let done = async {
        while std::fs::read_dir(&waiting).unwrap().count() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, done).await.unwrap();
}

async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str, body: &[u8]) -> (u16, String) {
    let head = format!("{head}Host: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whoever is refused may not be listened to any more.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), answer)
}

fn open(mode: &str) -> Value {
    json!({"receivers": [
        {"name": "a", "source": "falco", "authentication": {"none": {"insecure": true}}, "mode": mode},
    ]})
}

fn with(authentication: Value) -> Value {
    json!({"receivers": [{"name": "a", "source": "falco", "authentication": authentication, "mode": "run"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_proves_it_is_taken_from() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let basic = |pair: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let sign = |secret: &str, body: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("X-Signature: sha256={digits}\r\n")
    };
    let body = alert(1);
    let cases = [
        (
            json!({"bearer": {"tokenFile": secret}}),
            "Authorization: Bearer s3cret\r\n".to_owned(),
            vec![
                String::new(),
                "Authorization: Bearer s3cre\r\n".to_owned(),
                "Authorization: Bearer s3cret2\r\n".to_owned(),
                "Authorization: Bearer \r\n".to_owned(),
                basic("x:s3cret"),
                "Authorization: Bearer s3cret\r\nAuthorization: Bearer other\r\n".to_owned(),
            ],
        ),
        (
            json!({"basic": {"user": "falco", "passwordFile": secret}}),
            basic("falco:s3cret"),
            vec![String::new(), basic("falco:other"), basic("other:s3cret"), "Authorization: Basic !\r\n".to_owned()],
        ),
        (
            json!({"signature": {"header": "x-signature", "secretFile": secret}}),
            sign("s3cret", &body),
            vec![String::new(), sign("other", &body), sign("s3cret", "another body"), "X-Signature: 00\r\n".to_owned()],
        ),
    ];
    for (place, (authentication, good, bad)) in cases.into_iter().enumerate() {
        let starter = Arc::new(Noted::default());
        let running =
            Running::start(&folder.path().join(place.to_string()), with(authentication.clone()), &starter).await;
        for headers in bad {
            assert_eq!(running.post(&headers, &body).await, 401, "{authentication}: {headers}");
        }
        assert_eq!(running.post(&good, &body).await, 200, "{authentication}");
        starter.has(1).await;
        // The secret is another one now; and an empty one opens nothing.
        std::fs::write(&secret, "").unwrap();
        assert_eq!(running.post(&good, &body).await, 401, "{authentication}");
        assert_eq!(running.post("Authorization: Bearer \r\n", &body).await, 401, "{authentication}");
        std::fs::write(&secret, "s3cret\n").unwrap();
        running.stop().await;
        assert_eq!(starter.pods(), ["web-1"]);
    }
}

#[tokio::test]
async fn what_is_open_by_mistake_does_not_start() {
    let address = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    let faults = |document: Value, at: &str| {
        serde_json::from_value::<ReceiversDocument>(document).unwrap().faults(address(at)).join("; ")
    };
    assert_eq!(faults(open("run"), "127.0.0.1"), "");
    assert!(faults(open("run"), "0.0.0.0").contains("loopback address only"));
    let careful = with(json!({"none": {"insecure": false}}));
    assert!(faults(careful, "127.0.0.1").contains("insecure: true"));
    let bearer = with(json!({"bearer": {"tokenFile": "x"}}));
    assert!(faults(bearer.clone(), "10.0.0.1").contains("readable on the wire"));
    assert_eq!(faults(bearer, "127.0.0.1"), "");
    assert!(faults(with(json!({"certificate": {}})), "127.0.0.1").contains("clientCaFile"));
    assert!(faults(json!({"receivers": []}), "127.0.0.1").contains("no receiver"));
    for wrong in [json!({"receivers": [{"name": "a", "source": "falco"}]}), with(json!({"beerer": {}}))] {
        serde_json::from_value::<ReceiversDocument>(wrong).unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_alert_or_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let starter = Arc::new(Noted::default());
    let mut document = open("run");
    document["receivers"][0]["perSecond"] = 1_000.into();
    let mut slow = document["receivers"][0].clone();
    (slow["name"], slow["perSecond"]) = ("slow".into(), 1.into());
    document["receivers"].as_array_mut().unwrap().push(slow);
    let running = Running::start(folder.path(), document, &starter).await;
    assert_eq!(running.post("", "{").await, 400);
    assert_eq!(running.post("", r#"{"rule": 1}"#).await, 400);
    assert_eq!(running.post("Content-Encoding: gzip\r\n", &alert(1)).await, 415);
    assert_eq!(running.send("POST /alerts/b HTTP/1.1\r\n", b"{}").await.0, 404);
    assert_eq!(running.send("GET /alerts/a HTTP/1.1\r\n", b"").await.0, 405);
    let large = vec![b' '; lifeboat_playbook::MAX_ALERT_BYTES + 1];
    let status = running.send("POST /alerts/a HTTP/1.1\r\n", &large).await.0;
    assert!(status == 413 || status == 0, "{status}: it may be cut off before it reads the answer");
    // Of two requests one after the other at least one is in the same second as another, unless the machine is very slow.
    let mut refused = String::new();
    for _ in 0..200 {
        let (status, answer) = running.send("POST /alerts/slow HTTP/1.1\r\n", alert(2).as_bytes()).await;
        if status == 429 {
            refused = answer;
            break;
        }
    }
    assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    // Those who never finish keep nobody else out.
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"POST /alerts/a HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(running.post("", &alert(3)).await, 200);
    idle(folder.path()).await;
    running.stop().await;
    assert!(starter.pods().contains(&"web-3".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_done_once_however_often_it_is_sent_and_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(Noted::default());
    first.stuck.store(true, Ordering::SeqCst);
    let running = Running::start(folder.path(), open("run"), &first).await;
    for number in 0..20 {
        assert_eq!(running.post("", &alert(number)).await, 200);
    }
    first.has(8).await;
    // None of them has ended.
    running.stop().await;

    let second = Arc::new(Noted::default());
    let running = Running::start(folder.path(), open("run"), &second).await;
    second.has(20).await;
    // Who was started before is started with the same key and time: it is the same run.
    for begun in first.keys.lock().unwrap().iter() {
        assert!(second.keys.lock().unwrap().contains(begun), "{begun:?}");
    }
    for number in 0..20 {
        assert_eq!(running.post("", &alert(number)).await, 200, "sent again");
    }
    assert_eq!(running.post("", &alert(20)).await, 200);
    second.has(21).await;
    idle(folder.path()).await;
    running.stop().await;

    let third = Arc::new(Noted::default());
    let running = Running::start(folder.path(), open("run"), &third).await;
    assert_eq!(running.post("", &alert(7)).await, 200, "remembered after a start too");
    assert_eq!(running.post("", &alert(21)).await, 200);
    third.has(1).await;
    idle(folder.path()).await;
    running.stop().await;
    assert_eq!(third.pods(), ["web-21"]);
    let mut expected: Vec<String> = (0..21).map(|number| format!("web-{number}")).collect();
    expected.sort();
    assert_eq!(second.pods(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_might_work_later_is_tried_again_and_what_is_observed_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let starter = Arc::new(Noted::default());
    starter.failures.store(2, Ordering::SeqCst);
    let running = Running::start(&folder.path().join("a"), open("run"), &starter).await;
    assert_eq!(running.post("", &alert(1)).await, 200);
    starter.has(1).await;
    running.stop().await;

    let starter = Arc::new(Noted::default());
    let at = folder.path().join("b");
    let running = Running::start(&at, open("observe"), &starter).await;
    assert_eq!(running.post("", &alert(1)).await, 200);
    idle(&at).await;
    running.stop().await;
    assert_eq!(starter.pods(), Vec::<String>::new());
}

#[test]
fn a_spool_is_bounded_and_forgets_what_was_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path()).unwrap();
    let accepted = spool::Accepted {
        receiver: "a".to_owned(),
        received: Timestamp::UNIX_EPOCH,
        headers: vec![("ce-id".to_owned(), "1".to_owned())],
        body: "{}".to_owned(),
    };
    let names: Vec<_> = (0..3).map(|number| spool.put(&accepted, number).unwrap()).collect();
    assert!(spool.put(&accepted, 0).is_err(), "nothing is written over");
    assert_eq!(spool.read(&names[1]).unwrap(), accepted);
    std::fs::write(folder.path().join("x.part"), "half").unwrap();
    let (spool, waiting) = Spool::open(folder.path()).unwrap();
    assert_eq!(waiting, names);
    assert!(!folder.path().join("x.part").exists());
    for name in &waiting {
        spool.remove(name).unwrap();
    }
    assert!(spool.has_room());
    for number in 0..10_000 {
        std::fs::write(folder.path().join(format!("{number}.json")), "").unwrap();
    }
    assert!(!Spool::open(folder.path()).unwrap().0.has_room());
}

/// An authority with a certificate for localhost and one of a client, as files.
fn certificates(folder: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}-ca.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for of in ["localhost", "client"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![of.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}-{of}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}-{of}.key")), key.serialize_pem()).unwrap();
    }
}

/// Sends over TLS, as a client of an authority or of none; no status where the handshake fails.
async fn over_tls(address: SocketAddr, folder: &Path, server: &str, client: Option<&str>) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(format!("{server}-ca.pem"))).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}-client.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}-client.key"))).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    let body = alert(1);
    let head = format!(
        "POST /alerts/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap().split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_prove_who_sends_and_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["one", "two"] {
        certificates(at, name);
    }
    for kind in ["pem", "key"] {
        std::fs::copy(at.join(format!("one-localhost.{kind}")), at.join(format!("served.{kind}"))).unwrap();
    }
    let mut document = with(json!({"certificate": {}}));
    document["tls"] = json!({
        "certFile": at.join("served.pem"), "keyFile": at.join("served.key"), "clientCaFile": at.join("one-ca.pem"),
    });
    let starter = Arc::new(Noted::default());
    let running = Running::start(at, document, &starter).await;
    assert_eq!(over_tls(running.address, at, "one", None).await, Some(401));
    assert_eq!(over_tls(running.address, at, "one", Some("two")).await, None, "of another authority");
    assert_eq!(over_tls(running.address, at, "one", Some("one")).await, Some(200));
    assert_eq!(over_tls(running.address, at, "two", Some("one")).await, None, "the certificate is not that one");
    for kind in ["key", "pem"] {
        std::fs::copy(at.join(format!("two-localhost.{kind}")), at.join(format!("served.{kind}"))).unwrap();
    }
    let changed = async {
        while over_tls(running.address, at, "two", Some("one")).await != Some(200) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, changed).await.unwrap();
    running.stop().await;
}
