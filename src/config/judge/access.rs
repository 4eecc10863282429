//! `[access]` and `[[routes]]`: who is let in where. What a route does not say is filled in from `[access]`, and
//! routes that get into each other's way are faults.

use std::collections::HashMap;

use http::Method;

use super::{Desk, clients, cors, identity, rewrite};
use crate::condition::{Condition, Word};
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::node::Place;
use crate::config::pattern::{HostPattern, PathPattern, Segment};
use crate::config::raw::{self, Root};
use crate::config::settings::{self, DEFAULT_UPSTREAM, Demands, Policy, Protect, RateLimit, Route};
use crate::config::shape::At;
use crate::config::value::{self, Entries, Mode, OneOrMore, RouteAccess, Text};
use crate::identity::{OWN_ISSUER, Scopes};

/// `[access]`.
pub(super) fn access(raw: &raw::Access, desk: &mut Desk<'_>) -> Option<Policy> {
    let all_of = clients::scopes(&raw.all_of.as_ref()?.value, desk);
    let any_of = clients::scopes(&raw.any_of.as_ref()?.value, desk);
    let protect = raw.protect.as_ref()?;
    let demands = Demands { all_of: all_of?, any_of: any_of?, ..Demands::default() };
    if protect.value == value::Protect::None && !demands.is_empty() {
        desk.report.warn(
            protect.place,
            "`protect` is none, so the scopes of [access] are asked for on protected routes only",
            "say protect = \"mutating\" or \"all\" if every caller needs them",
        );
    }
    Some(Policy {
        protect: match protect.value {
            value::Protect::None => Protect::Nothing,
            value::Protect::Mutating => Protect::Mutating,
            value::Protect::All => Protect::All,
        },
        demands,
        report: raw.mode.as_ref()?.value == Mode::Report,
    })
}

/// `[[routes]]`, in which what is left out is `access`'s.
pub(super) fn routes(
    written: &[At<raw::Route>],
    access: Option<&Policy>,
    root: &Root,
    desk: &mut Desk<'_>,
) -> Option<Vec<Route>> {
    let names = Names::of(root);
    let routes: Vec<Option<Route>> =
        written.iter().map(|raw| route(&raw.value, access, &names, desk)).collect();
    let found: Vec<(&At<raw::Route>, &Route)> = written
        .iter()
        .zip(&routes)
        .filter_map(|(raw, route)| route.as_ref().map(|route| (raw, route)))
        .collect();
    one_name_each(written, desk);
    no_two_for_the_same(&found, desk);
    none_out_of_reach(&found, root, desk);
    every_upstream_is_used(written, root, desk);
    routes.into_iter().collect()
}

/// Whom a route may name.
struct Names<'r> {
    clients: Vec<&'r str>,
    issuers: Vec<&'r str>,
    /// `[upstream]` first: a route knows its upstream by the place in this list.
    upstreams: Vec<&'r str>,
}

impl<'r> Names<'r> {
    fn of(root: &'r Root) -> Self {
        let id =
            |client: &'r At<raw::Client>| client.value.id.as_ref().map(|id| id.value.0.as_str());
        let clients = root.clients.as_ref().map_or(&[][..], |clients| clients.value.as_slice());
        let name = |issuer: &'r At<raw::Issuer>| {
            issuer.value.name.as_ref().map(|name| name.value.0.as_str())
        };
        let issuers = root.issuers.as_ref().map_or(&[][..], |issuers| issuers.value.as_slice());
        Self {
            clients: clients.iter().filter_map(id).collect(),
            issuers: [OWN_ISSUER].into_iter().chain(issuers.iter().filter_map(name)).collect(),
            upstreams: [DEFAULT_UPSTREAM].into_iter().chain(named_upstreams(root)).collect(),
        }
    }

    /// Whether every client is one of ours.
    fn clients_are_known(&self) -> bool {
        self.issuers == [OWN_ISSUER]
    }
}

