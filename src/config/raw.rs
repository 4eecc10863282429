//! `gateway.toml` exactly as it may be written: every key, its type, its default and its meaning.
//!
//! The documentation of a key is its description in the JSON Schema.

#![allow(rustdoc::broken_intra_doc_links)] // these texts are the schema's, too: their brackets are those of TOML

use super::address::{ListenAddress, Network};
use super::amount::{Limits, Ratio, Size, Span, Whole};
use super::node::{Node, Value};
use super::report::Report;
use super::shape::{At, Key, Read, Shape, field, section};
use super::value::{
    Anything, Authorization, Balance, CertificateField, ClientAuth, ClientAuthentication,
    ClientCertificate, Entries, FilePath, Hidden, Introspected, LimitPer, LogFormat, Mode, Moment,
    OneOrMore, Optional, Protect, RouteAccess, Signature, Text, TokenFormat,
};

/// A list without entries.
const NONE: [&str; 0] = [];

section! {
    /// The configuration of the tollgate gateway.
    Root {
        /// How clients are let in.
        server: Server = ();
        /// Where every request goes that is not the gateway's own. Required.
        upstream: Upstream;
        /// Further upstreams, by name, for routes; each has every key of [upstream].
        upstreams: Vec<At<NamedUpstream>> = NONE;
        /// The token service. Without this table there is none, and every mutating request is refused.
        token: Token;
        /// The machine clients that may ask for tokens.
        clients: Vec<At<Client>> = NONE;
        /// Others whose tokens are believed.
        issuers: Vec<At<Issuer>> = NONE;
        /// Who is let in when no route says otherwise.
        access: Access = ();
        /// Who is let in where. The most specific route decides, whatever the order: by host, then by path, then by methods.
        routes: Vec<At<Route>> = NONE;
        /// Which web pages of other origins may call, where no route says otherwise. Left out: preflights and answers are the upstream's.
        cors: Cors;
        /// An endpoint at which other proxies ask whether a request may go on; off when absent.
        forward_auth: ForwardAuth;
        /// What the upstream learns of the caller.
        identity: Identity = ();
        /// Where reference tokens and revocations are kept.
        store: Store = ();
        /// The administrative listener; off when absent.
        admin: Admin;
        /// What is logged, to standard output.
        log: Log = ();
        /// Spans for an OpenTelemetry collector; off when absent.
        tracing: Tracing;
        /// Who was given which token and who was refused, as a stream of its own; off when absent.
        audit: Audit;
    }

    /// How clients are let in.
    Server {
        /// Where to listen: an address with its port (0: any free one), `unix:/path` for a unix socket, or a list of these.
        listen: OneOrMore<ListenAddress> = "127.0.0.1:8080";
        /// TLS for everything that comes over TCP; a unix socket stays in clear. A list: the certificate for the name that the client asks for, else the first.
        tls: OneOrMore<ServerTls>;
        /// Threads; 0 means one for each core.
        workers: Whole<Workers> = 0;
        /// Whether every connection over TCP begins with a PROXY header (version 1 or 2), before TLS; believed from trusted_proxies alone, and any other connection is closed.
        proxy_protocol: bool = false;
        /// Peers (addresses or networks) whose Forwarded and X-Forwarded-* headers, and PROXY header, are believed.
        trusted_proxies: Vec<At<Network>> = NONE;
        /// How long a client may take to send the head of a request.
        header_timeout: Span<HeaderTimeout> = "10s";
        /// The longest silence of a client: between two requests, within a body, in not reading an answer.
        idle_timeout: Span<IdleTimeout> = "60s";
        /// Longest request head.
        max_header_size: Size<HeaderSize> = "32KiB";
        /// Longest request body; 0 means no limit.
        max_body_size: Size<BodySize> = 0;
        /// Most connections at once; 0 means as many as there are file descriptors for.
        max_connections: Whole<Connections> = 0;
        /// Whether HTTP/2 is spoken: where TLS agrees on it (ALPN), and in clear with a client that begins with it (prior knowledge).
        http2: bool = true;
        /// Most requests at once on one HTTP/2 connection.
        max_streams: Whole<Streams> = 100;
        /// How long requests in flight may take to finish after the first signal to stop.
        drain_timeout: Span<DrainTimeout> = "30s";
    }

    /// A certificate that the gateway shows, and whom it asks for one.
    ServerTls {
        /// The PEM file of the certificate, with the intermediate ones behind it. Required.
        certificate_file: FilePath;
        /// The PEM file of its private key. Required.
        private_key_file: FilePath;
        /// The PEM file of the authorities whose certificates clients may show; without it none is asked for.
        client_ca_file: FilePath;
        /// With client_ca_file. required: nobody without a certificate gets a connection. optional: who has one may show it.
        client_certificate: ClientCertificate = "required";
    }

    /// Where every request goes that is not the gateway's own.
    Upstream {
        /// The upstream's URL: http://, https://, h2c:// (HTTP/2 in clear) or unix:/path. Over https the upstream chooses between HTTP/1.1 and HTTP/2. A path in it is put before each request's path. Required, unless urls is given.
        url: Text;
        /// Several URLs of one and the same service, instead of url: requests are spread over them.
        urls: Vec<At<Text>>;
        /// How requests are spread over urls. least_requests: to the one with the fewest in flight. round_robin: to one after the other. random: to any.
        balance: Balance = "least_requests";
        /// From the first packet to a usable connection, TLS included.
        connect_timeout: Span<ConnectTimeout> = "2s";
        /// From the request sent to the head of the response, and between two pieces of a body; 0 means no limit.
        timeout: Span<UpstreamTimeout> = "60s";
        /// How long an unused connection is kept.
        idle_timeout: Span<IdleTimeout> = "60s";
        /// Whether the upstream gets the Host header that the client sent, instead of the URL's host.
        preserve_host: bool = true;
        /// How often a request that may be sent again is sent again, of several origins to another one; at most a fifth of all requests are.
        retries: Whole<Retries> = 1;
        /// Most connections to one origin at once, over all workers; 0 means no limit.
        max_connections: Whole<UpstreamConnections> = 0;
        /// Most requests that wait for one of max_connections, for connect_timeout at most; further ones get 503 at once.
        max_pending: Whole<Pending> = 100;
        /// Asks each origin whether it is well, and sends nothing to one that is not. Off unless it has a path.
        health: Health;
        /// When an origin that fails is left out for a while, as long as there are others.
        ejection: Ejection = ();
        /// How long an origin that comes back takes to get its whole share of the requests again.
        slow_return: Span<SlowReturn> = "5s";
        /// For https upstreams.
        tls: UpstreamTls;
    }

    /// How each origin is asked whether it is well.
    Health {
        /// What is asked for, with GET; a path in the origin's URL is not put before it. Required.
        path: Text;
        /// How often, give or take a tenth; one that is not well is asked twice a second.
        interval: Span<HealthInterval> = "5s";
        /// How long the answer may take.
        timeout: Span<HealthTimeout> = "2s";
        /// So many good answers in a row: it is well again.
        healthy_after: Whole<InARow> = 2;
        /// So many bad answers or none in a row: it is not well.
        unhealthy_after: Whole<InARow> = 3;
        /// Good answers: statuses and ranges of them, as in `200-299, 401`.
        status: Text = "200-399";
        /// Where fewer than this share of the origins are well, in percent, the check is taken for broken and all of them are used; 0: never.
        panic_percent: Whole<Percent> = 0;
    }

    /// When an origin that fails is left out for a while.
    Ejection {
        /// After so many failures in a row: no connection, a reset, no answer in time, 502, 503 or 504; 0: never.
        failures: Whole<Failures> = 5;
        /// For how long at first; twice as long each time it does not come back well.
        duration: Span<EjectionTime> = "10s";
        /// For how long at most.
        max_duration: Span<EjectionTime> = "5m";
        /// Most of the origins that are left out at once, in percent, but one if there are two; never the last one.
        max_percent: Whole<Percent> = 50;
    }

    /// How an https upstream is recognised.
    UpstreamTls {
        /// PEM file of the certificate authorities to trust instead of the system's.
        ca_file: FilePath;
        /// The name to ask for and to check, instead of the URL's host.
        server_name: Text;
        /// The PEM file of the certificate that the upstream is shown, with the intermediate ones behind it; with private_key_file.
        certificate_file: FilePath;
        /// The PEM file of its private key.
        private_key_file: FilePath;
    }

    /// The token service.
    Token {
        /// Where tokens are asked for, with POST.
        path: Text = "/auth/token";
        /// `iss` of the tokens, and the only one that is accepted. Required.
        issuer: Text;
        /// `aud` of the tokens, one or a list; an accepted token names at least one of them. Required.
        audience: OneOrMore<Text>;
        /// How long a token lives.
        expires_in: Span<Lifetime> = "1h";
        /// How tokens are signed.
        algorithm: Signature = "HS256";
        /// The signing key. HS*: the UTF-8 bytes of this text, or `base64:…` or `hex:…`; otherwise a private key in PEM. Better: key_file.
        key: Hidden;
        /// The file that holds the signing key.
        key_file: FilePath;
        /// `kid` of the signing key; default: the RFC 7638 thumbprint for asymmetric keys, none for HS*.
        key_id: Text;
        /// Keys that signed before: accepted, never used to sign.
        previous_keys: Vec<At<ExtraKey>> = NONE;
        /// Keys that will sign next: accepted already, not yet used to sign.
        next_keys: Vec<At<ExtraKey>> = NONE;
        /// Accepted `typ` values; an empty text stands for a token without one.
        types: Vec<At<Optional>> = ["at+jwt", "JWT", ""];
        /// Clock difference that is forgiven at `exp` and `nbf`.
        leeway: Span<Leeway> = "60s";
        /// Claims that hold scopes, as text or as a list.
        scope_claims: Vec<At<Text>> = ["scope", "scp"];
        /// jwt: whoever has the keys can judge the token. opaque: a reference token, which only the gateway knows.
        format: TokenFormat = "jwt";
        /// Further endpoints of the gateway. Each is off, and its path the upstream's, unless it is set here.
        endpoints: TokenEndpoints = ();
    }

    /// Further endpoints of the gateway.
    TokenEndpoints {
        /// Where the public keys are published (RFC 7517), such as /auth/jwks.
        jwks: Text;
        /// Where a client asks about a token (RFC 7662), such as /auth/introspect.
        introspect: Text;
        /// Where a client revokes a token of its own (RFC 7009), such as /auth/revoke.
        revoke: Text;
        /// Whether the gateway describes itself at the well-known paths of RFC 8414 and RFC 9728; needs an https issuer.
        metadata: bool = false;
    }

    /// A key that is accepted and does not sign: one of key, key_file and public_key_file, and its algorithm.
    ExtraKey {
        /// The key itself, written as in `[token]`.
        key: Hidden;
        /// The file that holds the key.
        key_file: FilePath;
        /// The PEM file of a public key.
        public_key_file: FilePath;
        /// The one algorithm it is used with. Required.
        algorithm: Signature;
        /// Its `kid`.
        key_id: Text;
    }

    /// A machine client.
    Client {
        /// Its `client_id`. Required.
        id: Text;
        /// Its secret. Better: secret_file or secret_hash.
        secret: Hidden;
        /// The file that holds its secret.
        secret_file: FilePath;
        /// Its secret, hashed: `sha256:` and hex or base64 (for random secrets), or an Argon2 PHC string (for human ones).
        secret_hash: Hidden;
        /// The file that holds the hash of its secret.
        secret_hash_file: FilePath;
        /// Several secrets at once, while one is rotated.
        secrets: Vec<At<ClientSecret>> = NONE;
        /// What it may ask for; asked for nothing, it gets all of these.
        scopes: Vec<At<Text>> = NONE;
        /// `aud` of its tokens, instead of `[token]`'s.
        audience: OneOrMore<Text>;
        /// How long its tokens live, instead of `[token]`'s.
        expires_in: Span<Lifetime>;
        /// jwt or opaque, instead of `[token]`'s.
        format: TokenFormat;
        /// Further claims of its tokens.
        claims: Entries<Anything> = ();
        /// How it may prove itself; default: every way that it has a secret, a key or a certificate for.
        authentication: Vec<At<ClientAuthentication>>;
        /// For tls_client_auth (RFC 8705), over a listener with client_ca_file: the subject of its certificate, as RFC 2253 writes it, such as CN=ci,O=Acme.
        tls_client_subject: Text;
        /// The same, by a DNS name among the certificate's alternative names.
        tls_client_san_dns: Text;
        /// The same, by a URI among them, such as spiffe://example.com/ci.
        tls_client_san_uri: Text;
        /// The PEM file of its public key, for private_key_jwt (RFC 7523); with `algorithm`.
        public_key_file: FilePath;
        /// The file of its public keys as a JSON Web Key Set, for private_key_jwt, instead of public_key_file.
        jwks_file: FilePath;
        /// The algorithm that its key is used with; of a key in jwks_file, where that has no `alg`.
        algorithm: Signature;
        /// As if it were not there.
        disabled: bool = false;
    }

    /// One secret of several: one of secret, secret_file, secret_hash and secret_hash_file.
    ClientSecret {
        /// The secret.
        secret: Hidden;
        /// The file that holds the secret.
        secret_file: FilePath;
        /// The secret, hashed.
        secret_hash: Hidden;
        /// The file that holds the hash of the secret.
        secret_hash_file: FilePath;
        /// From when on it is no longer good.
        not_after: Moment;
    }

    /// Another issuer whose tokens are believed. Its keys come by `jwks_url`, `jwks_file`, `key` or `public_key_file`; with none of them and no `introspection.url` everything is discovered from `issuer`.
    Issuer {
        /// What the log, routes and metrics call it. Required.
        name: Text;
        /// Its identifier: a token's `iss` equals it, letter by letter. Required.
        issuer: Text;
        /// The `aud` values that are for us, one or a list; a token names at least one of them. Required, except where introspection alone judges.
        audiences: OneOrMore<Text>;
        /// Where its JSON Web Key Set is.
        jwks_url: Text;
        /// A file that holds its JSON Web Key Set.
        jwks_file: FilePath;
        /// The shared secret of its HS* tokens: the UTF-8 bytes of this text, or `base64:…` or `hex:…`. Better: key_file.
        key: Hidden;
        /// The file that holds the shared secret.
        key_file: FilePath;
        /// The PEM file of its public key.
        public_key_file: FilePath;
        /// The algorithms it signs with; default: every asymmetric one, or HS256 with `key`. A key that does not say its algorithm is used with the first one here that fits it.
        algorithms: Vec<At<Signature>>;
        /// Accepted `typ` values; an empty text stands for a token without one.
        types: Vec<At<Optional>> = ["at+jwt", "JWT", ""];
        /// Clock difference that is forgiven at `exp`, `nbf` and `iat`.
        leeway: Span<Leeway> = "60s";
        /// Claims that hold scopes, as text or as a list.
        scope_claims: Vec<At<Text>> = ["scope", "scp"];
        /// How it is asked about tokens that cannot be read (RFC 7662).
        introspection: Introspection;
        /// What its reference tokens begin with; only these come here.
        token_prefix: Text;
        /// A CEL expression over `request` and `token`: the issuer takes part only where it is true.
        when: Text;
        /// Whether it may be asked in clear over a network, not only on loopback.
        allow_http: bool = false;
    }

    /// How an issuer is asked about tokens (RFC 7662).
    Introspection {
        /// Where; default: what discovery finds.
        url: Text;
        /// As whom we ask. Required.
        client_id: Text;
        /// The secret of that client. Better: client_secret_file.
        client_secret: Hidden;
        /// The file that holds the secret.
        client_secret_file: FilePath;
        /// How the secret is sent: HTTP Basic, or in the body.
        auth: ClientAuth = "basic";
        /// How long an answer is believed, never past the token's `exp`; 0: not at all.
        cache: Span<IntrospectionCache> = "30s";
        /// Which tokens are asked about: those that cannot be read, or JWTs too.
        r#for: Introspected = "opaque";
    }

    /// Who is let in when no route says otherwise.
    Access {
        /// mutating: GET, HEAD and OPTIONS are open, every other method and every upgrade needs a token. all: everything needs one but a CORS preflight. none: nothing does.
        protect: Protect = "mutating";
        /// Scopes that a token must have, all of them, where one is needed.
        all_of: Vec<At<Text>> = NONE;
        /// Scopes of which a token must have at least one, where one is needed.
        any_of: Vec<At<Text>> = NONE;
        /// enforce; or report: let everything through, and log and count what would have been refused.
        mode: Mode = "enforce";
        /// How often one caller may ask, over everything that has no rate_limit of its own; left out: as often as it likes.
        rate_limit: RateLimit;
    }

    /// How often one caller may ask. A quota can be used at once, and comes back evenly over the window.
    RateLimit {
        /// Who counts as one caller: client (a client_id), subject (a sub) or address (IPv6: its first 64 bits). A request without a token counts by its address.
        per: LimitPer = "client";
        /// How many requests. Required.
        requests: Whole<LimitRequests>;
        /// In which time.
        window: Span<LimitWindow> = "1m";
    }

    /// Who is let in to some paths. The most specific route decides, whatever the order: by host, then by path, then by methods.
    Route {
        /// The paths: `/literal`, `/{name}` for one segment, `/{*name}` at the end for the rest, which may be empty. A slash at the end makes no difference. Required.
        path: Text;
        /// The host that is asked, at any port; `*.example.com` for every name below it. Left out: every host.
        host: Text;
        /// The methods, by the letter; GET is HEAD too. Left out: every method.
        methods: OneOrMore<Text>;
        /// What the log calls it; left out: its path.
        name: Text;
        /// public: no token is needed. protected: one is. deny: nobody gets in. Left out: a route that demands something is protected, any other follows [access].
        access: RouteAccess;
        /// Scopes that the token must have, all of them; with any_of instead of [access]'s.
        all_of: Vec<At<Text>>;
        /// Scopes of which the token must have at least one; with all_of instead of [access]'s.
        any_of: Vec<At<Text>>;
        /// The clients that are let in, by `client_id`.
        clients: OneOrMore<Text>;
        /// The issuers whose tokens are let in, by the name of their [[issuers]]; `own` for [token]'s.
        issuers: OneOrMore<Text>;
        /// Claims of the token, each with the values of which it must have one.
        claims: Entries<OneOrMore<Text>>;
        /// A condition in CEL over request.method, request.host, request.path, request.query, request.headers, params, claims, client_id, subject, scopes, issuer and now; what it cannot answer is refused.
        when: Text;
        /// enforce or report, instead of [access]'s.
        mode: Mode;
        /// What the upstream learns of the caller here.
        identity: RouteIdentity;
        /// Where these requests go: the name of one of [[upstreams]], or `default` for [upstream].
        upstream: Text;
        /// The path that the upstream gets instead, with parameters of `path`, as in `/v2/{id}/{rest}`. Policy is judged by the original path; the query goes on.
        rewrite: Text;
        /// How often one caller may ask here, instead of [access]'s.
        rate_limit: RateLimit;
        /// Which web pages of other origins may call here, instead of [cors].
        cors: Cors;
    }

    /// Which web pages of other origins may call: the gateway answers their preflights and says in every answer who may read it, in the place of the upstream.
    Cors {
        /// Where the pages are from, as `https://app.example.com`; `null` for those without an origin, `*` for every one. Required.
        origins: OneOrMore<Text>;
        /// The methods that they may use.
        methods: Vec<At<Text>> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        /// The request headers that they may set; `*` for every one.
        headers: Vec<At<Text>> = ["Authorization", "Content-Type"];
        /// The response headers that they may read beyond those that every page may.
        expose: Vec<At<Text>> = ["WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy"];
        /// Whether browsers may send cookies and certificates along.
        credentials: bool = false;
        /// How long a browser may go by the answer to a preflight.
        max_age: Span<CorsAge> = "10m";
    }

    /// An endpoint for nginx auth_request, Traefik ForwardAuth and Caddy forward_auth: the same judge, but nothing is forwarded.
    ForwardAuth {
        /// Where they ask, such as /auth/verify; only those in server.trusted_proxies are believed. Required.
        path: Text;
    }

    /// What the upstream learns of the caller on one route.
    RouteIdentity {
        /// Header names and the claims that fill them, instead of [identity]'s. Required.
        headers: Entries<Text>;
    }

    /// What the upstream learns of the caller. Copies of these headers that a client sends are always removed.
    Identity {
        /// Header names and the claims that fill them. Replaces the whole default.
        headers: Entries<Text> = [
            ("X-Auth-Subject", "sub"),
            ("X-Auth-Client", "client_id"),
            ("X-Auth-Scope", "scope"),
            ("X-Auth-Issuer", "iss"),
        ];
        /// Header names and what of a client's certificate fills them: subject (RFC 2253), san (the alternative names) or sha256 (the fingerprint). With a client_ca_file the default is { X-Client-Cert-Subject = "subject", X-Client-Cert-San = "san", X-Client-Cert-Sha256 = "sha256" }.
        certificate_headers: Entries<CertificateField>;
        /// Whether the upstream gets the Authorization header of a request whose token was valid.
        authorization: Authorization = "forward";
    }

    /// Where reference tokens and revocations are kept.
    Store {
        /// memory: (gone with the process) or file:/folder (survives a restart; one gateway to a folder).
        url: Text = "memory:";
    }

    /// The administrative listener.
    Admin {
        /// Where health, metrics, the status document and the page answer: an address with its port, `unix:/path`, or a list of these. Required.
        listen: OneOrMore<ListenAddress>;
        /// What whoever asks for more than health has to show, as a Bearer token or as the password of HTTP Basic; needed where others can reach the listener. Better: token_file.
        token: Hidden;
        /// The file that holds the token.
        token_file: FilePath;
        /// The certificate that the listener shows over TCP, and whom it asks for one: required is needed for all but health, besides the token where there is one; optional does instead of it.
        tls: ServerTls;
    }

    /// Who was given which token and who was refused: JSON, one event a line.
    Audit {
        /// Where events go: stdout, stderr or file:/path; a file is opened again at every reload. Required.
        output: Text;
        /// Whether no token is issued and none revoked unless that is written.
        required: bool = false;
    }

    /// Spans for an OpenTelemetry collector.
    Tracing {
        /// Where spans are sent, by OTLP over HTTP in protobuf, such as http://127.0.0.1:4318/v1/traces. Required.
        endpoint: Text;
        /// The share of requests that become spans, 0 to 1. A trusted proxy that tells a trace decides for it.
        sample_ratio: Ratio = 1.0;
        /// What the collector calls this gateway.
        service_name: Text = "tollgate";
        /// Headers for the collector, such as an API key. Better: headers_file.
        headers: Entries<Hidden> = ();
        /// The file that holds such headers, each on a line of its own as `Name: value`.
        headers_file: FilePath;
    }

    /// What is logged, to standard output.
    Log {
        /// text for people, json for machines.
        format: LogFormat = "text";
        /// error, warn, info, debug, trace or off, or a list such as `info,tollgate=debug`.
        level: Text = "info";
        /// Whether each request gets a line.
        access: bool = true;
    }
}

