//! What the program runs on: no invalid value, every default filled in, every key parsed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use serde_json::{Map, Value};

use super::endpoint::Endpoint;
use super::pattern::{HostPattern, PathPattern};
use crate::certificate::{Certificate, Field, Name};
use crate::condition::Condition;
use crate::identity::Scopes;
use crate::keys::{Algorithm, KeyRing, KeySet, VerifyingKey};
use crate::secret::Secret;

/// A whole configuration, judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[[upstreams]]`, in file order; names are unique, and none is [`DEFAULT_UPSTREAM`].
    pub upstreams: Vec<Upstream>,
    /// `[token]`; without it there is no token endpoint, and no token is valid.
    pub token: Option<Token>,
    /// `[[clients]]`, in file order; ids are unique.
    pub clients: Vec<Client>,
    /// `[[issuers]]`, in file order; names are unique.
    pub issuers: Vec<Issuer>,
    /// `[access]`: the policy where no route is.
    pub access: Policy,
    /// `[access]`: how often one caller may ask, over everything that has no limit of its own.
    pub rate_limit: Option<RateLimit>,
    /// `[[routes]]`, in file order; no two match the same requests with the same specificity.
    pub routes: Vec<Route>,
    /// `[cors]`: what is said of other origins where no route says otherwise.
    pub cors: Option<Cors>,
    /// `[forward_auth]`: where other proxies ask; off when absent.
    pub forward_auth: Option<String>,
    /// `[identity]`
    pub identity: Identity,
    /// `[store]`
    pub store: StoreUrl,
    /// `[admin]`; off when absent.
    pub admin: Option<Admin>,
    /// `[log]`
    pub log: Log,
    /// `[tracing]`; off when absent.
    pub tracing: Option<Tracing>,
    /// `[audit]`; off when absent.
    pub audit: Option<Audit>,
    /// SHA-256 of the file that these come from, in hexadecimal; none where there was no file.
    pub digest: Option<String>,
}

impl Settings {
    /// The different sets of identity headers: `[identity]`'s first, then those of routes.
    #[must_use]
    pub fn identity_sets(&self) -> Vec<&[(HeaderName, String)]> {
        let mut sets = vec![self.identity.headers.as_slice()];
        for own in self.routes.iter().filter_map(|route| route.identity.as_deref()) {
            if !sets.contains(&own) {
                sets.push(own);
            }
        }
        sets
    }

    /// Every upstream: `[upstream]` first, then `[[upstreams]]`; routes count them so.
    pub fn every_upstream(&self) -> impl Iterator<Item = &Upstream> {
        std::iter::once(&self.upstream).chain(&self.upstreams)
    }

    /// Whether some route looks at the claims of tokens.
    #[must_use]
    pub fn need_claims(&self) -> bool {
        self.routes.iter().any(|route| {
            let demands = &route.policy.demands;
            let mentions = demands.when.as_ref().is_some_and(|when| when.mentions("claims"));
            mentions || !demands.claims.is_empty()
        })
    }
}

impl Demands {
    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.clients.is_empty()
            && self.issuers.is_empty()
            && self.claims.is_empty()
            && self.when.is_none()
    }
}

/// How clients are let in.
#[derive(Clone, Debug)]
pub struct Server {
    /// At least one.
    pub listen: Vec<Listen>,
    /// The certificates of the listeners on TCP, in file order: the first is for whoever asks for none of the others.
    /// Empty: they speak in clear.
    pub tls: Vec<ServerTls>,
    /// Threads, at least 1 (0 in the file: one for each core).
    pub workers: usize,
    /// Whether every connection over TCP begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Peers whose forwarding headers are believed, and their PROXY header.
    pub trusted_proxies: Vec<IpNet>,
    /// From accept, or from the first byte of a later request, to the end of its head.
    pub header_timeout: Duration,
    /// The longest silence of a client: between two requests, within a body, in not reading an answer.
    pub idle_timeout: Duration,
    /// Longest request head, bytes.
    pub max_header_size: usize,
    /// Longest request body, bytes; `None`: no limit.
    pub max_body_size: Option<u64>,
    /// Most connections at once, over all workers; `None`: as many as there are file descriptors for.
    pub max_connections: Option<usize>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// How long requests in flight may take to finish after the first signal.
    pub drain_timeout: Duration,
}

