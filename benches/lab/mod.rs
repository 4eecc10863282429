//! What the measuring programs of this folder share: processes that end with the program, an upstream that costs little,
//! keys and tokens, the peers and their configurations, the load generators, and what the kernel says of all of them.

#![allow(dead_code, unreachable_pub, clippy::disallowed_methods)] // each program uses its part; time is what is measured

pub mod folder;
pub mod http;
pub mod kernel;
pub mod keys;
pub mod load;
pub mod peers;
pub mod process;
pub mod program;
pub mod tools;
pub mod upstream;

use std::fmt;
use std::io;
use std::net::TcpListener;

/// Why a measurement cannot go on, in words for whoever started it, with the mend where there is one.
#[derive(Debug)]
pub struct Trouble(String);

pub type Result<T> = std::result::Result<T, Trouble>;

impl Trouble {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Names what was being done when the system refused.
pub trait While<T> {
    fn during(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> While<T> for std::result::Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Trouble(format!("{what}: {error}")))
    }
}

/// A port of 127.0.0.1 that nobody had a moment ago.
pub fn free_port() -> Result<u16> {
    let port = || -> io::Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
    port().during("a free port")
}
