//! The admin thread: takes connections, a bounded number of them, each for one request and not for long.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::facts::{Facts, lock};
use super::{answer, history};

/// Starts the thread. It ends when `over` does.
///
/// # Errors
/// When there is no thread or no runtime to be had.
pub fn start(
    listener: StdTcpListener,
    facts: Arc<Facts>,
    over: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = serve(listener, &facts) => {}
                () = sample(&facts) => {}
                // the last thing to end: whoever asks while requests finish is told that no more should come
                () = over => {}
            }
        });
    })
}

/// Notes what happens, now and then.
async fn sample(facts: &Facts) {
    let mut step = tokio::time::interval(Duration::from_secs(history::STEP_SECONDS));
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        step.tick().await;
        let reading = facts.reading();
        lock(&facts.history).sample(facts.clock.unix_seconds(), &reading);
    }
}

async fn serve(listener: TcpListener, facts: &Arc<Facts>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, place)) = accept(&listener, &places).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let facts = Arc::clone(facts);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer::answer(&request, &facts);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // who asks and goes away has lost nothing
            let _ = tokio::time::timeout(HEADER_TIMEOUT * 2, pin!(connection)).await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

/// Connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a peer may take over a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);
