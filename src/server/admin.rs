//! The admin listener: health, for those who start and stop gateways. A thread of its own, so that it answers
//! whatever the workers are busy with.

mod page;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Phase, Shared, StartError};

/// Starts the thread.
pub(super) fn start(
    listener: StdTcpListener,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, StartError> {
    let shared = Arc::clone(shared);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Worker)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(StartError::Worker)?
    };
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread.spawn(move || runtime.block_on(serve(listener, shared))).map_err(StartError::Worker)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut phase = shared.phase.clone();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // the last thing to end: whoever asks while requests finish is told that no more should come
        let over = phase.wait_for(|phase| *phase == Phase::Ending);
        let accepted = tokio::select! {
            _ = over => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Ok((stream, place)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &shared);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // who asks for health and goes away has lost nothing
            let _ = tokio::time::timeout(HEADER_TIMEOUT * 2, connection).await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    if let Some(response) = page::answer(request.method(), request.uri().path()) {
        return response;
    }
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health/live") => (StatusCode::OK, "live\n"),
        (&Method::GET | &Method::HEAD, "/health/ready") if shared.ready.load(Ordering::Relaxed) => {
            (StatusCode::OK, "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/health/ready") => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        (_, "/health/live" | "/health/ready") => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n"),
        _ => (StatusCode::NOT_FOUND, "there are /health/live and /health/ready\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// Connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a peer may take over a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);
