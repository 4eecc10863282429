//! What is asked of everybody.

use super::lab::keys::Algorithm;
use super::lab::load::Front;
use super::lab::tools::Tool;

#[derive(Clone, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    pub path: &'static str,
    pub asks: Asks,
    pub front: Front,
    pub connections: usize,
    pub close: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// GET, for which nobody needs a token.
    Reading,
    /// POST of 256 bytes with tokens.
    Writing(Algorithm, Tokens),
    /// POST without a token: 401.
    WithoutToken,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tokens {
    /// The same with every request.
    One,
    /// As many as the options say, in turn.
    Many,
    /// Each new to the peer.
    Fresh,
}

impl Workload {
    /// Whether it needs a peer that verifies tokens.
    pub fn verifies(&self) -> bool {
        match self.asks {
            Asks::Reading => false,
            Asks::Writing(..) | Asks::WithoutToken => true,
        }
    }

    pub fn tool(&self) -> Tool {
        match self.front {
            Front::Clear | Front::Tls => Tool::Wrk,
            Front::Http2 { .. } => Tool::H2load,
        }
    }

    const fn reading(name: &'static str, what: &'static str) -> Self {
        let (asks, front) = (Asks::Reading, Front::Clear);
        Self { name, what, path: "/1k", asks, front, connections: 64, close: false }
    }

    const fn writing(
        name: &'static str,
        what: &'static str,
        algorithm: Algorithm,
        tokens: Tokens,
    ) -> Self {
        let asks = Asks::Writing(algorithm, tokens);
        Self { asks, ..Self::reading(name, what) }
    }
}

use Algorithm::{Es256, Hs256, Rs256};
use Tokens::{Fresh, Many, One};

/// On 64 kept connections, unless they say otherwise.
pub const ALL: &[Workload] = &[
    Workload::reading("get", "GET 1 KiB, open"),
    Workload {
        connections: 1,
        ..Workload::reading("get-1conn", "the same on 1 connection: latency")
    },
    Workload::writing("post-hs256", "POST 256 B, HS256, the same token", Hs256, One),
    Workload::writing("post-many", "POST 256 B, many HS256 tokens in turn", Hs256, Many),
    Workload::writing("post-fresh", "POST 256 B, every HS256 token new", Hs256, Fresh),
    Workload::writing("post-rs256", "POST 256 B, RS256, the same token", Rs256, One),
    Workload::writing("post-rs256-fresh", "POST 256 B, every RS256 token new", Rs256, Fresh),
    Workload::writing("post-es256", "POST 256 B, ES256, the same token", Es256, One),
    Workload {
        asks: Asks::WithoutToken,
        ..Workload::reading("post-none", "POST 256 B without a token: 401")
    },
    Workload {
        path: "/64k",
        connections: 16,
        ..Workload::reading("get-64k", "GET 64 KiB, open, 16 connections")
    },
    Workload {
        path: "/1m",
        connections: 16,
        ..Workload::reading("get-1m", "GET 1 MiB, open, 16 connections")
    },
    Workload { close: true, ..Workload::reading("get-close", "GET 1 KiB, a new connection each") },
    Workload { front: Front::Tls, ..Workload::reading("tls-get", "GET 1 KiB over TLS, HTTP/1.1") },
    Workload {
        front: Front::Http2 { streams: 4 },
        connections: 16,
        ..Workload::reading("tls-h2", "GET 1 KiB over TLS, HTTP/2, 16 connections of 4 streams")
    },
    Workload {
        front: Front::Tls,
        connections: 16,
        close: true,
        ..Workload::reading("tls-close", "GET 1 KiB, a new TLS connection each, 16 at once")
    },
];
