//! tollgate: an authenticating reverse proxy.

pub mod clock;
pub mod config;
pub mod demo;
pub mod identity;
pub mod keys;
pub mod secret;
