//! tollgate: an authenticating reverse proxy.

pub mod auth;
pub mod clock;
pub mod config;
pub mod dial;
pub mod http1;
pub mod identity;
pub mod keys;
pub mod message;
pub mod net;
pub mod observe;
pub mod secret;
pub mod upstream;
