//! An attack and its three proofs: what was answered, what reached the upstream, and that the gateway lives on.

use std::cell::Cell;

use super::{Answer, Client, Gateway, Seen, Upstream, get};

/// A gateway, what is behind it, and how much of that was looked at.
pub struct Site {
    pub upstream: Upstream,
    pub gateway: Gateway,
    looked: Cell<usize>,
}

/// What came of some bytes on a connection of their own.
#[derive(Debug)]
pub struct Talk {
    /// All final answers, in order.
    pub answers: Vec<Answer>,
    /// Every request that reached the upstream meanwhile.
    pub seen: Vec<Seen>,
}

impl Site {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With further keys in `[server]`.
    pub fn with(server: &str) -> Self {
        let upstream = Upstream::start();
        let gateway = Gateway::with(upstream.address, server, "");
        Self::of(upstream, gateway)
    }

    pub fn of(upstream: Upstream, gateway: Gateway) -> Self {
        Self { upstream, gateway, looked: Cell::new(0) }
    }

    /// Sends these bytes. After the first answer it asks for one thing more on the same connection, so that
    /// whatever the gateway took for a request in between is answered, and seen, before that.
    ///
    /// For bytes that end where a request ends, or that are refused.
    pub fn talk(&self, bytes: impl AsRef<[u8]>) -> Talk {
        let mut client = self.gateway.connect();
        client.send(bytes);
        let first = client.answer_to("GET");
        self.end(client, first)
    }

    /// The same for bytes that may leave the gateway waiting for more: says that there is no more.
    pub fn talk_and_hang_up(&self, bytes: impl AsRef<[u8]>) -> Talk {
        let mut client = self.gateway.connect();
        client.send(bytes);
        client.close_sending();
        let answers = rest(&mut client);
        Talk { answers, seen: self.look() }
    }

    /// Goes on after `first`: sees what else is answered, to the end of the connection.
    pub fn end(&self, mut client: Client, first: Option<Answer>) -> Talk {
        client.send(END);
        let mut answers: Vec<_> = first.into_iter().collect();
        answers.extend(rest(&mut client));
        let mut seen = self.look();
        let before = seen.len();
        seen.retain(|request| !request.line.starts_with("GET /the-end "));
        if seen.len() < before {
            answers.pop();
        }
        Talk { answers, seen }
    }

    /// What has reached the upstream since the last look; that the gateway still serves, and nothing panicked.
    pub fn look(&self) -> Vec<Seen> {
        let answer = self.gateway.ask(get("/still-alive"));
        assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
        assert_eq!(self.gateway.totals().panics, 0);
        let mut seen = self.upstream.seen().split_off(self.looked.get());
        self.looked.set(self.looked.get() + seen.len());
        seen.retain(|request| !request.line.starts_with("GET /still-alive "));
        seen
    }
}

impl Talk {
    pub fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }

    /// One answer with this status, the connection closed after it, and nothing at the upstream.
    pub fn assert_refused(&self, status: u16, what: &str) {
        assert_eq!(self.statuses(), [status], "{what}: {self:?}");
        self.assert_nothing_came(what);
    }

    /// Only refusals, if anything was answered at all, and nothing at the upstream.
    pub fn assert_safe(&self, what: &str) {
        for status in self.statuses() {
            assert!(
                (400..500).contains(&status) || status == 501 || status == 505,
                "{what}: {self:?}"
            );
        }
        self.assert_nothing_came(what);
    }

    pub fn assert_nothing_came(&self, what: &str) {
        assert!(self.seen.is_empty(), "{what}: {:?}", self.seen);
    }

    /// One request reached the upstream, and it was answered.
    pub fn only(&self, what: &str) -> &Seen {
        assert_eq!(self.statuses(), [200], "{what}: {self:?}");
        assert_eq!(self.seen.len(), 1, "{what}: {:?}", self.seen);
        &self.seen[0]
    }
}

/// All further final answers.
pub fn rest(client: &mut Client) -> Vec<Answer> {
    std::iter::from_fn(|| client.answer_to("GET")).collect()
}

/// The request that some other request tries to hide.
pub const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: api.test\r\n\r\n";
const END: &str = "GET /the-end HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";
