//! Which web pages of other origins may call (the Fetch standard, "CORS protocol"): answers preflights, and marks every
//! answer, refusals too, so that such a page can read it. It lets nobody in: a browser keeps answers from pages, and
//! whoever is no browser does as it likes.
//!
//! Invariant: an origin that is not listed is named in no answer.

use std::rc::Rc;

use http::header::{self, HeaderName, HeaderValue};

use http::{Method, StatusCode};

use crate::auth::is_preflight;
use crate::config::{Cors, Settings};
use crate::message::headers::{has_token, text_value};
use crate::message::{Body, Fields, Request, Response};
use crate::route::{Routes, Rule};

/// What a configuration says of other origins.
#[derive(Debug)]
pub(super) struct CorsRules {
    default: Option<Rc<Spoken>>,
    /// By the numbers of routes; none: the default's.
    routes: Vec<Option<Rc<Spoken>>>,
}

/// One rule, spelt as it goes into answers.
#[derive(Debug)]
struct Spoken {
    /// Every origin; without credentials.
    any: bool,
    origins: Vec<HeaderValue>,
    methods: HeaderValue,
    headers: HeaderValue,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

/// What becomes of one request's answer.
#[derive(Debug)]
pub(super) struct Crossing {
    rule: Rc<Spoken>,
    /// Where the page is from, if it is listed.
    origin: Option<HeaderValue>,
    /// Whether it is asked beforehand whether a request may be sent.
    pub(super) is_preflight: bool,
}

impl CorsRules {
    /// None where nothing is said of other origins: then preflights and answers are the upstream's.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let spoken = |cors: &Option<Cors>| cors.as_ref().map(|cors| Rc::new(Spoken::new(cors)));
        let routes: Vec<_> = settings.routes.iter().map(|route| spoken(&route.cors)).collect();
        let default = spoken(&settings.cors);
        let is_said = default.is_some() || routes.iter().any(Option::is_some);
        is_said.then_some(Self { default, routes })
    }

    fn of(&self, rule: Option<&Rule>) -> Option<&Rc<Spoken>> {
        let route = rule.and_then(|rule| self.routes.get(rule.number?)?.as_ref());
        route.or(self.default.as_ref())
    }

    /// What is said for `request`, by the rule that it will meet; for a preflight, by that which the request that it
    /// announces will meet. `is_own`: it is for an endpoint of the gateway itself.
    pub(super) fn crossing(
        &self,
        request: &mut Request,
        routes: &Routes,
        is_own: bool,
    ) -> Option<Crossing> {
        let is_preflight = is_preflight(request);
        let wanted = wanted(request).filter(|_| is_preflight);
        let is_sound = wanted.is_some() || !is_preflight;
        let own = wanted.map(|wanted| std::mem::replace(&mut request.method, wanted));
        // a path that could lead to several rules is refused, and the page is told so by the default
        let rule =
            if is_own { None } else { routes.choose(request).ok().map(|choice| choice.rule) };
        let spoken = self.of(rule).cloned();
        if let Some(own) = own {
            request.method = own;
        }
        let rule = spoken?;
        let origin = one(&request.headers, &header::ORIGIN).filter(|_| is_sound);
        let origin = origin.filter(|origin| rule.any || rule.origins.contains(origin)).cloned();
        Some(Crossing { rule, origin, is_preflight })
    }

    /// What is said where `rule` decides, in words.
    pub(super) fn said(&self, rule: &Rule) -> Option<String> {
        let spoken = self.of(Some(rule))?;
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let origins: Vec<String> = spoken.origins.iter().map(text).collect();
        let origins = if spoken.any { "every origin".to_owned() } else { origins.join(", ") };
        let credentials = if spoken.credentials { ", with credentials" } else { "" };
        Some(format!("{} from {origins}{credentials}", text(&spoken.methods)))
    }
}

impl Crossing {
    /// The log's word for a preflight.
    pub(super) const fn reason(&self) -> &'static str {
        if self.origin.is_some() { "cors_preflight" } else { "cors_origin" }
    }

    /// The answer to a preflight. One from elsewhere gets nothing to go on.
    pub(super) fn preflight(&self) -> Response {
        let mut headers = Fields::with_capacity(8);
        headers.insert(header::VARY, PREFLIGHT_VARIES);
        if self.allow(&mut headers) {
            let Spoken { methods, headers: names, max_age, .. } = &*self.rule;
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        Response::new(StatusCode::NO_CONTENT, headers, Body::Empty)
    }

    /// Says in an answer who may read it, in the place of what the upstream says.
    pub(super) fn mark(&self, headers: &mut Fields) {
        for name in ANSWER_FIELDS {
            headers.remove(name);
        }
        let listed = self.allow(headers);
        if let Some(expose) = self.rule.expose.as_ref().filter(|_| listed) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        let varies =
            has_token(headers, &header::VARY, "origin") || has_token(headers, &header::VARY, "*");
        if !self.rule.any && !varies {
            headers.append(header::VARY, ORIGIN);
        }
    }

    /// Names the origin, if it is listed.
    fn allow(&self, headers: &mut Fields) -> bool {
        let Some(origin) = &self.origin else { return false };
        let named = if self.rule.any { ANY } else { origin.clone() };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, named);
        if self.rule.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        true
    }
}

impl Spoken {
    fn new(cors: &Cors) -> Self {
        let joined = |names: &[String]| text_value(&names.join(", "));
        let mut headers = cors.headers.clone();
        if headers.iter().any(|name| name == "*") {
            headers.push("authorization".to_owned()); // which `*` does not stand for
        }
        Self {
            any: cors.origins.iter().any(|origin| origin == "*"),
            origins: cors.origins.iter().map(|origin| text_value(origin)).collect(),
            methods: text_value(
                &cors.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "),
            ),
            headers: joined(&headers),
            expose: Some(joined(&cors.expose)).filter(|names| !names.is_empty()),
            credentials: cors.credentials,
            max_age: HeaderValue::from(cors.max_age.as_secs()),
        }
    }
}

/// The method that a preflight announces.
fn wanted(request: &Request) -> Option<Method> {
    let wanted = one(&request.headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(wanted.as_bytes()).ok()
}

/// The value of a field that is there once.
fn one<'a>(headers: &'a Fields, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name);
    values.next().filter(|_| values.next().is_none())
}

const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ORIGIN: HeaderValue = HeaderValue::from_static("origin");
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);
/// What an upstream may say of other origins.
const ANSWER_FIELDS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];
