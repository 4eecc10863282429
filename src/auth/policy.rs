//! What is demanded of a request, and whether its caller has it: the policy half of step 6 of the walk. Does not
//! know where a policy was written.
//!
//! Invariant: facts about a token are remembered, decisions are not: each request is judged by its own policy.

use std::borrow::Cow;
use std::rc::Rc;

use http::{Method, header};
use serde_json::Value;

use super::{Caller, Denied};
use crate::condition::{Condition, Names};
use crate::config::{self, Protect};
use crate::identity::Scopes;
use crate::message::Request;

/// Who is let in, ready to be asked.
#[derive(Clone, Debug)]
pub struct Policy {
    written: config::Policy,
    /// The scopes that a challenge names.
    scope: Option<Rc<str>>,
}

/// One thing that a policy can demand of a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// Every one of some scopes.
    AllScopes,
    /// One of some scopes.
    AnyScope,
    /// One of some clients.
    Client,
    /// One of some issuers.
    Issuer,
    /// One of some values of a claim.
    Claim,
    /// A condition.
    Condition,
}

/// What a condition may ask that only the route knows.
pub trait Params {
    /// The parameters of the path, by name, decoded.
    fn params(&self) -> Vec<(String, String)>;
}

/// No parameters.
impl Params for () {
    fn params(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Policy {
    /// As the configuration says.
    #[must_use]
    pub fn new(written: &config::Policy) -> Self {
        let mut scopes = written.demands.all_of.clone();
        for name in written.demands.any_of.iter() {
            scopes.add(name);
        }
        let scope = (!scopes.is_empty()).then(|| Rc::from(scopes.to_string()));
        Self { written: written.clone(), scope }
    }

    /// Whether this request needs a token.
    #[must_use]
    pub fn guards(&self, request: &Request) -> bool {
        match self.written.protect {
            Protect::Nothing => false,
            Protect::Mutating => is_mutating(request),
            Protect::All => !is_preflight(request),
            Protect::Deny => true,
        }
    }

    /// Whether nobody is let in.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.written.protect == Protect::Deny
    }

    /// Whether a refusal is told and not carried out.
    #[must_use]
    pub const fn reports(&self) -> bool {
        self.written.report
    }

    /// Whether it is the built-in one, as far as other spellings of the gateway's own paths are concerned.
    #[must_use]
    pub fn guards_mutating(&self) -> bool {
        matches!(self.written.protect, Protect::Mutating | Protect::All) && !self.written.report
    }

    /// The scopes that a challenge names.
    #[must_use]
    pub fn scope(&self) -> Option<&Rc<str>> {
        self.scope.as_ref()
    }

    /// What was written.
    #[must_use]
    pub const fn written(&self) -> &config::Policy {
        &self.written
    }

    /// How hard it is to pass with this request: policies of one rank above 1 cannot be compared.
    #[must_use]
    pub fn strictness(&self, request: &Request) -> u8 {
        match self.written.protect {
            _ if self.written.report => 0,
            Protect::Deny => 3,
            _ if !self.guards(request) => 0,
            _ if self.written.demands.is_empty() => 1,
            _ => 2,
        }
    }

    /// Whether `caller` has what is demanded beyond a valid token. `passed` hears of each requirement that is met,
    /// in order; the one that is not is [`Denied::requirement`]. Allocates nothing unless there is a condition.
    ///
    /// # Errors
    /// The first requirement that is not met.
    pub fn judge(
        &self,
        caller: &Caller,
        request: &Request,
        params: &dyn Params,
        now: u64,
        passed: &mut dyn FnMut(Requirement),
    ) -> Result<(), Denied> {
        let (demands, principal) = (&self.written.demands, &caller.principal);
        let mut demand = |is_asked: bool, is_met: bool, what, denied| {
            match (is_asked, is_met) {
                (false, _) => {}
                (true, true) => passed(what),
                (true, false) => return Err(denied),
            }
            Ok(())
        };
        let holds_one = |wanted: &Scopes| wanted.iter().any(|name| principal.scopes.contains(name));
        let (all_of, any_of) = (&demands.all_of, &demands.any_of);
        let has_all = all_of.iter().all(|name| principal.scopes.contains(name));
        demand(!all_of.is_empty(), has_all, Requirement::AllScopes, Denied::Scope)?;
        demand(!any_of.is_empty(), holds_one(any_of), Requirement::AnyScope, Denied::AnyScope)?;
        let is_client = principal.client_id.as_ref().is_some_and(|id| demands.clients.contains(id));
        demand(!demands.clients.is_empty(), is_client, Requirement::Client, Denied::Client)?;
        let is_issuer = demands.issuers.contains(&principal.issuer_name);
        demand(!demands.issuers.is_empty(), is_issuer, Requirement::Issuer, Denied::Issuer)?;
        let has_claims =
            demands.claims.iter().all(|(name, values)| has(principal.claims.get(name), values));
        demand(!demands.claims.is_empty(), has_claims, Requirement::Claim, Denied::ClaimValue)?;
        if let Some(condition) = &demands.when {
            match condition.holds(names(condition, caller, request, params, now)) {
                Some(true) => passed(Requirement::Condition),
                Some(false) => return Err(Denied::ConditionFalse),
                None => return Err(Denied::ConditionFailed),
            }
        }
        Ok(())
    }
}

impl Requirement {
    /// What is asked, in a word or three.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllScopes => "scopes (all_of)",
            Self::AnyScope => "scopes (any_of)",
            Self::Client => "client (clients)",
            Self::Issuer => "issuer (issuers)",
            Self::Claim => "claims",
            Self::Condition => "condition (when)",
        }
    }
}

