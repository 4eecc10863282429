//! The admin thread: takes connections, a bounded number of them, each for one request and not for long.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::facts::{Facts, lock};
use super::gate::Door;
use super::{answer, history};

/// A socket to listen on, bound, and not blocking.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(StdTcpListener),
    /// A unix socket.
    Unix(StdUnixListener),
}

impl Socket {
    /// The same socket once more: whoever comes is met by one of the two.
    ///
    /// # Errors
    /// Where there are no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// Its address; none for a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// The same in the thread's runtime.
enum Listener {
    Tcp(TcpListener, Door),
    Unix(UnixListener),
}

/// Somebody who has come.
enum Accepted {
    Tcp(TcpStream, Door),
    Unix(UnixStream),
}

/// The connections that there are, the oldest first.
type Open = Mutex<VecDeque<AbortHandle>>;

/// Starts the thread. It ends when `over` does.
///
/// # Errors
/// When there is no thread or no runtime to be had.
pub fn start(
    sockets: Vec<Socket>,
    facts: Arc<Facts>,
    over: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = {
        let _inside = runtime.enter();
        sockets.into_iter().map(Listener::new).collect::<io::Result<Vec<_>>>()?
    };
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread.spawn(move || {
        runtime.block_on(async move {
            let open = Arc::<Open>::default();
            let mut tasks = JoinSet::new();
            for listener in listeners {
                tasks.spawn(serve(listener, Arc::clone(&facts), Arc::clone(&open)));
            }
            tasks.spawn(sample(facts));
            // the last thing to end: whoever asks while requests finish is told that no more should come
            over.await;
        });
    })
}

/// Notes what happens, now and then.
async fn sample(facts: Arc<Facts>) {
    let mut step = tokio::time::interval(Duration::from_secs(history::STEP_SECONDS));
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        step.tick().await;
        let reading = facts.reading();
        lock(&facts.history).sample(facts.clock.unix_seconds(), &reading);
    }
}

async fn serve(listener: Listener, facts: Arc<Facts>, open: Arc<Open>) {
    loop {
        let Ok(accepted) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let task = tokio::spawn(connection(accepted, Arc::clone(&facts)));
        enter(&mut lock(&open), task.abort_handle());
    }
}

/// Whoever comes gets a place; where there is none, the one who has held his for the longest loses it: an honest
/// question is over in a moment, so slow ones cannot keep others out.
fn enter(open: &mut VecDeque<AbortHandle>, task: AbortHandle) {
    open.retain(|task| !task.is_finished());
    while open.len() >= MAX_CONNECTIONS {
        if let Some(oldest) = open.pop_front() {
            oldest.abort();
        }
    }
    open.push_back(task);
}

async fn connection(accepted: Accepted, facts: Arc<Facts>) {
    let whole = async {
        match accepted {
            Accepted::Tcp(stream, door) => match facts.current().admin_tls() {
                Some(tls) => {
                    let acceptor = TlsAcceptor::from(tls.choose(None).0);
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    let door = if certified { Door::Certified } else { door };
                    converse(stream, door, &facts).await;
                }
                None => converse(stream, door, &facts).await,
            },
            Accepted::Unix(stream) => converse(stream, Door::Unix, &facts).await,
        }
    };
    let _ = tokio::time::timeout(WHOLE_TIMEOUT, whole).await;
}

/// One request and its answer.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door, facts: &Facts) {
    let service = service_fn(|request| {
        let response = answer::answer(&request, door, facts);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = pin!(connection).await; // who asks and goes away has lost nothing
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => {
                let door = Door::at(socket.local_addr()?.ip());
                Self::Tcp(TcpListener::from_std(socket)?, door)
            }
            Socket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener, door) => Accepted::Tcp(listener.accept().await?.0, *door),
            Self::Unix(listener) => Accepted::Unix(listener.accept().await?.0),
        })
    }
}

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Longest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// How long a peer may take over a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take over all of it, the answer included.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);
