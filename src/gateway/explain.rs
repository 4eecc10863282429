//! What would become of a request and why, step by step: the walk of [`super`] with every step told and nothing
//! sent. It decides nothing by itself, and shows no token and no secret.

use std::rc::Rc;

use serde::Serialize;

use super::{Gateway, Refusal, once};
use crate::auth::{
    Asking, Authentication, Check, Credential, Denied, Permitted, Policy, Requirement, authorize,
    credential,
};
use crate::config::{Demands, Protect, Settings};
use crate::message::{Request, Response};
use crate::route::Choice;

/// The decision about one request, and what led to it.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// The rule that it meets; none where it was refused before, or is for the gateway itself.
    pub route: Option<RuleSaid>,
    /// What that rule demands, each in a clause.
    pub demands: Vec<String>,
    /// How often one caller may ask, where that is limited.
    pub rate_limit: Option<String>,
    /// Which pages of other origins may call, where the gateway says so.
    pub cors: Option<String>,
    /// The issuer whose token it is, by name.
    pub issuer: Option<String>,
    /// What was looked at, in order.
    pub checks: Vec<CheckSaid>,
    /// `allowed`, `open`, `reported`, `refused` or `own`, as the log says it.
    pub decision: &'static str,
    /// The reason code of the log.
    pub reason: &'static str,
    /// The same in words.
    pub why: String,
    /// The status, where the gateway answers.
    pub status: Option<u16>,
    /// The headers of that answer.
    pub answer: Vec<(String, String)>,
    /// The request line that the upstream gets.
    pub upstream_line: Option<String>,
    /// The headers that the upstream gets, in order; credentials are not shown.
    pub upstream_headers: Vec<(String, String)>,
}

/// A rule and why it is this one.
#[derive(Debug, Serialize)]
pub struct RuleSaid {
    /// As in the log.
    pub name: String,
    /// The pattern of its path.
    pub path: Option<String>,
    /// Which hosts, paths and methods it is for.
    pub matches: String,
    /// How the path was read, where not as it stands.
    pub read_as: Option<String>,
    /// The laxer rule that the path leads to as it stands.
    pub instead_of: Option<String>,
    /// The name of the upstream that it leads to.
    pub upstream: String,
    /// What the upstream gets instead of the path, as it was written.
    pub rewrite: Option<String>,
}

/// One check and how it went.
#[derive(Debug, Serialize)]
pub struct CheckSaid {
    /// What is asked.
    pub name: String,
    /// Whether it passed; none: it was not looked at.
    pub passed: Option<bool>,
    /// The reason code, where it did not.
    pub reason: Option<&'static str>,
    /// The same in words.
    pub why: Option<&'static str>,
}

impl Gateway {
    /// What would become of `request`.
    #[must_use]
    pub fn explain(&self, request: Request) -> Explanation {
        let mut said = Explanation::default();
        if self.asks_to_verify(&request).is_some() {
            (said.decision, said.reason) = ("own", "forward_auth");
            said.why = "the forward-auth endpoint judges what another proxy asks about".to_owned();
            return said;
        }
        let mut request = Box::new(request);
        let crossing = self.crossing(&mut request).filter(|crossing| crossing.is_preflight);
        if let Some(crossing) = crossing {
            let answer = crossing.preflight();
            (said.decision, said.reason) = ("own", crossing.reason());
            said.why = "a preflight, which the gateway answers".to_owned();
            return said.answered(&answer);
        }
        let request = match self.admit(request) {
            Ok(request) => request,
            Err(refusal) => return said.refused(&refusal, None),
        };
        if let Some((_, endpoint)) = self.own_endpoint(&request) {
            (said.decision, said.reason) = ("own", endpoint.name());
            said.why = format!("the {} endpoint answers", endpoint.name());
            return said;
        }
        let choice = match self.routes.choose(&request) {
            Ok(choice) => choice,
            Err(ambiguous) => return said.refused(&ambiguous.into(), None),
        };
        let policy = &choice.rule.policy;
        let guarded = policy.guards(&request);
        said.route = Some(rule_said(&choice, &request, self.generation.settings()));
        said.demands = demands_said(policy, guarded);
        said.cors = self.cors.as_ref().and_then(|rules| rules.said(choice.rule));
        said.rate_limit = self.limits.as_ref().and_then(|limits| limits.said(choice.rule));
        let now = self.clock.unix_seconds();
        let authentication = said.authenticate(self, &request, now);
        let authentication = once(&request, guarded, authentication);
        if let Err(denied @ Denied::Repeated) = authentication
            && said.checks.iter().all(|check| check.passed != Some(false))
        {
            said.check("one credential", Some(false), Some(denied));
        }
        let demand = match choice.demand(&request, now) {
            Ok(demand) => demand,
            Err(ambiguous) => return said.refused(&ambiguous.into(), None),
        };
        let mut met = Vec::new();
        let is_judged =
            guarded && !policy.denies() && matches!(authentication, Ok(Authentication::Caller(_)));
        let outcome =
            authorize(request, demand, authentication, &mut |requirement| met.push(requirement));
        let denied = match &outcome {
            Ok(permitted) => permitted.reported(),
            Err(denied) => Some(*denied),
        };
        if guarded && !policy.denies() {
            said.requirements(&policy.written().demands, &met, denied, is_judged);
        }
        match outcome {
            Ok(permitted) => said.forwarded(self, permitted, guarded, &choice),
            Err(denied) => {
                said.refused(&Refusal::of(denied, policy), self.resource_metadata.as_deref())
            }
        }
    }
}

