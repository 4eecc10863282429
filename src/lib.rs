//! tollgate: an authenticating reverse proxy.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod identity;
pub mod keys;
pub mod secret;
pub mod token;

#[cfg(test)]
mod testing;
