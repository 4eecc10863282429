//! Clients that others wrote get a token and use it: Rust's `oauth2` here, Python's and Node's in `tests/clients`.

mod clients;
mod plain_http;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
