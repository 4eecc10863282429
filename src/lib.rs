//! tollgate: an authenticating reverse proxy.

pub mod cli;

pub mod clock;
pub mod config;
pub mod identity;
pub mod keys;
pub mod secret;
