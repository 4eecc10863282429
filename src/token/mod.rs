//! Provisional.
use crate::clock::Clock;
use crate::config::Settings;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;
/// t
#[derive(Debug)]
pub struct TokenService;
/// a
#[derive(Debug)]
pub struct Answer {
    /// s
    pub status: StatusCode,
    /// h
    pub headers: HeaderMap,
    /// b
    pub body: Bytes,
    /// c
    pub client_id: Option<String>,
    /// c
    pub code: &'static str,
}
impl TokenService {
    /// n
    pub fn new(_: &Settings, _: Clock) -> Option<Arc<Self>> {
        None
    }
    /// p
    pub fn path(&self) -> &str {
        "/auth/token"
    }
    /// a
    pub async fn answer<B>(&self, _: &Method, _: &HeaderMap, _: B, _: IpAddr) -> Answer {
        todo!()
    }
}
