//! Comparisons of our HTTP/1.1 with hyper's, on the same bytes: what the fuzz targets under `fuzz/` run for hours, and
//! `tests/differential.rs` for a moment. Where the two differ, ours has to be the stricter, and by a rule that is named.

#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used)] // test code: each user has its part

pub mod request_head;
pub mod script;
pub mod upstream_response;
