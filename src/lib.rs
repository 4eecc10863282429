//! tollgate: an authenticating reverse proxy.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dial;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod keys;
pub mod message;
pub mod net;
pub mod observe;
pub mod secret;
pub mod server;
pub mod token;
pub mod upstream;

#[cfg(test)]
mod testing;