/// One of `[[upstreams]]`: an [`Upstream`] with a name.
#[derive(Clone)]
pub(super) struct NamedUpstream {
    pub(super) name: Option<At<Text>>,
    /// Whether a name was written, well or badly.
    pub(super) given: bool,
    pub(super) upstream: Upstream,
}

impl NamedUpstream {
    fn key() -> Key {
        let about = "What routes, the log and the metrics call it. Required.".to_owned();
        Key { name: "name", about, default: None, shape: Text::shape() }
    }
}

impl Read for NamedUpstream {
    fn shape() -> Shape {
        match Upstream::shape() {
            Shape::Table(mut table) => {
                table.about =
                    "An upstream that routes name; it has every key of [upstream].".into();
                table.keys.insert(0, Self::key());
                Shape::Table(table)
            }
            other => other,
        }
    }

    /// `name` is taken out first: what is left is an [`Upstream`].
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let mut rest = node.clone();
        let (mut name, mut given) = (None, false);
        if let Value::Table(entries) = &mut rest.value {
            name = field(node, entries, "name", None, report);
            given = entries.iter().any(|(known, _)| known == "name");
            entries.retain(|(known, _)| known != "name");
        }
        let upstream = Upstream::read(&rest, report)?;
        Some(Self { name, given, upstream })
    }
}

