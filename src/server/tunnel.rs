//! After 101: bytes both ways until either side is through (RFC 9110 §7.8).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::worker::Worker;
use crate::http1::{Deadline, Wire};
use crate::message::Tunnel;

/// Carries bytes until both directions have ended, one fails, or nothing moves for [`IDLE`] ([`HALF_CLOSED`] once
/// one direction has ended). Draining lets it finish; the end cuts it. What is cut is reset: neither side can take
/// it for a proper end.
pub(super) async fn run(mut client: Wire, early: Bytes, upstream: Tunnel, worker: &Rc<Worker>) {
    let mut server = Wire::new(upstream.stream);
    client.queue_bytes(upstream.early);
    server.queue_bytes(early);
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut deadline = Deadline::default();
    deadline.set(Some(worker.clock.monotonic() + IDLE));
    let mut was_half_closed = false;
    let outcome = poll_fn(|cx| {
        let mut moved = 0;
        let up_over = up.poll(&mut client, &mut server, cx, &mut moved);
        let down_over = down.poll(&mut server, &mut client, cx, &mut moved);
        let is_half_closed = up.ended || down.ended;
        if moved > 0 || is_half_closed != was_half_closed {
            was_half_closed = is_half_closed;
            let limit = if is_half_closed { HALF_CLOSED } else { IDLE };
            deadline.set(Some(worker.clock.monotonic() + limit));
        }
        match (up_over, down_over) {
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(Err(())),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ if worker.ending.get() || deadline.poll_passed(cx) => Poll::Ready(Err(())),
            _ => Poll::Pending,
        }
    })
    .await;
    if outcome.is_err() {
        client.stream.reset_on_close();
        server.stream.reset_on_close();
    }
}

/// One direction: its source has ended, its sink was told.
#[derive(Default)]
struct Direction {
    ended: bool,
    told: bool,
}

impl Direction {
    fn poll(
        &mut self,
        from: &mut Wire,
        to: &mut Wire,
        cx: &mut Context<'_>,
        moved: &mut u64,
    ) -> Poll<Result<(), ()>> {
        loop {
            match to.poll_flush(cx, moved) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending, // back-pressure: read no more before this has left
            }
            if self.ended {
                if !self.told {
                    match to.poll_shutdown(cx) {
                        Poll::Ready(_) => self.told = true,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                return Poll::Ready(Ok(()));
            }
            match from.poll_fill(cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => to.queue_bytes(from.input.split().freeze()),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A tunnel in which nothing moved for so long is closed; WebSocket peers ping far more often.
const IDLE: Duration = Duration::from_secs(3600);
/// The same once one side has said that it will send no more: the other one has this long to say something.
const HALF_CLOSED: Duration = Duration::from_secs(60);