fn route(
    raw: &raw::Route,
    access: Option<&Policy>,
    names: &Names<'_>,
    desk: &mut Desk<'_>,
) -> Option<Route> {
    if !raw.given.has("path") {
        let mend = "add path = \"/{*rest}\" for every path, or one such as \"/admin/{*rest}\"";
        desk.report.error(raw.place, "this route has no `path`", mend);
    }
    let path = raw.path.as_ref().and_then(|path| self::path(path, desk));
    let host = raw.host.as_ref().map(|host| self::host(host, desk));
    let methods = raw.methods.as_ref().map(|methods| self::methods(&methods.value.0, desk));
    let own = demands(raw, path.as_ref(), names, desk);
    let identity = raw.identity.as_ref().map(|identity| route_identity(&identity.value, desk));
    let upstream = raw.upstream.as_ref().map(|name| upstream_of(name, names, desk));
    let rewrite = raw.rewrite.as_ref().map(|text| rewrite::rewrite(text, path.as_ref(), desk));
    let rate_limit = rate_limit(raw.rate_limit.as_ref(), desk);
    let cors = cors::cors(raw.cors.as_ref(), desk);
    let policy = policy(raw, own?, access, desk);
    let path = path?;
    Some(Route {
        name: raw.name.as_ref().map_or_else(|| path.to_string(), |name| name.value.0.clone()),
        host: match host {
            Some(host) => Some(host?),
            None => None,
        },
        path,
        methods: match methods {
            Some(methods) => methods?,
            None => Vec::new(),
        },
        policy: policy?,
        identity: match identity {
            Some(identity) => Some(identity?),
            None => None,
        },
        upstream: upstream.unwrap_or(Some(0))?,
        rewrite: match rewrite {
            Some(rewrite) => Some(rewrite?),
            None => None,
        },
        rate_limit: rate_limit?,
        cors: cors?,
    })
}

/// The names of `[[upstreams]]`, in order; a name that is missing is a fault elsewhere.
fn named_upstreams(root: &Root) -> impl Iterator<Item = &str> {
    let named = root.upstreams.iter().flat_map(|named| &named.value);
    named.map(|named| named.value.name.as_ref().map_or("", |name| name.value.0.as_str()))
}

/// The number of the upstream with this name.
fn upstream_of(name: &At<Text>, names: &Names<'_>, desk: &mut Desk<'_>) -> Option<usize> {
    known("upstream", name, &names.upstreams, desk);
    names.upstreams.iter().position(|known| *known == name.value.0)
}

/// A named upstream that no route leads to.
fn every_upstream_is_used(written: &[At<raw::Route>], root: &Root, desk: &mut Desk<'_>) {
    let used = |name: &str| {
        let named = written.iter().filter_map(|route| route.value.upstream.as_ref());
        named.into_iter().any(|upstream| upstream.value.0 == name)
    };
    for named in root.upstreams.iter().flat_map(|named| &named.value) {
        if let Some(name) = named.value.name.as_ref().filter(|name| !used(&name.value.0)) {
            let name_shown = printable(&name.value.0);
            let reason = format!("no route leads to the upstream `{name_shown}`");
            let mend = format!("say upstream = \"{name_shown}\" in a route, or remove it");
            desk.report.warn(name.place, reason, mend);
        }
    }
}

/// How often one caller may ask; `Some(None)` where nothing is said of it.
pub(super) fn rate_limit(
    written: Option<&At<raw::RateLimit>>,
    desk: &mut Desk<'_>,
) -> Option<Option<RateLimit>> {
    let Some(At { value: raw, place }) = written else { return Some(None) };
    if !raw.given.has("requests") {
        let mend = "say how many, as in rate_limit = { per = \"client\", requests = 100, window = \"1m\" }";
        desk.report.error(*place, "this `rate_limit` has no `requests`", mend);
    }
    let per = match raw.per.as_ref()?.value {
        value::LimitPer::Client => settings::LimitPer::Client,
        value::LimitPer::Subject => settings::LimitPer::Subject,
        value::LimitPer::Address => settings::LimitPer::Address,
    };
    let requests = u32::try_from(raw.requests.as_ref()?.value.0).ok()?;
    Some(Some(RateLimit { per, requests, window: raw.window.as_ref()?.value.0 }))
}

