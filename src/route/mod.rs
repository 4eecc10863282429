//! Which policy a request meets: step 3 of the walk. `[[routes]]`, compiled: `trie` finds the most specific pattern,
//! `reading` tells how else a path could be read.
//!
//! Invariant: a request passes only by a policy at least as strict as that of every route that a reader behind the
//! gateway could take it for; where that cannot be told, it is refused. Paths are told apart by case when something
//! is to be opened by them, and not when something is to be closed.

mod reading;
mod rewrite;
mod trie;

use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

pub use reading::Ambiguous;

use crate::auth::{Demand, Params, Policy};
use crate::config::{HostPattern, PathPattern, Rewrite, Segment, Settings};
use crate::message::{Destination, Request, host_part};
use crate::observe::RouteName;
use reading::readings;
use rewrite::rewritten;
use trie::{Found, Trie};

/// Every route, and what is where none is.
#[derive(Debug)]
pub struct Routes {
    default: Rule,
    rules: Vec<Rule>,
    any_host: Tries,
    hosts: HashMap<Box<[u8]>, Tries, RandomState>,
    /// By the name that they are below.
    below: HashMap<Box<[u8]>, Tries, RandomState>,
    /// Some literal has an upper-case letter.
    mixed_case: bool,
    by_method: bool,
    /// Paths of the gateway's own endpoints.
    own: Vec<String>,
}

/// A route, or the default.
#[derive(Debug)]
pub struct Rule {
    /// What the log calls it.
    pub name: RouteName,
    /// Its place among `[[routes]]`; none for the default.
    pub number: Option<usize>,
    /// Which requests it is for; none for the default.
    pub pattern: Option<Pattern>,
    /// Who is let in.
    pub policy: Policy,
    /// Which of `Settings::identity_sets` tells the upstream of the caller.
    pub identity_set: usize,
    /// Which of `Settings::every_upstream` the requests go to.
    pub upstream: usize,
    /// What the upstream gets instead of the path.
    pub rewrite: Option<Rewrite>,
}

/// Which requests a route is for.
#[derive(Debug)]
pub struct Pattern {
    /// For this host alone.
    pub host: Option<HostPattern>,
    /// For these paths.
    pub path: PathPattern,
    /// For these methods; empty: for all.
    pub methods: Vec<http::Method>,
}

/// The rule that a request meets.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The rule that the path leads to as it stands, where that is a laxer one.
    pub instead_of: Option<&'a Rule>,
    /// Whether the method may have had a say.
    pub by_method: bool,
    /// The path, as it was read to come here, where somebody asks for it.
    reading: Option<Vec<u8>>,
}

/// The patterns for one host, and the same without case.
#[derive(Debug)]
struct Tries {
    exact: Trie,
    folded: Trie,
}

impl Default for Tries {
    fn default() -> Self {
        Self { exact: Trie::new(false), folded: Trie::new(true) }
    }
}

impl Routes {
    /// The routes of `settings`. `own` are the paths of the gateway's own endpoints: no other spelling of them is
    /// let through.
    #[must_use]
    pub fn new(settings: &Settings, own: Vec<String>) -> Self {
        let sets = settings.identity_sets();
        let mut routes = Self {
            default: Rule {
                name: RouteName::Fixed("default"),
                number: None,
                pattern: None,
                policy: Policy::new(&settings.access),
                identity_set: 0,
                upstream: 0,
                rewrite: None,
            },
            rules: Vec::with_capacity(settings.routes.len()),
            any_host: Tries::default(),
            hosts: HashMap::default(),
            below: HashMap::default(),
            mixed_case: false,
            by_method: false,
            own,
        };
        for (number, route) in settings.routes.iter().enumerate() {
            let tries = match &route.host {
                None => &mut routes.any_host,
                Some(HostPattern { name, below: false }) => {
                    routes.hosts.entry(name.as_bytes().into()).or_default()
                }
                Some(HostPattern { name, below: true }) => {
                    routes.below.entry(name.as_bytes().into()).or_default()
                }
            };
            tries.exact.insert(&route.path, &route.methods, number);
            tries.folded.insert(&route.path, &route.methods, number);
            routes.mixed_case |= route.path.segments.iter().any(|segment| match segment {
                Segment::Literal(bytes) => bytes.iter().any(u8::is_ascii_uppercase),
                Segment::Param(_) | Segment::Rest(_) => false,
            });
            routes.by_method |= !route.methods.is_empty();
            let own = route.identity.as_deref();
            routes.rules.push(Rule {
                name: RouteName::Named(Rc::from(route.name.as_str())),
                number: Some(number),
                pattern: Some(Pattern {
                    host: route.host.clone(),
                    path: route.path.clone(),
                    methods: route.methods.clone(),
                }),
                policy: Policy::new(&route.policy),
                identity_set: own
                    .and_then(|own| sets.iter().position(|set| *set == own))
                    .unwrap_or_default(),
                upstream: route.upstream,
                rewrite: route.rewrite.clone(),
            });
        }
        routes
    }

