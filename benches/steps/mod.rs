//! The steps of a request, each alone: what `micro` counts in nanoseconds and `instructions` in instructions.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, unreachable_pub)] // as in tests

mod ground;

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tollgate::auth::{Asking, Authentication, Authenticator, Denied, Judged, authorize};
use tollgate::clock::Clock;
use tollgate::config::Log;
use tollgate::gateway::{Gateway, Generation};
use tollgate::http1::{parse_request, parse_response};
use tollgate::message::{Fields, Peer};
use tollgate::observe::{
    AccessLog, Decision, Histogram, Metrics, Outcome, Record, RequestIds, RouteName, Tally,
};
use tollgate::route::Routes;

use ground::{NOW, bearer, head_of, request, settings, token, with_routes};

/// One step, ready to be done again and again.
pub type Run = Box<dyn FnMut()>;

/// A step by its name, and how to make it ready.
pub type Step = (&'static str, fn() -> Run);

/// Every step. What comes before the slash is the part of the way.
pub const ALL: &[Step] = &[
    ("head/GET", || read(head_of("GET", ""))),
    ("head/POST with a token", || read(head_of("POST", &bearer(&token("HS256"))))),
    ("head/of an answer", read_answer),
    ("verdict/GET, open", || verdict(head_of("GET", ""), false, true)),
    ("verdict/POST, token remembered", || verdict(posted("HS256"), false, true)),
    ("verdict/POST, token new, HS256", || verdict(posted("HS256"), true, true)),
    ("verdict/POST without a token", || verdict(head_of("POST", ""), false, false)),
    ("verdict/the whole answer to it, 401", refuse),
    ("token/remembered", || judge(token("HS256"), false)),
    ("token/HS256", || judge(token("HS256"), true)),
    ("token/RS256", || judge(token("RS256"), true)),
    ("token/PS256", || judge(token("PS256"), true)),
    ("token/ES256", || judge(token("ES256"), true)),
    ("token/EdDSA", || judge(token("EdDSA"), true)),
    ("token/HS256, bad signature", || refused(ground::tampered(&token("HS256")))),
    ("token/ES256, bad signature", || refused(ground::tampered(&token("ES256")))),
    ("token/expired", || refused(ground::expired())),
    ("token/not a token", || refused("eyJhbGciOiJIUzI1NiJ9.e30".to_owned())),
    ("route/10 routes", || route(10, "/service6/items")),
    ("route/1,000 routes", || route(1_000, "/service600/items")),
    ("route/10,000 routes", || route(10_000, "/service6000/items")),
    ("route/10,000, a parameter", || route(10_000, "/service6001/4711/log")),
    ("route/10,000, none fits", || route(10_000, "/nowhere/4711")),
    ("route/10,000, an odd path", || route(10_000, "/service6000//%69tems")),
    ("log/an access line", || log(Decision::Allowed, "valid_token", StatusCode::OK)),
    ("log/of a refusal", || log(Decision::Refused, "no_credential", StatusCode::UNAUTHORIZED)),
    ("count/histogram", histogram),
    ("count/outcome", outcome),
    ("clock/read", clock),
];

fn posted(algorithm: &str) -> String {
    head_of("POST", &bearer(&token(algorithm)))
}

fn read(head: String) -> Run {
    Box::new(move || {
        let mut input = BytesMut::from(head.as_bytes());
        black_box(parse_request(&mut input, &mut 0, LARGEST_HEAD).unwrap());
    })
}

fn read_answer() -> Run {
    let head = "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\n\
                Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n";
    Box::new(move || {
        let mut input = BytesMut::from(head.as_bytes());
        black_box(parse_response(&mut input, &mut 0, LARGEST_HEAD).unwrap());
    })
}

/// From the bytes of a head to whether it goes on.
fn verdict(head: String, forget: bool, is_allowed: bool) -> Run {
    let settings = settings();
    let routes = Routes::new(&settings, vec!["/auth/token".to_owned()]);
    let authenticator = Authenticator::new(&settings);
    let peer = Rc::new(Peer::new(None, false, false));
    Box::new(move || {
        if forget {
            authenticator.clear();
        }
        let mut input = BytesMut::from(head.as_bytes());
        let head = parse_request(&mut input, &mut 0, LARGEST_HEAD).unwrap().unwrap();
        let request = request(head, &peer);
        let choice = routes.choose(&request).unwrap();
        let Judged::Now(authentication) = authenticator.authenticate(&Asking::from(&request), *NOW)
        else {
            panic!("nobody has to be asked")
        };
        let demand = choice.demand(&request, *NOW).unwrap();
        let permitted = authorize(Box::new(request), demand, authentication, &mut |_| {});
        assert_eq!(black_box(permitted).is_ok(), is_allowed);
    })
}

/// From the head to the answer that is to be written, its record included.
fn refuse() -> Run {
    let generation = Generation::offline(settings(), Clock::system()).unwrap();
    let gateway = Gateway::new(generation, 7);
    let head = head_of("POST", "");
    let peer = Rc::new(Peer::new(None, false, false));
    let clock = Clock::system();
    Box::new(move || {
        let mut input = BytesMut::from(head.as_bytes());
        let head = parse_request(&mut input, &mut 0, LARGEST_HEAD).unwrap().unwrap();
        let request = request(head, &peer);
        let mut record = gateway.record(clock.monotonic(), &request);
        let response = gateway.handle(Box::new(request), &mut record).now_or_never().unwrap();
        assert_eq!(black_box(response).status, StatusCode::UNAUTHORIZED);
    })
}

/// Who sends this token; `forget` what was found before.
fn judge(token: String, forget: bool) -> Run {
    let judge = Judge::new();
    let headers = bearing(&token);
    Box::new(move || {
        if forget {
            judge.authenticator.clear();
        }
        assert!(matches!(black_box(judge.ask(&headers)), Ok(Authentication::Caller(_))));
    })
}

fn refused(token: String) -> Run {
    let judge = Judge::new();
    let headers = bearing(&token);
    Box::new(move || {
        assert!(black_box(judge.ask(&headers)).is_err());
    })
}

fn bearing(token: &str) -> Fields {
    let mut headers = Fields::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").try_into().unwrap());
    headers
}

/// An authenticator, and what it needs where one check has to wait for its turn after several.
struct Judge {
    authenticator: Authenticator,
    runtime: Runtime,
    tasks: LocalSet,
}

impl Judge {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (authenticator, tasks) = (Authenticator::new(&settings()), LocalSet::new());
        Self { authenticator, runtime, tasks }
    }

    fn ask(&self, headers: &Fields) -> Result<Authentication, Denied> {
        let (method, host, path, client) = (&Method::POST, None, "/orders", None);
        let asking = Asking { method, host, path, headers, client };
        match self.authenticator.authenticate(&asking, *NOW) {
            Judged::Now(verdict) => verdict,
            Judged::Later(pending) => {
                let settled = self.authenticator.settle(pending);
                self.tasks.block_on(&self.runtime, settled)
            }
        }
    }
}