impl Server {
    /// Whether forwarding headers from there are believed.
    #[must_use]
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.trusted_proxies.iter().any(|net| net.contains(&address)))
    }
}

impl Listen {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// A certificate that the gateway shows, and whom it asks for one.
#[derive(Clone)]
pub struct ServerTls {
    /// What the certificate says.
    pub certificate: Certificate,
    /// The certificate, the intermediate ones behind it, and the key that it is of.
    pub identity: Arc<CertifiedKey>,
    /// Who is asked for a certificate; `None`: nobody.
    pub clients: Option<ClientCertificates>,
    /// Of all of the above, the key included: the same where nothing has changed.
    pub digest: [u8; 32],
}

/// Which certificates clients may show.
#[derive(Clone)]
pub struct ClientCertificates {
    /// Certificates (DER) of the authorities; at least one.
    pub roots: Vec<Vec<u8>>,
    /// Whether nobody without one gets a connection.
    pub required: bool,
    /// Of both: the same where the same is asked of clients.
    pub digest: [u8; 32],
}

/// Neither key nor certificate: what it is for.
impl fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = self.clients.as_ref().map(|clients| clients.required);
        out.debug_struct("ServerTls")
            .field("subject", &self.certificate.subject)
            .field("names", &self.certificate.names)
            .field("not_after", &self.certificate.not_after)
            .field("clients_required", &required)
            .field("digest", &self.digest)
            .finish()
    }
}

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    /// `127.0.0.1:8080`, `[::1]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/tollgate.sock`
    Unix(PathBuf),
}

/// Where requests go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    /// What routes and the log call it.
    pub name: String,
    /// At least one and at most [`MOST_ORIGINS`], in file order; no two are the same.
    pub origins: Vec<Origin>,
    /// How requests are spread over them.
    pub balance: Balance,
    /// From the first SYN to a usable connection, TLS included.
    pub connect_timeout: Duration,
    /// From the whole request sent to the response head, and between two pieces of a body; `None`: no limit.
    pub timeout: Option<Duration>,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether `Host` goes on as the client sent it.
    pub preserve_host: bool,
    /// How often a request that may be sent again is sent again.
    pub retries: u32,
    /// Most connections to one origin, over all workers; `None`: no limit.
    pub max_connections: Option<usize>,
    /// Most requests that wait for one of them.
    pub max_pending: usize,
    /// How origins are asked whether they are well; `None`: they are not.
    pub health: Option<Health>,
    /// When an origin that fails is left out.
    pub ejection: Ejection,
    /// How long an origin that comes back takes to its whole share.
    pub slow_return: Duration,
    /// For `https` origins.
    pub tls: UpstreamTls,
}

/// `[upstream.health]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// What is asked for; begins with a slash.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Good answers in a row that mean that it is well again; at least one.
    pub healthy_after: u32,
    /// Bad ones in a row that mean that it is not; at least one.
    pub unhealthy_after: u32,
    /// Good statuses, from the first to the last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// With fewer well ones, in percent, all are used.
    pub panic_percent: u8,
}

/// `[upstream.ejection]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ejection {
    /// Failures in a row; `None`: nothing is left out.
    pub failures: Option<u32>,
    /// For how long at first.
    pub duration: Duration,
    /// For how long at most; no less than `duration`.
    pub max_duration: Duration,
    /// Most of the origins at once, in percent.
    pub max_percent: u8,
}

/// How requests are spread over several origins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    /// To the origin with the fewest requests in flight.
    LeastRequests,
    /// To one after the other.
    RoundRobin,
    /// To any.
    Random,
}

impl Balance {
    /// As the file has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastRequests => "least_requests",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
        }
    }
}

/// One address of an upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Whether HTTP/2 is spoken without asking (`h2c://`). Over TLS the origin chooses.
    pub h2c: bool,
    /// Where to connect to.
    pub address: OriginAddress,
    /// The `Host` of this origin (`host` or `host:port`; `localhost` for a unix socket).
    pub authority: String,
    /// Put before each request's path; empty, or starts with `/` and does not end with it.
    pub base_path: String,
}

