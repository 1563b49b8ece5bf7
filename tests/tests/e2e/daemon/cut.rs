//! A line to a server that breaks, with everything on it, in the middle of what a client sends.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Listens on a port of its own, and ends with this value.
pub(super) struct Cut {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    /// Bytes of clients that still pass.
    left: AtomicU64,
    whole: watch::Sender<bool>,
}

impl Cut {
    /// In front of a local port; breaks after so many bytes of clients.
    pub(super) async fn before(target: u16, bytes: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { left: AtomicU64::new(bytes), whole: watch::Sender::new(true) });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let mut whole = state.whole.subscribe();
                tokio::spawn(async move {
                    // Whoever comes while it is broken is cut off at once.
                    tokio::select! {
                        biased;
                        _ = whole.wait_for(|whole| !whole) => {}
                        () = line(client, target, &state) => {}
                    }
                });
            }
        });
        Self { port, state, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_broken(&self) -> bool {
        !*self.state.whole.borrow()
    }

    /// Makes it whole for good.
    pub(super) fn join(&self) {
        self.state.left.store(u64::MAX, Ordering::Relaxed);
        self.state.whole.send_replace(true);
    }
}

async fn line(client: TcpStream, target: u16, state: &State) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let ((from_client, mut to_client), (mut from_server, to_server)) = (client.into_split(), server.into_split());
    let answers = async {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(requests(from_client, to_server, state), answers);
}

async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, state: &State) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = client.read(&mut bytes).await {
        let more = u64::try_from(count).unwrap();
        let passed = state.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more));
        if passed.is_err() {
            state.whole.send_replace(false);
            return;
        }
        if server.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}
