//! One request over a connection of its own: for health checks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use http::{Request, StatusCode};

use super::exchange::failure_of;
use super::link::builder;
use crate::net::Stream;
use crate::upstream::Failure;

/// Asks once over `stream`, which is closed then, and yields the status. How long that may take is for the caller to say.
///
/// # Errors
/// When no answer comes.
pub async fn probe(stream: Stream, head: Request<()>) -> Result<StatusCode, Failure> {
    let (mut handle, mut connection) =
        builder().handshake::<_, bytes::Bytes>(stream).await.map_err(failure_of)?;
    let (answer, _) = handle.send_request(head, true).map_err(failure_of)?;
    let mut answer = pin!(answer);
    let answer = poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        match answer.as_mut().poll(cx) {
            Poll::Pending if ended.is_ready() => {
                Poll::Ready(Err(Failure::Closed { partial: false }))
            }
            answer => answer.map_err(failure_of),
        }
    });
    Ok(answer.await?.status())
}
