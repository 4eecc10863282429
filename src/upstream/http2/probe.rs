//! One request over a connection of its own: for health checks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::uri::{Scheme, Uri};
use http::{Request, Version};

use super::exchange::failure_of;
use super::link::builder;
use crate::net::Stream;
use crate::upstream::Failure;

/// Asks once over `stream`, which is closed then, and yields the status. How long that may take is for the caller to say.
///
/// # Errors
/// When no answer comes.
pub(in crate::upstream) async fn probe(
    stream: Stream,
    authority: &str,
    path: &str,
) -> Result<u16, Failure> {
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path);
    let mut head = Request::new(());
    *head.uri_mut() = uri.build().map_err(|_| Failure::Target)?;
    *head.version_mut() = Version::HTTP_2;
    let agent = HeaderValue::from_static("tollgate health check");
    head.headers_mut().insert(USER_AGENT, agent);
    head.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
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
    Ok(answer.await?.status().as_u16())
}