    /// The rule for a request. Allocates nothing for a path that can be read in one way.
    ///
    /// # Errors
    /// [`Ambiguous`] if the path could be read in several ways that lead to rules of which neither is the stricter.
    pub fn choose(&self, request: &Request) -> Result<Choice<'_>, Ambiguous> {
        let path = request.target.path();
        let mut choice = Choice {
            rule: &self.default,
            instead_of: None,
            by_method: self.by_method,
            reading: None,
        };
        if (self.rules.is_empty() && self.default.policy.guards_mutating())
            || !path.starts_with('/')
        {
            return Ok(choice);
        }
        let mut host = Lowered::default();
        let host = host.of(host_part(request.host.as_ref().map_or(&[], |host| host.as_bytes())));
        let readings = readings(path.as_bytes())?;
        let as_it_stands = self.find(host, &readings.plain, false, request);
        choice.rule = as_it_stands.unwrap_or(&self.default);
        let is_plain = readings.others.is_empty() && readings.plain == path.as_bytes();
        if self.mixed_case || !is_plain || path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.stricter(&mut choice, host, &readings.plain, true, request)?;
        }
        for other in &readings.others {
            self.stricter(&mut choice, host, other, false, request)?;
            self.stricter(&mut choice, host, other, true, request)?;
        }
        let is_own = |reading: &[u8]| self.own.iter().any(|own| is_same(own.as_bytes(), reading));
        if is_own(&readings.plain) || readings.others.iter().any(|other| is_own(other)) {
            return Err(Ambiguous); // the endpoint itself was asked for by its exact path, before
        }
        if choice.reading.is_none() && (!is_plain || choice.asks_for_params()) {
            choice.reading = Some(readings.plain.into_owned());
        }
        Ok(choice)
    }

    /// Takes the rule of another reading if it is stricter.
    fn stricter<'a>(
        &'a self,
        choice: &mut Choice<'a>,
        host: &[u8],
        path: &[u8],
        fold: bool,
        request: &Request,
    ) -> Result<(), Ambiguous> {
        let Some(found) = self.find(host, path, fold, request) else { return Ok(()) };
        if std::ptr::eq(found, choice.rule) {
            return Ok(());
        }
        let (now, then) =
            (choice.rule.policy.strictness(request), found.policy.strictness(request));
        if then == now && now == INCOMPARABLE {
            return Err(Ambiguous);
        }
        if then > now {
            choice.instead_of = choice.instead_of.or(Some(choice.rule));
            choice.rule = found;
            choice.reading = Some(path.to_vec());
        }
        Ok(())
    }

    /// The most specific rule for one reading of a path: by host, then by path, then by method.
    fn find(&self, host: &[u8], path: &[u8], fold: bool, request: &Request) -> Option<&Rule> {
        let mut lowered = Lowered::default();
        let path = if fold { lowered.of(path) } else { path };
        let look = |tries: &Tries| {
            let trie = if fold { &tries.folded } else { &tries.exact };
            trie.find(path, &request.method)
        };
        let found = self.hosts.get(host).and_then(look);
        let found = found.or_else(|| {
            let mut rest = if self.below.is_empty() { &[] } else { host };
            while let Some(dot) = memchr::memchr(b'.', rest) {
                rest = rest.get(dot + 1..).unwrap_or_default();
                if let Some(found) = self.below.get(rest).and_then(look) {
                    return Some(found);
                }
            }
            None
        });
        match found.or_else(|| look(&self.any_host))? {
            Found::Route(number) => self.rules.get(number),
            Found::ByCase => None,
        }
    }
}