/// Its URL.
impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.https, self.h2c) {
            (true, _) => "https",
            (false, true) => "h2c",
            (false, false) => "http",
        };
        match &self.address {
            OriginAddress::Tcp(..) => {
                write!(out, "{scheme}://{}{}", self.authority, self.base_path)
            }
            OriginAddress::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Where to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OriginAddress {
    /// A host name or an IP address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// `[upstream.tls]`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpstreamTls {
    /// Certificates (DER) to trust instead of the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// The name to ask for and to check instead of the origin's host.
    pub server_name: Option<String>,
    /// What we prove ourselves with.
    pub identity: Option<UpstreamIdentity>,
}

/// The certificate that an upstream is shown, with its key.
#[derive(Clone)]
pub struct UpstreamIdentity {
    /// What the certificate says.
    pub certificate: Certificate,
    /// The certificate, the intermediate ones behind it, and the key that it is of.
    pub identity: Arc<CertifiedKey>,
    /// Of the certificates and the key.
    pub digest: [u8; 32],
}

impl fmt::Debug for UpstreamIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UpstreamIdentity")
            .field("subject", &self.certificate.subject)
            .field("not_after", &self.certificate.not_after)
            .field("digest", &self.digest)
            .finish()
    }
}

impl PartialEq for UpstreamIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for UpstreamIdentity {}

/// The token service.
#[derive(Clone, Debug)]
pub struct Token {
    /// `/auth/token`
    pub path: String,
    /// `iss` of what is issued and of what is accepted.
    pub issuer: String,
    /// `aud`; at least one.
    pub audience: Vec<String>,
    /// Lifetime of a token, at least one second.
    pub expires_in: Duration,
    /// The signing key, and every key that is accepted.
    pub keys: Arc<KeyRing>,
    /// Accepted `typ` values, lower case, without `application/`; `None` in the list: an absent `typ`.
    pub types: Vec<Option<String>>,
    /// Clock difference forgiven at `exp` and `nbf`.
    pub leeway: Duration,
    /// Claims that hold scopes.
    pub scope_claims: Vec<String>,
    /// What is issued to a client that has no format of its own.
    pub format: TokenFormat,
    /// The URL of `path`, as clients outside know it: the issuer's scheme, host and port; none if that is no URL.
    pub url: Option<String>,
    /// `[token.endpoints]`
    pub endpoints: Endpoints,
}

/// What a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenFormat {
    /// A JSON Web Token, good by its signature.
    Jwt,
    /// A reference to what the store keeps.
    Opaque,
}

/// `[token.endpoints]`: paths, all different; what is absent is the upstream's.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// RFC 7517
    pub jwks: Option<String>,
    /// RFC 7662
    pub introspect: Option<String>,
    /// RFC 7009
    pub revoke: Option<String>,
    /// RFC 8414 and RFC 9728
    pub metadata: Option<Metadata>,
}

/// What the gateway says of itself, and where.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The path of the authorization server's document (RFC 8414 §3.1).
    pub server_path: String,
    /// Scheme, host and port of the issuer: where the endpoints are.
    pub origin: String,
    /// The audiences that are URLs; no two have the same path.
    pub resources: Vec<Resource>,
}

/// A protected resource (RFC 9728).
#[derive(Clone, Debug)]
pub struct Resource {
    /// `resource`: the audience as it is configured.
    pub identifier: String,
    /// The path of its document (RFC 9728 §3.1).
    pub path: String,
    /// The URL of its document, for challenges.
    pub url: String,
}

/// One machine client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Each secret that is good now or until its end; at least one, or a key, unless disabled.
    pub secrets: Vec<ClientSecret>,
    /// Each public key that its assertions may be signed for.
    pub keys: Vec<VerifyingKey>,
    /// What its certificate says.
    pub certificate: Option<CertificateName>,
    /// How it may prove itself.
    pub methods: Methods,
    /// What it may ask for.
    pub scopes: Scopes,
    /// Instead of the token service's.
    pub audience: Option<Vec<String>>,
    /// Instead of the token service's.
    pub expires_in: Option<Duration>,
    /// Instead of the token service's.
    pub format: Option<TokenFormat>,
    /// Extra claims; none of them a registered one.
    pub claims: Map<String, Value>,
    /// As if it were not there.
    pub disabled: bool,
}

/// In which ways a client may prove itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Methods {
    /// `client_secret_basic`: a secret in `Authorization`.
    pub basic: bool,
    /// `client_secret_post`: a secret in the body.
    pub post: bool,
    /// `private_key_jwt`: a signed assertion (RFC 7523).
    pub key: bool,
    /// `tls_client_auth`: the certificate of the connection (RFC 8705).
    pub tls: bool,
}

