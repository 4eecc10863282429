//! tollgate: an authenticating reverse proxy that issues the tokens it asks for.
//!
//! The way of a request, module by module: [`server`] accepts a connection and reads heads ([`http1`], into the words
//! of [`message`]); [`gateway`] judges ([`auth`]) and either answers itself ([`token`]) or forwards ([`upstream`], over
//! connections that [`dial`] opens); [`observe`] tells what happened. [`cli`] stands above all, [`config`] and [`keys`]
//! below. Uses point downwards only: `tests/architecture.rs` holds the order.

pub mod cli;

pub mod demo;

pub mod server;

pub mod gateway;

pub mod upstream;

pub mod auth;
pub mod token;

pub mod http1;

pub mod dial;

pub mod observe;

pub mod message;

pub mod config;

pub mod keys;
pub mod store;

pub mod clock;
pub mod identity;
mod json;
pub mod net;
pub mod reference;
pub mod secret;

#[cfg(test)]
mod testing;
