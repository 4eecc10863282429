//! TLS towards clients: which certificate for which name, whom to ask for one, and what a handshake agrees on. A value
//! made of the settings: new handshakes take the newest one, connections keep what they were made with.
//!
//! Invariant: a session is resumed only under the very settings that it was made under, so a ticket never outlives a
//! change of certificate or of the authorities of clients, nor leads from one name's demands to another's.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::DEFAULT_KX_GROUPS;
use rustls::crypto::aws_lc_rs::{DEFAULT_CIPHER_SUITES, Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, NamedGroup, RootCertStore, ServerConfig};

use crate::certificate::stands_for;
use crate::clock::Clock;
use crate::config::ServerTls;

/// Why TLS towards clients cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsServerError {
    /// The certificate, its key or the authorities of clients are unusable.
    #[error("TLS for server.tls cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities of clients are unusable.
    #[error("the authorities of client certificates cannot be used: {0}")]
    Clients(#[from] rustls::server::VerifierBuilderError),
}

/// Every certificate of the listeners, ready to shake hands.
#[derive(Debug)]
pub struct TlsServer {
    /// For whoever asks for none of the others.
    first: Entry,
    others: Vec<Entry>,
    /// Of the settings that it was made of.
    digests: Vec<[u8; 32]>,
    http2: bool,
}

#[derive(Debug)]
struct Entry {
    /// Hosts, perhaps with a wildcard.
    names: Vec<String>,
    config: Arc<ServerConfig>,
    /// The same for clients who are as safe with AES of 128 bits, which costs us less.
    lighter: Arc<ServerConfig>,
    /// What is asked of clients, by its digest.
    demand: Demand,
}

/// What a handshake asks of a client's certificate, by its digest; all zero: nothing.
pub type Demand = [u8; 32];

impl TlsServer {
    /// For `[server] tls`; none without it. `http2` is offered where it is spoken. The `previous` one stays where nothing
    /// has changed, and with it the sessions that it has made.
    ///
    /// # Errors
    /// [`TlsServerError`]
    pub fn new(
        settings: &[ServerTls],
        http2: bool,
        clock: &Clock,
        previous: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, TlsServerError> {
        let digests: Vec<[u8; 32]> = settings.iter().map(|one| one.digest).collect();
        if let Some(previous) = previous
            && (&previous.digests, previous.http2) == (&digests, http2)
        {
            return Ok(Some(Arc::clone(previous)));
        }
        let entries = settings.iter().map(|one| {
            let names = one.certificate.hosts().map(str::to_owned).collect();
            let demand = one.clients.as_ref().map_or([0; 32], |clients| clients.digest);
            let config = config(one, http2, clock, default_provider())?;
            let mut lighter = self::config(one, http2, clock, preferring_aes_128())?;
            lighter.ignore_client_order = true;
            lighter.ticketer = Arc::clone(&config.ticketer); // a session goes on by either
            Ok(Entry { names, config: Arc::new(config), lighter: Arc::new(lighter), demand })
        });
        let mut entries = entries.collect::<Result<Vec<_>, TlsServerError>>()?.into_iter();
        Ok(entries.next().map(|first| {
            let others = entries.collect();
            Arc::new(Self { first, others, digests, http2 })
        }))
    }

    /// What a client that asks for `host` is shown: the certificate with that very name, else one with a wildcard for
    /// it, else the first.
    #[must_use]
    pub fn choose(&self, host: Option<&str>) -> (Arc<ServerConfig>, Demand) {
        let entry = self.entry(host);
        (Arc::clone(&entry.config), entry.demand)
    }

    /// The same, for whoever begins with this message.
    #[must_use]
    pub fn choose_for(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, Demand) {
        let entry = self.entry(hello.server_name());
        let config = if is_as_safe_with_aes_128(hello) { &entry.lighter } else { &entry.config };
        (Arc::clone(config), entry.demand)
    }

    /// Whether a connection on which this was asked of the client may carry requests for `host`: the host's own
    /// handshake would have asked the same. Otherwise a client could ask for a name without demands, and then speak of
    /// another (RFC 9110 §15.5.20).
    #[must_use]
    pub fn asks_the_same(&self, demand: &Demand, host: impl FnOnce() -> Option<String>) -> bool {
        if self.others.iter().all(|other| other.demand == self.first.demand) {
            return self.first.demand == *demand;
        }
        self.entry(host().as_deref()).demand == *demand
    }

    fn entry(&self, host: Option<&str>) -> &Entry {
        let chosen = host.filter(|_| !self.others.is_empty()).and_then(|host| self.find(host));
        chosen.unwrap_or(&self.first)
    }

    fn find(&self, host: &str) -> Option<&Entry> {
        let host = host.to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let bears = |pick: &dyn Fn(&str) -> bool| {
            let mut entries = std::iter::once(&self.first).chain(&self.others);
            entries.find(|entry| entry.names.iter().any(|name| pick(name)))
        };
        bears(&|name| name == host).or_else(|| bears(&|name| stands_for(name, host)))
    }
}

fn config(
    settings: &ServerTls,
    http2: bool,
    clock: &Clock,
    provider: CryptoProvider,
) -> Result<ServerConfig, TlsServerError> {
    let provider = Arc::new(provider);
    let time = Arc::new(Time(clock.clone()));
    // TLS 1.2 and 1.3, and of their ciphers those with forward secrecy
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
        .with_safe_default_protocol_versions()?;
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            for root in &clients.roots {
                roots.add(CertificateDer::from(root.clone()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if clients.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let identity = SingleCertAndKey::from(Arc::clone(&settings.identity));
    let mut config = builder.with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = if http2 { vec![H2.to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(HTTP1.to_vec());
    // sessions are kept by the clients, in tickets: nothing here grows, and nothing is locked for writing
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0; // what comes early can be replayed
    Ok(config)
}

/// The same ciphers as ever; of those that a client offers, AES with 128 bits is chosen first.
fn preferring_aes_128() -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite())); // equals keep their order
    provider
}

/// Whether no cipher makes this client's connection stronger than AES with 128 bits does: the curve that it agrees on
/// keys by has that strength. Where it has more (a post-quantum group), the client's order counts; so it does for a
/// client that would rather have ChaCha20, which is one without instructions for AES.
fn is_as_safe_with_aes_128(hello: &ClientHello<'_>) -> bool {
    let curve = hello.named_groups().and_then(|groups| {
        let is_known =
            |group: &&NamedGroup| DEFAULT_KX_GROUPS.iter().any(|ours| ours.name() == **group);
        groups.iter().find(is_known)
    });
    let is_known =
        |suite: &&CipherSuite| DEFAULT_CIPHER_SUITES.iter().any(|ours| ours.suite() == **suite);
    let first = hello.cipher_suites().iter().find(is_known);
    matches!(curve, Some(NamedGroup::X25519 | NamedGroup::secp256r1))
        && first.is_some_and(|suite| is_aes(*suite))
}

const fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

const fn is_aes(suite: CipherSuite) -> bool {
    is_aes_128(suite)
        || matches!(
            suite,
            CipherSuite::TLS13_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
}

/// The time as everything else here reads it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}

/// HTTP/2, as ALPN calls it (RFC 7301).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1, as ALPN calls it.
const HTTP1: &[u8] = b"http/1.1";
/// Tickets after each full handshake: whoever comes back does so with one of them.
const TICKETS: usize = 1;
