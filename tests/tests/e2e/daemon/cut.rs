//! A line to a server that can be cut, with everything on it, and joined again.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Listens on a port of its own, and ends with this value.
pub(super) struct Cut {
    port: u16,
    whole: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Cut {
    /// In front of a local port.
    pub(super) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let whole = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&whole);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut whole = state.subscribe();
                tokio::spawn(async move {
                    let line = async {
                        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    };
                    // Whoever comes while it is cut is cut off at once.
                    tokio::select! {
                        biased;
                        _ = whole.wait_for(|whole| !whole) => {}
                        () = line => {}
                    }
                });
            }
        });
        Self { port, whole, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(super) fn join(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}