impl Choice<'_> {
    /// What `request`, which met this rule, is asked for at `now`, seconds since 1970.
    ///
    /// # Errors
    /// [`Ambiguous`] if its path cannot be rewritten as the rule says, and be read in one way only.
    pub fn demand(&self, request: &Request, now: u64) -> Result<Demand<'_>, Ambiguous> {
        let Rule { policy, identity_set, .. } = self.rule;
        let (identity_set, by_method) = (*identity_set, self.by_method);
        let destination = self.destination(request)?;
        Ok(Demand { policy, params: self, identity_set, by_method, now, destination })
    }

    fn destination(&self, request: &Request) -> Result<Destination, Ambiguous> {
        let upstream = self.rule.upstream;
        let (Some(rewrite), Some(pattern)) = (&self.rule.rewrite, &self.rule.pattern) else {
            return Ok(Destination { upstream, rewritten: None });
        };
        let rewritten = rewritten(&request.target, &pattern.path, rewrite)?;
        Ok(Destination { upstream, rewritten: Some(Box::new(rewritten)) })
    }

    fn asks_for_params(&self) -> bool {
        let when = &self.rule.policy.written().demands.when;
        when.as_ref().is_some_and(|when| when.mentions("params"))
    }

    /// The path as it was read to come to the rule, where that was asked for or is not as it stands.
    #[must_use]
    pub fn reading(&self) -> Option<String> {
        self.reading.as_ref().map(|reading| String::from_utf8_lossy(reading).into_owned())
    }
}

impl Params for Choice<'_> {
    fn params(&self) -> Vec<(String, String)> {
        self.params_in(self.reading.as_deref().unwrap_or_default())
    }
}

impl Choice<'_> {
    /// The parameters of the path of `request`, which met this rule.
    #[must_use]
    pub fn params_of(&self, request: &Request) -> Vec<(String, String)> {
        self.params_in(self.reading.as_deref().unwrap_or(request.target.path().as_bytes()))
    }

    fn params_in(&self, path: &[u8]) -> Vec<(String, String)> {
        let Some(pattern) = &self.rule.pattern else { return Vec::new() };
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut rest = Some(path);
        let mut params = Vec::new();
        for segment in &pattern.path.segments {
            let here = rest.unwrap_or_default();
            if let Segment::Rest(name) = segment {
                params.push((name.clone(), text(here)));
                break;
            }
            let (part, next) = match memchr::memchr(b'/', here) {
                Some(end) => (here.get(..end).unwrap_or_default(), here.get(end + 1..)),
                None => (here, None),
            };
            if let Segment::Param(name) = segment {
                params.push((name.clone(), text(part)));
            }
            rest = next;
        }
        params
    }
}

/// Bytes in lower case, on the stack where they are few.
struct Lowered {
    few: [u8; FEW],
    many: Vec<u8>,
}

impl Default for Lowered {
    fn default() -> Self {
        Self { few: [0; FEW], many: Vec::new() }
    }
}

impl Lowered {
    fn of<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !bytes.iter().any(u8::is_ascii_uppercase) {
            return bytes;
        }
        let lowered = match self.few.get_mut(..bytes.len()) {
            Some(few) => {
                few.copy_from_slice(bytes);
                few
            }
            None => {
                self.many = bytes.to_vec();
                self.many.as_mut_slice()
            }
        };
        lowered.make_ascii_lowercase();
        lowered
    }
}

/// Whether two paths differ in case and a slash at the end at most.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let bare = |path: &'_ [u8]| path.len() - usize::from(path.ends_with(b"/"));
    let (left, right) = (left.get(..bare(left)), right.get(..bare(right)));
    left.zip(right).is_some_and(|(left, right)| left.eq_ignore_ascii_case(right))
}

/// Two rules of this [`Policy::strictness`] demand different things.
const INCOMPARABLE: u8 = 2;
/// Longer paths and hosts with upper-case letters are lowered on the heap.
const FEW: usize = 256;

#[cfg(test)]
mod tests;