fn path(path: &At<Text>, desk: &mut Desk<'_>) -> Option<PathPattern> {
    match PathPattern::parse(&path.value.0) {
        Ok(pattern) => Some(pattern),
        Err((what, mend)) => {
            let reason = format!("the pattern `{}` {}", printable(&path.value.0), printable(&what));
            desk.report.error(path.place, reason, mend);
            None
        }
    }
}

fn host(host: &At<Text>, desk: &mut Desk<'_>) -> Option<HostPattern> {
    match HostPattern::parse(&host.value.0) {
        Ok(pattern) => Some(pattern),
        Err((what, mend)) => {
            let reason = format!("`host` {what}: `{}`", printable(&host.value.0));
            desk.report.error(host.place, reason, mend);
            None
        }
    }
}

/// Methods, each once. Faults are reported.
pub(super) fn methods(written: &[At<Text>], desk: &mut Desk<'_>) -> Option<Vec<Method>> {
    let mut methods: Vec<Method> = Vec::new();
    for At { value: Text(text), place } in written {
        let upper = text.to_ascii_uppercase();
        let fault = match Method::from_bytes(text.as_bytes()) {
            Err(_) => Some((
                format!("`{}` is no method", printable(text)),
                "write one such as \"POST\"".to_owned(),
            )),
            Ok(_) if *text != upper && KNOWN_METHODS.contains(&upper.as_str()) => Some((
                format!("no client sends `{text}`: methods are told apart by case"),
                format!("write \"{upper}\""),
            )),
            Ok(Method::TRACE | Method::CONNECT) => {
                Some((format!("`{text}` is refused before any route"), "leave it out".to_owned()))
            }
            Ok(method) => {
                if !methods.contains(&method) {
                    methods.push(method);
                }
                None
            }
        };
        if let Some((reason, mend)) = fault {
            desk.report.error(*place, reason, mend);
        }
    }
    Some(methods)
}

fn route_identity(
    raw: &raw::RouteIdentity,
    desk: &mut Desk<'_>,
) -> Option<Vec<(http::HeaderName, String)>> {
    match &raw.headers {
        Some(entries) => Some(identity::headers(entries, desk)),
        None => {
            if !raw.given.has("headers") {
                let mend = "write identity = { headers = { \"X-Auth-Subject\" = \"sub\" } }";
                desk.report.error(raw.place, "this `identity` has no `headers`", mend);
            }
            None
        }
    }
}

/// What a route demands by itself; scopes that it does not speak of are none here.
fn demands(
    raw: &raw::Route,
    path: Option<&PathPattern>,
    names: &Names<'_>,
    desk: &mut Desk<'_>,
) -> Option<Demands> {
    let mut scopes = |written: &Option<At<Vec<At<Text>>>>| {
        written
            .as_ref()
            .map_or(Some(Scopes::default()), |names| clients::scopes(&names.value, desk))
    };
    let (all_of, any_of) = (scopes(&raw.all_of), scopes(&raw.any_of));
    let clients = raw.clients.as_ref().map_or(&[][..], |clients| clients.value.0.as_slice());
    if names.clients_are_known() {
        for id in clients {
            known("client", id, &names.clients, desk);
        }
    }
    let issuers = raw.issuers.as_ref().map_or(&[][..], |issuers| issuers.value.0.as_slice());
    for name in issuers {
        known("issuer", name, &names.issuers, desk);
    }
    let when = raw.when.as_ref().map(|when| condition(when, path, desk));
    let texts = |list: &[At<Text>]| list.iter().map(|text| text.value.0.clone()).collect();
    Some(Demands {
        all_of: all_of?,
        any_of: any_of?,
        clients: texts(clients),
        issuers: texts(issuers),
        claims: raw.claims.as_ref().map_or(Vec::new(), |claims| self::claims(&claims.value)),
        when: match when {
            Some(when) => Some(when?),
            None => None,
        },
    })
}

