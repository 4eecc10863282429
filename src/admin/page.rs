//! The page of the admin listener: files that are part of the program, and the fields that keep a browser from doing
//! with them what they were not made for. They hold no state of the gateway: the page asks `/api/status` for that.
//!
//! Invariant: nothing here depends on the request but the path and the method.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;

/// The answer for a path of the page; `None` where the page has no such path.
pub(super) fn answer(method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let mut response = Response::new(Full::new(Bytes::from_static(file.text.as_bytes())));
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    if !matches!(*method, Method::GET | Method::HEAD) {
        fields.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        *response.body_mut() = Full::default();
    }
    Some(response)
}

/// One file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// All of them, as they stand in the folder `page`.
const FILES: &[File] = &[
    File { path: "/", kind: HTML, text: include_str!("page/index.html") },
    File { path: "/favicon.svg", kind: SVG, text: include_str!("page/favicon.svg") },
    File { path: "/page.css", kind: CSS, text: include_str!("page/page.css") },
    File { path: "/alerts.js", kind: JS, text: include_str!("page/alerts.js") },
    File { path: "/dom.js", kind: JS, text: include_str!("page/dom.js") },
    File { path: "/format.js", kind: JS, text: include_str!("page/format.js") },
    File { path: "/page.js", kind: JS, text: include_str!("page/page.js") },
    File { path: "/plot.js", kind: JS, text: include_str!("page/plot.js") },
    File { path: "/tables.js", kind: JS, text: include_str!("page/tables.js") },
    File { path: "/theme.js", kind: JS, text: include_str!("page/theme.js") },
    File { path: "/traffic.js", kind: JS, text: include_str!("page/traffic.js") },
    File { path: "/words.js", kind: JS, text: include_str!("page/words.js") },
];

/// With every one of them. Nothing is loaded from elsewhere and nothing is sent elsewhere; no script or style stands
/// in the markup, and none can be made from a text; no other site can frame the page.
const FIELDS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    // The page of an older tollgate must not outlive it.
    ("cache-control", "no-cache"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::BodyExt;

    use super::*;

    async fn text_of(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_page_names_only_files_that_are_there() {
        let page = text_of(answer(&Method::GET, "/").unwrap()).await;
        let mut named = 0;
        for attribute in ["src=\"", "href=\""] {
            for (at, _) in page.match_indices(attribute) {
                let rest = &page[at + attribute.len()..];
                let path = &rest[..rest.find('"').unwrap()];
                let served = ["/api/status", "/metrics"].contains(&path)
                    || path.starts_with('#')
                    || answer(&Method::GET, path).is_some();
                assert!(served, "{path}");
                named += 1;
            }
        }
        assert!(named >= 3, "{page}");
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let mut imported = 0;
        for file in FILES.iter().filter(|file| file.kind == JS) {
            for (at, _) in file.text.match_indices("from \"./") {
                let rest = &file.text[at + "from \".".len()..];
                let path = &rest[..rest.find('"').unwrap()];
                assert!(answer(&Method::GET, path).is_some(), "{path} in {}", file.path);
                imported += 1;
            }
        }
        assert!(imported >= FILES.len() - 5, "{imported}");
    }

    #[test]
    fn no_script_and_no_style_stands_in_the_markup() {
        let page = FILES[0].text;
        for forbidden in ["<style", " style=", " onload=", " onclick=", "javascript:", "<script>"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn no_text_of_the_server_can_become_markup() {
        for file in FILES.iter().filter(|file| file.kind == JS) {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
                "createContextualFragment",
            ] {
                assert!(!file.text.contains(sink), "{sink} in {}", file.path);
            }
        }
    }

    #[test]
    fn the_page_asks_nothing_of_other_hosts_and_is_small() {
        let mut bytes = 0;
        for file in FILES {
            bytes += file.text.len();
            let elsewhere = file.text.replace("http://www.w3.org/", "");
            assert!(!elsewhere.contains("://"), "{}", file.path);
        }
        assert!(bytes < 150 * 1024, "{bytes}");
    }

    #[test]
    fn every_file_says_what_it_is_and_may_only_be_read() {
        for file in FILES {
            let told = answer(&Method::HEAD, file.path).unwrap();
            assert_eq!(told.status(), StatusCode::OK);
            assert_eq!(told.headers()["content-type"], file.kind);
            assert_eq!(told.headers()["x-content-type-options"], "nosniff");
            let refused = answer(&Method::POST, file.path).unwrap();
            assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(refused.headers()["allow"], "GET, HEAD");
        }
        assert!(answer(&Method::GET, "/page").is_none());
    }
}
