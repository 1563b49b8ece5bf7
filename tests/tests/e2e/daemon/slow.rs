//! An API server that answers slowly, and a schedule that has no backup yet.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::support::{Daemon, Site, chain, configure, small, until};

/// How long a lease lasts, in seconds: its holder gives a request up after a quarter of it.
const LEASE: u64 = 20;
/// How long each message to the server takes then.
const DELAY: Duration = Duration::from_secs(6);

/// Stands before a local port, and takes its time if it is told to.
struct Slow {
    port: u16,
    is_slow: Arc<AtomicBool>,
}

impl Slow {
    async fn before(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_slow = Arc::new(AtomicBool::new(false));
        let slow = Arc::clone(&is_slow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let slow = Arc::clone(&slow);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
                    let ((mut client, mut to_client), (mut server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let up = async {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(read @ 1..) = client.read(&mut buffer).await {
                            if slow.load(Ordering::Relaxed) {
                                tokio::select! {
                                    () = sleep(DELAY) => {}
                                    () = gone(&mut client) => return,
                                }
                            }
                            if to_server.write_all(&buffer[..read]).await.is_err() {
                                return;
                            }
                        }
                    };
                    tokio::select! {
                        () = up => {}
                        _ = copy(&mut server, &mut to_client) => {}
                    }
                });
            }
        });
        Self { port, is_slow }
    }

    fn set(&self, slow: bool) {
        self.is_slow.store(slow, Ordering::Relaxed);
    }
}

/// The end of a client: what it asked for is not done then.
async fn gone(client: &mut OwnedReadHalf) {
    while let Ok(1..) = client.peek(&mut [0]).await {
        sleep(Duration::from_millis(50)).await;
    }
}

/// A site that reaches the API server through what can be slow.
fn behind(cluster: &Cluster, slow: &Slow) -> Site {
    let mut site = Site::directory(cluster);
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let through = text.replace(&cluster.url(), &format!("https://127.0.0.1:{}", slow.port));
    assert_ne!(through, text);
    let kubeconfig = site.path("kubeconfig");
    std::fs::write(&kubeconfig, through).unwrap();
    site.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    site
}

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.kubectl(&["get", "lease", "slow", "-n", "default", "-o", "json"]);
    let lease: Value = serde_json::from_str(&lease).unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Who ends gives the lease up however slow the API server is; and what came due before the first backup of a schedule, while
/// nobody was there, gets its backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_given_up_slowly_and_a_first_due_time_is_not_forgotten() {
    let cluster = small().await;
    let slow = Slow::before(cluster.url().rsplit_once(':').unwrap().1.parse().unwrap()).await;
    let site = behind(cluster, &slow);
    let now = Timestamp::now();
    // The next minute but one, and then not for a year.
    let due = Timestamp::from_second(now.as_second() / 60 * 60 + 120).unwrap();
    let schedule = due.strftime("%-M %-H %-d %-m *").to_string();
    let election = json!({"namespace": "default", "name": "slow", "leaseSeconds": LEASE});
    configure(
        &site,
        &json!({
            "schedules": [{"name": "yearly", "spec": {"schedule": schedule}}],
            "daemon": {"leaderElection": election},
        }),
    );

    let mut first = Daemon::start(&site, "first", 0);
    let noted = site.path("store/prod/schedules/yearly.json");
    until("note of the schedule", async || noted.exists().then_some(())).await;
    assert_eq!(holder(cluster), "first");
    slow.set(true);
    assert_eq!(first.stop().await, Some(0), "{:?}", first.lines());
    assert_eq!(holder(cluster), "", "{:?}", first.lines());
    slow.set(false);

    let past = due + SignedDuration::from_secs(5);
    until("end of the due minute", async || (Timestamp::now() > past).then_some(())).await;
    let mut second = Daemon::start(&site, "second", 1);
    second.says("a backup is complete", 0).await;
    assert_eq!(second.stop().await, Some(0), "{:?}", second.lines());
    assert_eq!(holder(cluster), "", "{:?}", second.lines());
    assert_eq!(chain(&site).await.len(), 1);
}