/// Whether a request could change something: every method but GET, HEAD and OPTIONS, known or not, and every
/// request for another protocol.
fn is_mutating(request: &Request) -> bool {
    request.upgrade.is_some()
        || !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A CORS preflight: a browser sends it before the request that has the token, and cannot give it one.
pub fn is_preflight(request: &Request) -> bool {
    request.method == Method::OPTIONS
        && request.upgrade.is_none()
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a claim is one of these, or a list with one of these in it.
fn has(claim: Option<&Value>, wanted: &[String]) -> bool {
    let is_one = |text: &str| wanted.iter().any(|value| value == text);
    match claim {
        None | Some(Value::Null | Value::Object(_)) => false,
        Some(Value::String(text)) => is_one(text),
        Some(Value::Array(items)) => items.iter().any(|item| match item {
            Value::String(text) => is_one(text),
            Value::Bool(_) | Value::Number(_) => is_one(&item.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }),
        Some(other @ (Value::Bool(_) | Value::Number(_))) => is_one(&other.to_string()),
    }
}

/// The values of what `condition` looks at, and of nothing else.
fn names(
    condition: &Condition,
    caller: &Caller,
    request: &Request,
    params: &dyn Params,
    now: u64,
) -> Names {
    let principal = &caller.principal;
    let mut names = Names::default();
    names.names("request", request_names(condition, request));
    if condition.mentions("params") {
        names.texts("params", params.params());
    }
    if condition.mentions("claims") {
        names.json("claims", &principal.claims);
    }
    if condition.mentions("scopes") {
        names.list("scopes", principal.scopes.iter());
    }
    names.text("client_id", principal.client_id.as_deref());
    names.text("subject", principal.subject.as_deref());
    names.text("issuer", Some(&principal.issuer_name));
    names.number("now", now);
    names
}

/// `request.…` of a condition: what is not mentioned is left out.
pub fn request_names(condition: &Condition, request: &Request) -> Names {
    let mut names = Names::default();
    if condition.mentions("request.method") {
        names.text("method", Some(request.method.as_str()));
    }
    if condition.mentions("request.host") {
        names.text("host", request.host_name().as_deref());
    }
    if condition.mentions("request.path") {
        names.text("path", Some(request.target.path()));
    }
    if condition.mentions("request.query") {
        names.text("query", Some(request.target.query()));
    }
    if condition.mentions("request.headers") {
        names.texts("headers", headers(request));
    }
    names
}

/// Each field once, its lines joined as RFC 9110 §5.3 has it, so that none of them is overlooked.
fn headers(request: &Request) -> impl Iterator<Item = (String, String)> {
    request.headers.keys().map(|name| {
        let lines = request.headers.get_all(name);
        let lines: Vec<Cow<'_, str>> =
            lines.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (name.as_str().to_owned(), lines.join(", "))
    })
}