impl Explanation {
    /// Whether the request would go on, or be answered by an endpoint of the gateway.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision != "refused"
    }

    /// What becomes of a request that is refused for `refusal`; a challenge leads to `resource_metadata`.
    #[must_use]
    pub fn refused(mut self, refusal: &Refusal, resource_metadata: Option<&str>) -> Self {
        let response = refusal.response("(made for each request)", resource_metadata);
        (self.decision, self.reason) = ("refused", refusal.code());
        self.why = refusal.to_string();
        self.answered(&response)
    }

    /// With the head of the gateway's own answer.
    fn answered(mut self, response: &Response) -> Self {
        self.status = Some(response.status.as_u16());
        for (name, value) in &response.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            self.answer.push((name.as_str().to_owned(), value));
        }
        self
    }

    fn authenticate(
        &mut self,
        gateway: &Gateway,
        request: &Request,
        now: u64,
    ) -> Result<Authentication, Denied> {
        let name = "credential (Authorization)";
        let token = match credential(&request.headers) {
            Ok(Credential::None) => {
                self.check(name, None, None);
                return Ok(Authentication::Nobody);
            }
            Ok(Credential::Other) => {
                self.check("credential (Authorization): not Bearer", None, None);
                return Ok(Authentication::OtherScheme);
            }
            Ok(Credential::Bearer(token)) => token,
            Err(denied) => {
                self.check(name, Some(false), Some(denied));
                return Err(denied);
            }
        };
        self.check(name, Some(true), None);
        let mut passed = Vec::new();
        let outcome =
            gateway.authenticator.explain_of(token, &Asking::from(request), now, &mut passed);
        let denied = outcome.as_ref().err().copied();
        for check in Check::ALL {
            if passed.contains(&check) {
                self.check(check.name(), Some(true), None);
            } else if denied.is_some_and(|denied| denied.check() == Some(check)) {
                self.check(check.name(), Some(false), denied);
            } else {
                self.check(check.name(), None, None);
            }
        }
        let caller = outcome?;
        self.issuer = Some(caller.principal.issuer_name.clone());
        Ok(Authentication::Caller(Rc::new(caller)))
    }

    fn requirements(
        &mut self,
        demands: &Demands,
        met: &[Requirement],
        denied: Option<Denied>,
        is_judged: bool,
    ) {
        for (requirement, wanted) in requirements(demands) {
            let name = format!("{}: {wanted}", requirement.name());
            let failed = denied.filter(|denied| denied.requirement() == Some(requirement));
            match (is_judged && met.contains(&requirement), failed) {
                (true, _) => self.check(&name, Some(true), None),
                (false, Some(denied)) => self.check(&name, Some(false), Some(denied)),
                (false, None) => self.check(&name, None, None),
            }
        }
    }

    fn check(&mut self, name: &str, passed: Option<bool>, denied: Option<Denied>) {
        self.checks.push(CheckSaid {
            name: name.to_owned(),
            passed,
            reason: denied.map(Denied::code),
            why: denied.map(Denied::description),
        });
    }

    fn forwarded(
        mut self,
        gateway: &Gateway,
        permitted: Permitted,
        guarded: bool,
        choice: &Choice<'_>,
    ) -> Self {
        let (decision, reason) = super::passed(&permitted, guarded, choice.rule);
        (self.decision, self.reason) = (decision.as_str(), reason);
        self.why = match permitted.reported() {
            Some(denied) => format!("would be refused: {}", denied.description()),
            None if guarded => "the token is good, and all that is demanded".to_owned(),
            None => "no token is needed".to_owned(),
        };
        let head = gateway.upstreams.head(&permitted, b"(made for each request)");
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines().filter(|line| !line.is_empty());
        self.upstream_line = lines.next().map(without_query);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let shown = if is_secret(name) { "(not shown)" } else { value };
            self.upstream_headers.push((name.to_owned(), shown.to_owned()));
        }
        self
    }
}