fn claims(written: &Entries<OneOrMore<Text>>) -> Vec<(String, Vec<String>)> {
    let values = |list: &OneOrMore<Text>| list.0.iter().map(|text| text.value.0.clone()).collect();
    written.0.iter().map(|(name, list)| (name.value.clone(), values(&list.value))).collect()
}

fn known(what: &str, name: &At<Text>, names: &[&str], desk: &mut Desk<'_>) {
    if names.contains(&name.value.0.as_str()) {
        return;
    }
    let mend = match nearest(&name.value.0, names.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("name an {what} of [[{what}s]]").replace("an client", "a client"),
    };
    let reason = format!("there is no {what} `{}`", printable(&name.value.0));
    desk.report.error(name.place, reason, mend);
}

fn condition(
    when: &At<Text>,
    path: Option<&PathPattern>,
    desk: &mut Desk<'_>,
) -> Option<Condition> {
    let text = &when.value.0;
    let condition = match Condition::compile(text, &WORDS) {
        Ok(condition) => condition,
        Err(bad) => {
            let reason = format!("`when`: {}", printable(&bad.reason));
            desk.report.error(within(when.place, text, bad.at), reason, bad.mend);
            return None;
        }
    };
    let has_names = path.is_none_or(|path| path.names().next().is_some());
    if condition.mentions("params") && !has_names {
        let mend = "give the pattern one, as in \"/teams/{team}\"";
        desk.report.error(when.place, "`when` asks for params, and the path has none", mend);
    }
    Some(condition)
}

/// The place of one byte of a text, where that can be told: a text with escapes in it is longer in the file.
fn within(place: Place, text: &str, at: usize) -> Place {
    match place {
        Place::File { start, end } if end - start == text.len() + 2 => {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let width = text.bytes().skip(at).take_while(|byte| is_word(byte)).count();
            Place::File { start: start + 1 + at, end: start + 1 + at + width.max(1) }
        }
        whole => whole,
    }
}

/// With what `[access]` says filled in.
fn policy(
    raw: &raw::Route,
    mut demands: Demands,
    access: Option<&Policy>,
    desk: &mut Desk<'_>,
) -> Option<Policy> {
    let own = OWN_DEMANDS.into_iter().find(|key| raw.given.has(key));
    let protect = match raw.access.as_ref().map(|access| access.value) {
        Some(given @ (RouteAccess::Public | RouteAccess::Deny)) => {
            if let Some(key) = own {
                let (word, mend) = match given {
                    RouteAccess::Public => ("public", "say access = \"protected\""),
                    RouteAccess::Deny | RouteAccess::Protected => {
                        ("deny", "say access = \"protected\"")
                    }
                };
                let reason = format!("`access` is {word}, so `{key}` is asked of nobody");
                desk.report.error(raw.place, reason, format!("{mend}, or leave `{key}` out"));
                return None;
            }
            if given == RouteAccess::Public { Protect::Nothing } else { Protect::Deny }
        }
        Some(RouteAccess::Protected) => Protect::All,
        None if raw.given.has("access") => return None,
        None if !demands.is_empty() => Protect::All,
        None => access?.protect,
    };
    let access = access?;
    let report = raw.mode.as_ref().map_or(access.report, |mode| mode.value == Mode::Report);
    if !raw.given.has("all_of") && !raw.given.has("any_of") {
        demands.all_of = access.demands.all_of.clone();
        demands.any_of = access.demands.any_of.clone();
    }
    Some(Policy { protect, demands, report })
}

/// A name that was given stands for one route.
fn one_name_each(written: &[At<raw::Route>], desk: &mut Desk<'_>) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for name in written.iter().filter_map(|route| route.value.name.as_ref()) {
        if let Some(first) = seen.insert(&name.value.0, name.place) {
            let reason = format!(
                "two routes have the name `{}`; the other one at",
                printable(&name.value.0)
            );
            desk.report.clash(name.place, first, reason, "give each route a name of its own");
        }
    }
}

