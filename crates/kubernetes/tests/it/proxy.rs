//! A line to the API server that can be cut, without looking into what is said on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lifeboat_tests::cluster::Cluster as TestCluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to the next message on a line that is open already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// It arrives.
    None,
    /// The request arrives, and its answer is lost with the line.
    Answer,
    /// The request is lost with the line.
    Request,
}

#[derive(Default)]
struct State {
    fault: AtomicU8,
    cuts: AtomicUsize,
    /// What is done between a message's arrival here and the cut.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// The line.
pub(crate) struct Proxy {
    state: Arc<State>,
    kubeconfig: PathBuf,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Makes a line to a cluster's API server.
    pub(crate) async fn start(server: &TestCluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
        let kubeconfig = server.temp().join("kubeconfig-proxy");
        std::fs::write(&kubeconfig, text.replace(&server.url(), &url)).unwrap();
        let state = Arc::new(State::default());
        let target = server.url().strip_prefix("https://").unwrap().to_owned();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, Arc::clone(&state)));
        Self { state, kubeconfig, _task: task }
    }

    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// Cuts the line at the next message, after doing something.
    pub(crate) fn cut(&self, fault: Fault, meanwhile: impl FnOnce() + Send + 'static) {
        *self.state.meanwhile.lock().unwrap() = Some(Box::new(meanwhile));
        self.state.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// How often the line was cut.
    pub(crate) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, target: String, state: Arc<State>) {
    let mut lines = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(&target).await;
        // A server that is away is refused to the client too.
        let Ok(far) = far else { continue };
        lines.spawn(pass(near, far, Arc::clone(&state)));
    }
}

/// Passes bytes on in both directions until either side hangs up, or the line is cut.
async fn pass(mut near: TcpStream, mut far: TcpStream, state: Arc<State>) -> Option<()> {
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let (bytes, target, fault) = tokio::select! {
            length = near.read(&mut up) => (&up[..length.ok()?], &mut far, Fault::Request),
            length = far.read(&mut down) => (&down[..length.ok()?], &mut near, Fault::Answer),
        };
        if bytes.is_empty() {
            return None;
        }
        let armed = state.fault.compare_exchange(fault as u8, Fault::None as u8, Ordering::SeqCst, Ordering::SeqCst);
        if armed.is_ok() {
            let meanwhile = state.meanwhile.lock().unwrap().take();
            if let Some(meanwhile) = meanwhile {
                tokio::task::spawn_blocking(meanwhile).await.unwrap();
            }
            state.cuts.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        target.write_all(bytes).await.ok()?;
    }
}
