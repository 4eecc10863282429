//! tollgate: an authenticating reverse proxy that issues the tokens it asks for.
//!
//! The way of a request, module by module: [`server`] accepts a connection and reads heads ([`http1`], into the words
//! of [`message`]); [`gateway`] finds the policy that it meets ([`route`]), judges ([`auth`], by our keys and [`store`] or
//! by what [`issuers`] know) and either answers itself ([`token`]) or forwards ([`upstream`], over connections that
//! [`dial`] opens); [`observe`] tells what happened, [`admin`] whoever asks for it. [`cli`] stands above all, [`config`] and [`keys`] below. Uses point
//! downwards only: `tests/architecture.rs` holds the order.

pub mod cli;

pub mod demo;

pub mod doctor;

pub mod server;

pub mod admin;

pub mod gateway;

pub mod upstream;

pub mod route;

pub mod auth;
pub mod token;

pub mod export;
pub mod issuers;

pub mod http1;

pub mod dial;
pub mod tls;

pub mod observe;

pub mod message;

pub mod limit;
pub mod store;

pub mod config;

pub mod keys;

pub mod certificate;
pub mod condition;
mod json;
pub mod reference;

pub mod clock;
pub mod identity;
pub mod net;
pub mod secret;

#[cfg(test)]
mod testing;