/// By what a client's certificate is known (RFC 8705 §2.1.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateName {
    /// Its subject, as RFC 2253 writes it.
    Subject(String),
    /// A host among its alternative names, in lower case.
    Dns(String),
    /// A URI among them.
    Uri(String),
}

impl CertificateName {
    /// Whether this certificate is known by it.
    #[must_use]
    pub fn is_of(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Subject(subject) => certificate.subject.as_ref() == Some(subject),
            Self::Dns(host) => certificate.names.contains(&Name::Dns(host.clone())),
            Self::Uri(uri) => certificate.names.contains(&Name::Uri(uri.clone())),
        }
    }
}

/// One way in which a client may prove itself.
#[derive(Clone, Debug)]
pub struct ClientSecret {
    /// How it is kept.
    pub kind: SecretKind,
    /// Seconds since 1970 from which on it is no longer good.
    pub not_after: Option<u64>,
}

/// How a client secret is kept.
#[derive(Clone, Debug)]
pub enum SecretKind {
    /// The SHA-256 digest of the secret: from `secret`, or from `secret_hash = "sha256:…"` (hex or base64).
    Sha256([u8; 32]),
    /// An Argon2 PHC string, checked to parse and to stay within the limits on memory and passes.
    Argon2(Secret<String>),
}

/// Another issuer whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What logs and routes call it.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` values that are for us; empty only where introspection alone judges, and then nothing is asked of `aud`.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with, in order of preference; HS* only with a [`KeySource::Fixed`] secret.
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ` values, as in [`Token::types`].
    pub types: Vec<Option<String>>,
    /// Clock difference forgiven at `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// Claims that hold scopes.
    pub scope_claims: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Where its metadata may be, in the order to look; empty where nothing has to be discovered.
    pub discovery: Vec<Endpoint>,
    /// How it is asked about tokens.
    pub introspection: Option<Introspection>,
    /// What its reference tokens begin with.
    pub token_prefix: Option<String>,
    /// It takes part only where this is true.
    pub when: Option<Condition>,
    /// Whether it may be asked in clear over a network.
    pub allow_http: bool,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// There are none: its JWTs are not judged by keys.
    None,
    /// The `jwks_uri` of its metadata.
    Discovered,
    /// A JSON Web Key Set at this place.
    Url(Endpoint),
    /// Read already.
    Fixed(Arc<KeySet>),
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Clone, Debug)]
pub struct Introspection {
    /// Where; `None`: the `introspection_endpoint` of its metadata.
    pub url: Option<Endpoint>,
    /// As whom we ask.
    pub client_id: String,
    /// With which secret.
    pub client_secret: Secret<String>,
    /// Whether the secret goes in the body, not in `Authorization`.
    pub in_body: bool,
    /// How long an answer is believed.
    pub cache: Duration,
    /// Whether JWTs are asked about too, instead of being verified.
    pub for_all: bool,
}

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which requests need a token.
    pub protect: Protect,
    /// What such a token must be.
    pub demands: Demands,
    /// Whether a refusal is only told, and not carried out.
    pub report: bool,
}

/// Which requests need a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protect {
    /// None.
    Nothing,
    /// Every method but GET, HEAD and OPTIONS, and every upgrade.
    Mutating,
    /// All but CORS preflights.
    All,
    /// No token lets one in.
    Deny,
}

/// What a token must be beyond valid: all of this.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Every one of these scopes.
    pub all_of: Scopes,
    /// One of these scopes; nothing if there are none.
    pub any_of: Scopes,
    /// Of one of these clients; of any if there are none.
    pub clients: Vec<String>,
    /// From one of these issuers, by name; from any if there are none.
    pub issuers: Vec<String>,
    /// Each claim has one of its values.
    pub claims: Vec<(String, Vec<String>)>,
    /// This is true.
    pub when: Option<Condition>,
}

/// `[[routes]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// What the log calls it: visible ASCII.
    pub name: String,
    /// For this host alone.
    pub host: Option<HostPattern>,
    /// For these paths.
    pub path: PathPattern,
    /// For these methods; empty: for all.
    pub methods: Vec<Method>,
    /// Who is let in, with what `[access]` says filled in.
    pub policy: Policy,
    /// Instead of `[identity]`'s headers.
    pub identity: Option<Vec<(HeaderName, String)>>,
    /// Which of [`Settings::every_upstream`] the requests go to.
    pub upstream: usize,
    /// What the upstream gets instead of the path.
    pub rewrite: Option<Rewrite>,
    /// Instead of `[access]`'s.
    pub rate_limit: Option<RateLimit>,
    /// Instead of `[cors]`.
    pub cors: Option<Cors>,
}

