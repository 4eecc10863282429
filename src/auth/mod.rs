//! Provisional.
mod authorize;
use crate::identity::Principal;
pub use authorize::{Permitted, authorize};
use http::{HeaderName, HeaderValue};
use std::rc::Rc;
/// A valid token's bearer.
#[derive(Debug)]
pub struct Caller {
    /// Whom it speaks for.
    pub principal: Principal,
    /// Headers for the upstream.
    pub identity: Vec<(HeaderName, HeaderValue)>,
}
/// Who.
#[derive(Debug)]
pub enum Authentication {
    /// n
    Nobody,
    /// o
    OtherScheme,
    /// c
    Caller(Rc<Caller>),
}
/// Why not.
#[derive(Debug, Clone, Copy)]
pub enum Denied {
    /// m
    Missing,
}
