//! A gate in front of a server: it lets so many bytes of answers through, and then none until it is opened. So a
//! server can be made to die in the middle of an answer, each time at the same place.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Listens on a port of its own, and ends with this value.
#[derive(Debug)]
pub(crate) struct Gate {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may still pass.
    left: AtomicU64,
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// In front of a local port; closes after that many bytes.
    pub(crate) async fn before(target: u16, bytes: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (reached, open) = (watch::Sender::new(false), watch::Sender::new(false));
        let state = Arc::new(State { left: AtomicU64::new(bytes), reached, open });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A server that is not there closes the connection of its client.
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
                    let ((mut from_client, to_client), (from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let up = async {
                        let _ = copy(&mut from_client, &mut to_server).await;
                    };
                    tokio::select! {
                        () = up => {}
                        () = state.answers(from_server, to_client) => {}
                    }
                });
            }
        });
        Self { port, state, task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Waits until an answer is held up.
    pub(crate) async fn reached(&self) {
        let _ = self.state.reached.subscribe().wait_for(|reached| *reached).await;
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self) {
        self.state.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn answers(&self, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        let mut open = self.open.subscribe();
        loop {
            let Ok(read @ 1..) = server.read(&mut buffer).await else { return };
            let taken =
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(read as u64));
            if taken.is_err() && !*open.borrow() {
                self.reached.send_replace(true);
                let _ = open.wait_for(|open| *open).await;
            }
            if client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
