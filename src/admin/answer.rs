//! What is answered to whom: the paths of the admin listener, and the fields that every answer bears.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::exposition::Format;
use super::facts::Facts;
use super::gate::{Closed, Door};
use super::{gate, metrics, page, status};

/// The answer to one request. Nothing that is asked here changes anything.
pub(super) fn answer<B>(request: &Request<B>, door: Door, facts: &Facts) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, LIVE | READY)
        && let Err(closed) = gate::judge(request, door, facts.current().settings().admin.as_ref())
    {
        return closed_to(closed);
    }
    if let Some(response) = page::answer(request.method(), path) {
        return response;
    }
    let known = matches!(path, LIVE | READY | STATUS | METRICS);
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        LIVE => text(StatusCode::OK, "live"),
        READY => match facts.not_ready() {
            None => text(StatusCode::OK, "ready"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        METRICS => {
            let format = Format::asked(request.headers());
            data(format.content_type(), metrics::document(facts, format))
        }
        STATUS => data("application/json", status::document(facts).to_string()),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /, /health/live, /health/ready, /metrics and /api/status",
        ),
    }
}

/// What somebody is told who may not look. A browser asks its user for the token.
fn closed_to(closed: Closed) -> Response<Full<Bytes>> {
    match closed {
        Closed::Unproven => {
            let mut response = text(
                StatusCode::UNAUTHORIZED,
                "show the token of [admin]: Authorization: Bearer …, or as the password of HTTP Basic",
            );
            for challenge in CHALLENGES {
                let value = HeaderValue::from_static(challenge);
                response.headers_mut().append(header::WWW_AUTHENTICATE, value);
            }
            response
        }
        Closed::Uncertified => {
            text(StatusCode::FORBIDDEN, "show a certificate of an authority in [admin] tls")
        }
        Closed::Outside => {
            text(StatusCode::FORBIDDEN, "closed to the outside: [admin] has no token")
        }
        Closed::Name => text(
            StatusCode::FORBIDDEN,
            "ask for this machine by its address or as localhost, or give [admin] a token",
        ),
    }
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = data("text/plain; charset=utf-8", format!("{words}\n"));
    *response.status_mut() = status;
    response
}

/// What is true now and must not be kept.
fn data(kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";
const STATUS: &str = "/api/status";
const METRICS: &str = "/metrics";
const CHALLENGES: [&str; 2] =
    ["Bearer realm=\"tollgate admin\"", "Basic realm=\"tollgate admin\", charset=\"UTF-8\""];
/// So that a browser makes nothing of an answer but what it is.
const FIELDS: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
];