fn rule_said(choice: &Choice<'_>, request: &Request, settings: &Settings) -> RuleSaid {
    let rule = choice.rule;
    let matches = rule.pattern.as_ref().map_or_else(
        || "no route matches: [access] decides".to_owned(),
        |pattern| {
            let host = pattern
                .host
                .as_ref()
                .map_or("every host".to_owned(), |host| format!("host {host}"));
            let methods: Vec<&str> = pattern.methods.iter().map(http::Method::as_str).collect();
            let methods =
                if methods.is_empty() { "every method".to_owned() } else { methods.join(", ") };
            let params: Vec<String> = choice
                .params_of(request)
                .iter()
                .map(|(name, value)| format!("{name} = {value:?}"))
                .collect();
            let params =
                if params.is_empty() { String::new() } else { format!(" ({})", params.join(", ")) };
            format!("the most specific for this: {host}, path {}{params}, {methods}", pattern.path)
        },
    );
    RuleSaid {
        name: rule.name.as_str().to_owned(),
        path: rule.pattern.as_ref().map(|pattern| pattern.path.to_string()),
        matches,
        read_as: choice.reading().filter(|reading| reading != request.target.path()),
        instead_of: choice.instead_of.map(|other| other.name.as_str().to_owned()),
        upstream: settings
            .every_upstream()
            .nth(rule.upstream)
            .map_or(String::new(), |upstream| upstream.name.clone()),
        rewrite: rule.rewrite.as_ref().map(|rewrite| rewrite.text.clone()),
    }
}

fn demands_said(policy: &Policy, guarded: bool) -> Vec<String> {
    let mut said = vec![match (policy.denies(), guarded, policy.written().protect) {
        (true, ..) => "nobody is let in".to_owned(),
        (false, true, _) => "a valid token".to_owned(),
        (false, false, Protect::Nothing) => "nothing".to_owned(),
        (false, false, Protect::Mutating) => "nothing of this method".to_owned(),
        (false, false, Protect::All | Protect::Deny) => "nothing of a CORS preflight".to_owned(),
    }];
    if guarded && !policy.denies() {
        for (requirement, wanted) in requirements(&policy.written().demands) {
            said.push(format!("{}: {wanted}", requirement.name()));
        }
    }
    if policy.reports() {
        said.push("only reported: mode = \"report\"".to_owned());
    }
    said
}

/// What is demanded beyond a valid token, in the order in which it is judged.
fn requirements(demands: &Demands) -> Vec<(Requirement, String)> {
    let mut all = Vec::new();
    let mut add = |is_asked: bool, what, wanted: String| {
        if is_asked {
            all.push((what, wanted));
        }
    };
    add(!demands.all_of.is_empty(), Requirement::AllScopes, demands.all_of.to_string());
    add(!demands.any_of.is_empty(), Requirement::AnyScope, demands.any_of.to_string());
    add(!demands.clients.is_empty(), Requirement::Client, demands.clients.join(", "));
    add(!demands.issuers.is_empty(), Requirement::Issuer, demands.issuers.join(", "));
    let claims: Vec<String> = demands
        .claims
        .iter()
        .map(|(name, values)| format!("{name} one of {}", values.join(", ")))
        .collect();
    add(!claims.is_empty(), Requirement::Claim, claims.join("; "));
    let when = demands.when.as_ref().map_or(String::new(), |when| when.text().to_owned());
    add(demands.when.is_some(), Requirement::Condition, when);
    all
}

/// A query may hold a token, and is passed on as it is.
fn without_query(line: &str) -> String {
    let Some((front, rest)) = line.split_once('?') else { return line.to_owned() };
    let version = rest.rsplit(' ').next().unwrap_or_default();
    format!("{front}?… {version}")
}

/// Whether a header of this name may hold what nobody should see on a terminal.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

const SECRET: [&str; 9] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "credential",
    "api-key",
    "apikey",
    "signature",
];
