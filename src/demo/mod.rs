//! A sample REST API without any authentication: what `tollgate demo` stands in front of, and an upstream for tests.
//!
//! Players of a football team under `/players`, kept in memory, gone when it stops. It knows nothing of the gateway,
//! and the gateway nothing of it: they meet over a socket.
//!
//! Invariant: whatever a client sends, memory is bounded (connections, body, players and their texts), and so is every
//! wait.

mod players;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{LocalSet, spawn_local};

use players::{Player, Squad, Unchanged};

/// The running API. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct SampleApi {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl SampleApi {
    /// Starts it on a free loopback port, on a thread of its own; it answers when this returns.
    ///
    /// # Errors
    /// What the operating system says when it has no socket or no thread left.
    pub fn start() -> io::Result<Self> {
        let squad = Squad::argentina_2022()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            socket.listen(BACKLOG)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("sample-api".to_owned()).spawn(move || {
            let squad = Rc::new(RefCell::new(squad));
            LocalSet::new().block_on(&runtime, serve(listener, squad, stopped));
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic over there was printed over there.
            let _ = thread.join();
        }
    }
}

type Answer = Response<Full<Bytes>>;

/// Accepts until the other end of `stopped` is gone.
async fn serve(
    listener: TcpListener,
    squad: Rc<RefCell<Squad>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let squad = Rc::clone(&squad);
                    spawn_local(async move {
                        connection(stream, squad).await;
                        drop(place);
                    });
                }
                // Out of file descriptors, most likely: let some be given back.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = &mut stopped => {}
    }
}

async fn connection(stream: TcpStream, squad: Rc<RefCell<Squad>>) {
    let service = service_fn(|request| {
        let squad = Rc::clone(&squad);
        async move { Ok::<_, Infallible>(answer(request, &squad).await) }
    });
    // A connection that fails is the client's affair; there is nobody here to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, squad: &RefCell<Squad>) -> Answer {
    let path = request.uri().path().to_owned();
    let done = match path.as_str() {
        "/health" => health(request.method()),
        "/players" => collection(request, squad).await,
        _ => match path.strip_prefix("/players/").map(str::parse) {
            Some(Ok(number)) => member(number, request, squad).await,
            _ => Err(Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")),
        },
    };
    done.unwrap_or_else(Problem::into_answer)
}

fn health(method: &Method) -> Result<Answer, Problem> {
    match *method {
        Method::GET | Method::HEAD => {
            Ok(json(StatusCode::OK, &serde_json::json!({"status": "up"})))
        }
        _ => other_method(method, "GET, HEAD, OPTIONS"),
    }
}

async fn collection(request: Request<Incoming>, squad: &RefCell<Squad>) -> Result<Answer, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(json(StatusCode::OK, &squad.borrow().all())),
        Method::POST => {
            let player = read_player(request).await?;
            let mut squad = squad.borrow_mut();
            let (number, player) = squad.add(player)?;
            let mut created = json(StatusCode::CREATED, player);
            if let Ok(place) = HeaderValue::try_from(format!("/players/{number}")) {
                created.headers_mut().insert(header::LOCATION, place);
            }
            Ok(created)
        }
        ref method => other_method(method, "GET, HEAD, OPTIONS, POST"),
    }
}

async fn member(
    number: u16,
    request: Request<Incoming>,
    squad: &RefCell<Squad>,
) -> Result<Answer, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(json(StatusCode::OK, squad.borrow().find(number)?)),
        Method::PUT => {
            let player = read_player(request).await?;
            squad.borrow_mut().replace(number, player)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Method::DELETE => {
            squad.borrow_mut().remove(number)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        ref method => other_method(method, "DELETE, GET, HEAD, OPTIONS, PUT"),
    }
}

/// OPTIONS says what there is; any other method is told the same with 405 (RFC 9110 §15.5.6).
fn other_method(method: &Method, allowed: &'static str) -> Result<Answer, Problem> {
    let mut answer = match *method {
        Method::OPTIONS => empty(StatusCode::NO_CONTENT),
        _ => Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
            .into_answer(),
    };
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    Ok(answer)
}

async fn read_player(request: Request<Incoming>) -> Result<Player, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    let body = request.into_body();
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a player fits into 64 KiB");
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let whole =
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await;
    let bytes = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, &format!("this is not a player: {error}"))
    })
}

/// An answer that is no success: `application/problem+json` (RFC 9457).
struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: &str) -> Self {
        Self { status, detail: detail.to_owned() }
    }

    fn into_answer(self) -> Answer {
        let title = self.status.canonical_reason();
        let status = self.status.as_u16();
        let body = serde_json::json!({"title": title, "status": status, "detail": self.detail});
        let mut answer = json(self.status, &body);
        let kind = HeaderValue::from_static("application/problem+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

impl From<Unchanged> for Problem {
    fn from(why: Unchanged) -> Self {
        let (status, detail) = match why {
            Unchanged::Unknown(number) => {
                (StatusCode::NOT_FOUND, format!("nobody wears number {number}"))
            }
            Unchanged::Taken(number) => {
                (StatusCode::CONFLICT, format!("somebody wears number {number} already"))
            }
            Unchanged::OtherNumber => {
                (StatusCode::BAD_REQUEST, "the body has another number than the path".to_owned())
            }
            Unchanged::NoSuchNumber => (
                StatusCode::BAD_REQUEST,
                format!("numbers run from 1 to {}", players::HIGHEST_NUMBER),
            ),
            Unchanged::Text => (
                StatusCode::BAD_REQUEST,
                format!(
                    "firstName and lastName are needed, and no text is longer than {} bytes",
                    players::LONGEST_TEXT
                ),
            ),
            Unchanged::Full => (StatusCode::CONFLICT, "every number is taken".to_owned()),
        };
        Self { status, detail }
    }
}

fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Connections at once; the rest wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 1_024;

/// So many wait there. A queue that is full has clients try again after a second, and gateways give up.
const BACKLOG: u32 = 1_024;

/// Longest wait for a request head. Longer than a gateway keeps an unused connection, so that it closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Longest wait for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest body, bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