/// Which web pages of other origins may call.
#[derive(Clone, Debug)]
pub struct Cors {
    /// As browsers spell them; `*` alone: every one, and then without credentials.
    pub origins: Vec<String>,
    /// The methods that they may use.
    pub methods: Vec<Method>,
    /// The request headers that they may set, lower case; `*`: every one.
    pub headers: Vec<String>,
    /// The response headers that they may read, lower case.
    pub expose: Vec<String>,
    /// Whether cookies and certificates are sent along.
    pub credentials: bool,
    /// How long the answer to a preflight is good.
    pub max_age: Duration,
}

/// How often one caller may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimit {
    /// Who counts as one.
    pub per: LimitPer,
    /// How many requests, at least one.
    pub requests: u32,
    /// In which time, at least a second.
    pub window: Duration,
}

/// Who counts as one caller. Whoever does not have what is asked for counts by the next of these.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LimitPer {
    /// A `client_id` of one issuer.
    Client,
    /// A `sub` of one issuer.
    Subject,
    /// A client's address; the first 64 bits of an IPv6 one.
    Address,
}

/// A path that is made of the parameters of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewrite {
    /// As it was written.
    pub text: String,
    /// What it is made of; begins with a slash.
    pub parts: Vec<RewritePart>,
}

/// A part of a [`Rewrite`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RewritePart {
    /// This.
    Text(String),
    /// The segment of the pattern with this number: a parameter, or the rest.
    Segment(usize),
}

/// What the upstream learns of the caller.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Header name and the claim that fills it.
    pub headers: Vec<(HeaderName, String)>,
    /// Header name and what of a client's certificate fills it.
    pub certificate_headers: Vec<(HeaderName, Field)>,
    /// What becomes of `Authorization`.
    pub authorization: AuthorizationHeader,
}

/// What becomes of the `Authorization` field of a request whose token was valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthorizationHeader {
    /// It goes on as it came.
    Forward,
    /// The upstream does not see it.
    Remove,
}

/// `[store]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `file:/folder`
    File(PathBuf),
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it answers; at least one.
    pub listen: Vec<Listen>,
    /// What whoever asks for more than health has to show; where others can reach the listener there is one, or `tls` asks
    /// for certificates.
    pub token: Option<Secret<Vec<u8>>>,
    /// What is shown over TCP, and who is asked for a certificate.
    pub tls: Option<ServerTls>,
}

/// `[audit]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Where events go.
    pub output: AuditOutput,
    /// Whether nothing is issued or revoked unless that is written.
    pub required: bool,
}

/// Where events go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuditOutput {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
    /// `file:/path`
    File(PathBuf),
}

/// `[tracing]`
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Where spans are sent.
    pub endpoint: Endpoint,
    /// The share of requests that become spans, 0 to 1.
    pub sample_ratio: f64,
    /// What the collector calls this gateway.
    pub service_name: String,
    /// Headers for the collector; each name once.
    pub headers: Vec<(HeaderName, Secret<String>)>,
}

/// Whether an exporter for one is good for the other, too.
impl PartialEq for Tracing {
    fn eq(&self, other: &Self) -> bool {
        let Self { endpoint, sample_ratio, service_name, headers } = self;
        *endpoint == other.endpoint
            && sample_ratio.to_bits() == other.sample_ratio.to_bits()
            && *service_name == other.service_name
            && headers.len() == other.headers.len()
            && headers.iter().zip(&other.headers).all(|(left, right)| {
                left.0 == right.0 && left.1.same_bytes(right.1.expose().as_bytes())
            })
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub json: bool,
    /// A level (`info`) or a filter (`info,tollgate=debug`).
    pub level: String,
    /// Whether each request gets a line.
    pub access: bool,
}

/// What `[upstream]` is called.
pub const DEFAULT_UPSTREAM: &str = "default";
/// Most origins of one upstream: a set of them is one number.
pub const MOST_ORIGINS: usize = 64;