/// Two routes with the same host, the same pattern but for names, and a common method (or none given).
fn no_two_for_the_same(found: &[(&At<raw::Route>, &Route)], desk: &mut Desk<'_>) {
    let mut seen: HashMap<(Option<&HostPattern>, String, Option<&Method>), Place> = HashMap::new();
    for (raw, route) in found {
        let place = raw.value.path.as_ref().map_or(raw.place, |path| path.place);
        let shape = route.path.shape();
        let every = [None];
        let some: Vec<Option<&Method>> = route.methods.iter().map(Some).collect();
        let methods = if some.is_empty() { &every[..] } else { &some[..] };
        let other = methods
            .iter()
            .filter_map(|method| seen.insert((route.host.as_ref(), shape.clone(), *method), place))
            .next();
        if let Some(other) = other {
            let reason = "this route is for the same requests as another, and no more specific; the other one at";
            let mend = "join the two, or tell them apart by host, path or methods";
            desk.report.clash(place, other, reason, mend);
        }
    }
}

/// Routes that no request comes to.
fn none_out_of_reach(found: &[(&At<raw::Route>, &Route)], root: &Root, desk: &mut Desk<'_>) {
    let own = own_paths(root);
    let every_method: HashMap<(Option<&HostPattern>, String), Place> = found
        .iter()
        .filter(|(_, route)| route.methods.is_empty())
        .map(|(raw, route)| ((route.host.as_ref(), route.path.shape()), raw.place))
        .collect();
    for (raw, route) in found {
        let place = raw.value.path.as_ref().map_or(raw.place, |path| path.place);
        let is_literal =
            route.path.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)));
        let shape = route.path.shape();
        let taken = own.iter().find(|(_, path)| path.value.0.trim_end_matches('/') == shape);
        if let Some((what, _)) = taken.filter(|_| is_literal) {
            let reason = format!("no request comes to this route: {what} has its path");
            let mend = "leave the route out, or move the endpoint to another path";
            desk.report.error(place, reason, mend);
        }
        let Some(front) = shape.strip_suffix("/{*}") else { continue };
        let host = route.host.as_ref();
        let here = every_method.get(&(host, front.to_owned()));
        let below = every_method.get(&(host, format!("{front}/{{}}/{{*}}")));
        if let (Some(_), Some(below)) = (here, below) {
            let reason = "no request comes to this route: two more specific ones take all of them; one of them at";
            desk.report.clash(place, *below, reason, "leave one of the three out");
        }
    }
}

/// The paths of the gateway's own endpoints.
pub(super) fn own_paths(root: &Root) -> Vec<(&'static str, &At<Text>)> {
    let forward_auth = root.forward_auth.as_ref().and_then(|table| table.value.path.as_ref());
    let forward_auth = forward_auth.map(|path| ("the forward-auth endpoint", path));
    let Some(token) = &root.token else { return forward_auth.into_iter().collect() };
    let endpoints = token.value.endpoints.as_ref().map(|endpoints| &endpoints.value);
    let written = [
        ("the token endpoint", token.value.path.as_ref()),
        ("the jwks endpoint", endpoints.and_then(|endpoints| endpoints.jwks.as_ref())),
        (
            "the introspection endpoint",
            endpoints.and_then(|endpoints| endpoints.introspect.as_ref()),
        ),
        ("the revocation endpoint", endpoints.and_then(|endpoints| endpoints.revoke.as_ref())),
    ];
    let written = written.into_iter().filter_map(|(what, path)| path.map(|path| (what, path)));
    written.chain(forward_auth).collect()
}

/// What a condition of a route may use.
pub(crate) const WORDS: [Word; 8] = [
    Word { name: "request", fields: &["method", "host", "path", "query", "headers"] },
    Word { name: "params", fields: &[] },
    Word { name: "claims", fields: &[] },
    Word { name: "client_id", fields: &[] },
    Word { name: "subject", fields: &[] },
    Word { name: "scopes", fields: &[] },
    Word { name: "issuer", fields: &[] },
    Word { name: "now", fields: &[] },
];
const OWN_DEMANDS: [&str; 6] = ["all_of", "any_of", "clients", "issuers", "claims", "when"];
const KNOWN_METHODS: [&str; 9] =
    ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"];