/// Names bounds: least, most, and the reason that is told to whoever oversteps them.
macro_rules! limits {
    ($($name:ident: $least:expr, $most:expr, $why:literal;)+) => { $(
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Limits for $name {
            const LEAST: u64 = $least;
            const MOST: u64 = $most;
            const WHY: &'static str = $why;
        }
    )+ };
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1_024;

limits! {
    Workers: 0, 1_024, "more threads than cores only wait for one another";
    Connections: 0, 10_000_000, "no system holds more; 0 means no limit of our own";
    Streams: 1, 1_000, "each of them may hold buffers and a connection to the upstream";
    Retries: 0, 3, "each retry is more load on an upstream that is in trouble already";
    UpstreamConnections: 0, 1_000_000, "no system holds more; 0 means no limit";
    Pending: 0, 1_000_000, "each request that waits holds its client's connection";
    HealthInterval: 100, HOUR, "more often is load, and less often tells too late";
    HealthTimeout: 10, MINUTE, "an origin that takes longer to say that it is well is not";
    InARow: 1, 100, "more are waited for in vain";
    Failures: 0, 10_000, "0 means that no origin is left out";
    EjectionTime: 100, HOUR, "an origin that is well again would be left out for good";
    Percent: 0, 100, "it is a share of the whole";
    SlowReturn: 0, 10 * MINUTE, "the others bear the load meanwhile";
    HeaderTimeout: 10, 10 * MINUTE, "a client that never finishes a head would hold its connection for good";
    IdleTimeout: 10, DAY, "a forgotten connection would be held for good";
    DrainTimeout: 0, HOUR, "whoever stops the gateway waits for this";
    ConnectTimeout: 1, MINUTE, "the client waits for this";
    UpstreamTimeout: 0, DAY, "a forgotten request would be held for good; 0 means no limit";
    Lifetime: SECOND, 366 * DAY, "a token cannot be called back before it expires";
    IntrospectionCache: 0, HOUR, "a token that was called back would live on by this";
    Leeway: 0, 5 * MINUTE, "a token would outlive its end by this";
    HeaderSize: 8 * KIB, KIB * KIB, "every client may make the gateway hold this much";
    BodySize: 0, 1 << 50, "0 means no limit";
    LimitRequests: 1, 1_000_000, "access = \"deny\" lets nobody in, and more than a million are as good as no limit";
    CorsAge: 0, DAY, "no browser keeps it longer; 0 means not at all";
    LimitWindow: SECOND, DAY, "clients are told whole seconds, and counts are gone when the gateway stops";
}