fn route(count: usize, path: &'static str) -> Run {
    let routes = Routes::new(&with_routes(count), vec!["/auth/token".to_owned()]);
    let request = ground::get(path);
    Box::new(move || {
        let _ = black_box(routes.choose(black_box(&request)));
    })
}

fn log(decision: Decision, reason: &'static str, status: StatusCode) -> Run {
    let clock = Clock::system();
    let settings = Log { json: false, level: "info".to_owned(), access: true };
    let sink = tollgate::observe::LogSink::start(std::io::sink()).unwrap();
    let log = AccessLog::new(Some(sink), &settings, clock.clone(), Arc::new(Metrics::default()));
    let peer = Rc::new(Peer::new(None, false, false));
    let mut record = Record::begin(clock.monotonic(), RequestIds::new(7).take(None), peer);
    record.method = Some(Method::POST);
    record.target = Some(ground::get("/orders/4711").target);
    record.client_id = Some("nightly-import".into());
    (record.route, record.decision) = (RouteName::Named("orders".into()), decision);
    (record.reason, record.upstream_time) = (reason, Some(Duration::from_micros(120)));
    Box::new(move || log.end(black_box(&record), status, 1024, true))
}

fn histogram() -> Run {
    let histogram = Histogram::default();
    let mut turn = 0;
    Box::new(move || {
        turn += 7;
        histogram.add(black_box(Duration::from_micros(80 + turn % 300)));
    })
}

fn outcome() -> Run {
    let tally = Tally::new(128);
    let outcome = |status| Outcome { decision: Decision::Open, reason: "open_method", status };
    let outcomes = [200, 200, 200, 304, 404].map(outcome);
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % outcomes.len();
        tally.add_one(black_box(outcomes[turn]));
    })
}

fn clock() -> Run {
    let clock = Clock::system();
    Box::new(move || {
        black_box(clock.monotonic());
    })
}

const LARGEST_HEAD: usize = 32 * 1024;
