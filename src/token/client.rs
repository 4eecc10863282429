//! Who is asking: finds what a request proves itself with (RFC 6749 §2.3) and compares it.
//!
//! Invariant: an unknown client, a wrong secret, a disabled client and a secret past its end cost the same
//! work, and every comparison takes a time that does not depend on what is compared.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};
use subtle::{Choice, ConstantTimeEq};

use super::TokenError;
use super::assertion::{Assertion, Expected, Proof, decoys};
use super::grant::{Request, decoded};
use super::hashing::{Attempt, Hash, Hashing};
use crate::certificate::Certificate;
use crate::clock::Clock;
use crate::config::{CertificateName, Client, Methods, SecretKind, Token, TokenFormat};
use crate::identity::Scopes;
use crate::keys::VerifyingKey;
use crate::message::Fields;
use crate::secret::Secret;

/// A client as the token service knows it, with the defaults of `[token]` filled in.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) scopes: Scopes,
    /// What its tokens may be for.
    pub(super) audience: Vec<String>,
    pub(super) format: TokenFormat,
    /// Seconds.
    pub(super) expires_in: u64,
    pub(super) claims: Map<String, Value>,
    pub(super) disabled: bool,
    /// What its assertions may be signed for.
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) methods: Methods,
    certificate: Option<CertificateName>,
    digests: Vec<Limited<[u8; 32]>>,
    hashes: Vec<Arc<Hash>>,
    hash_ends: Vec<Option<u64>>,
}

/// Something that is good until its end.
#[derive(Debug)]
struct Limited<T> {
    value: T,
    not_after: Option<u64>,
}

/// Every client, ready to be asked for.
#[derive(Debug)]
pub(super) struct Clients {
    by_id: HashMap<String, Record>,
    /// Most digests that one client has: as many are compared for everyone.
    digests: usize,
    decoys: Vec<VerifyingKey>,
    hashing: Option<Hashing>,
}

/// What a request proves itself with.
#[derive(Debug)]
pub(super) enum Presented {
    /// One pair, or the two readings of one `Basic` field.
    Pairs(Vec<Pair>, Way),
    /// An assertion.
    Assertion(Box<Assertion>),
    /// A client's id, and the certificate of the connection (RFC 8705 §2.1).
    Certificate(String, Box<Certificate>),
    /// A field that cannot be read, or of another scheme.
    Unusable,
    /// Nothing, or half of it.
    Nothing,
}

/// Where a secret stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// In `Authorization`.
    Basic,
    /// In the body.
    Post,
}

#[derive(Debug)]
pub(super) struct Pair {
    id: String,
    secret: Secret<Vec<u8>>,
}

/// Why a client was not believed. Only the log learns of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disbelief {
    /// The `Authorization` field is not one of `Basic` with a client and a secret.
    Unreadable,
    /// No client has this id.
    Unknown,
    /// The client is disabled.
    Disabled,
    /// The secret is none that is good now, or not to be used in this way.
    Secret,
    /// The assertion does not prove it.
    Assertion,
    /// The assertion was shown before.
    Replay,
    /// The certificate of the connection is not the client's.
    Certificate,
}

impl Presented {
    /// # Errors
    /// A request that proves itself twice, or speaks of two clients: `invalid_request`.
    pub(super) fn read(
        headers: &Fields,
        request: &Request,
        certificate: Option<&Certificate>,
    ) -> Result<Self, TokenError> {
        let mut fields = headers.get_all(AUTHORIZATION);
        if request.assertion.is_some() || request.assertion_type.is_some() {
            let is_second = fields.next().is_some() || request.client_secret.is_some();
            let assertion = Assertion::read(request, is_second)?;
            return Ok(assertion.map_or(Self::Unusable, |it| Self::Assertion(Box::new(it))));
        }
        let Some(field) = fields.next() else {
            let (Some(id), Some(secret)) = (&request.client_id, &request.client_secret) else {
                let shown = request.client_id.as_ref().zip(certificate);
                return Ok(match shown.filter(|_| request.client_secret.is_none()) {
                    Some((id, shown)) => Self::Certificate(id.clone(), Box::new(shown.clone())),
                    None => Self::Nothing,
                });
            };
            let secret = Secret::new(secret.expose().clone().into_bytes());
            return Ok(Self::Pairs(vec![Pair { id: id.clone(), secret }], Way::Post));
        };
        if fields.next().is_some() {
            return Err(TokenError::TwoAuthorizations);
        }
        if request.client_secret.as_ref().is_some_and(|secret| !secret.expose().is_empty()) {
            return Err(TokenError::TwoMethods);
        }
        let Some(mut pairs) = basic(field.as_bytes()) else { return Ok(Self::Unusable) };
        if let Some(id) = &request.client_id {
            pairs.retain(|pair| pair.id == *id);
            if pairs.is_empty() {
                return Err(TokenError::TwoClients);
            }
        }
        Ok(Self::Pairs(pairs, Way::Basic))
    }

    /// The way of proving, as the registry of RFC 7591 §2 names it; from a closed set.
    pub(super) const fn method(&self) -> &'static str {
        match self {
            Self::Pairs(_, Way::Basic) => "client_secret_basic",
            Self::Pairs(_, Way::Post) => "client_secret_post",
            Self::Assertion(_) => "private_key_jwt",
            Self::Certificate(..) => "tls_client_auth",
            Self::Unusable | Self::Nothing => NO_METHOD,
        }
    }

    /// Whom it claims to be; empty if that cannot be read.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Pairs(pairs, _) => pairs.first().map_or("", |pair| &pair.id),
            Self::Assertion(assertion) => assertion.client(),
            Self::Certificate(id, _) => id,
            Self::Unusable | Self::Nothing => "",
        }
    }
}

/// The pairs in a `Basic` field: form-decoded as RFC 6749 §2.3.1 asks, then as it is (RFC 7617), which many
/// clients send; one pair if both are the same. `None` if there is none.
fn basic(field: &[u8]) -> Option<Vec<Pair>> {
    let at = field.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = field.split_at(at);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let encoded = rest.get(blanks..).filter(|text| text.len() <= MAX_BASIC)?;
    let bytes = Secret::new(BASIC.decode(encoded).ok()?);
    let colon = bytes.expose().iter().position(|byte| *byte == b':')?;
    let (id, secret) = bytes.expose().split_at(colon);
    let secret = secret.get(1..).unwrap_or_default();
    let mut pairs = Vec::with_capacity(2);
    if let (Some(id), Some(secret)) = (decoded(id), decoded(secret)) {
        pairs.push(Pair { id, secret: Secret::new(secret.into_bytes()) });
    }
    if let Ok(id) = std::str::from_utf8(id) {
        let same = |pair: &Pair| pair.id == id && pair.secret.expose().as_slice() == secret;
        if !pairs.first().is_some_and(same) {
            pairs.push(Pair { id: id.to_owned(), secret: Secret::new(secret.to_vec()) });
        }
    }
    (!pairs.is_empty()).then_some(pairs)
}

impl Record {
    pub(super) fn new(client: &Client, token: &Token) -> Self {
        let audience = client.audience.as_ref().unwrap_or(&token.audience);
        let (mut digests, mut hashes, mut hash_ends) = (Vec::new(), Vec::new(), Vec::new());
        for secret in &client.secrets {
            match &secret.kind {
                SecretKind::Sha256(value) => {
                    digests.push(Limited { value: *value, not_after: secret.not_after });
                }
                // The configuration has checked that it parses; what does not lets nobody in.
                SecretKind::Argon2(phc) => {
                    hashes.extend(Hash::new(phc).map(Arc::new));
                    hash_ends.resize(hashes.len(), secret.not_after);
                }
            }
        }
        Self {
            id: client.id.clone(),
            scopes: client.scopes.clone(),
            audience: audience.clone(),
            format: client.format.unwrap_or(token.format),
            expires_in: client.expires_in.unwrap_or(token.expires_in).as_secs().max(1),
            claims: client.claims.clone(),
            disabled: client.disabled,
            keys: if client.methods.key { client.keys.clone() } else { Vec::new() },
            methods: client.methods,
            certificate: client.certificate.clone(),
            digests,
            hashes,
            hash_ends,
        }
    }
}

impl Clients {
    /// # Errors
    /// If threads for Argon2 are needed and there are none to be had.
    pub(super) fn new(
        clients: &[Client],
        token: &Token,
        key: hmac::Key,
        clock: &Clock,
    ) -> io::Result<Self> {
        let records = clients.iter().map(|client| (client.id.clone(), Record::new(client, token)));
        let by_id: HashMap<_, _> = records.collect();
        let digests = by_id.values().map(|record| record.digests.len()).max().unwrap_or(0);
        let hashing = if by_id.values().all(|record| record.hashes.is_empty()) {
            None
        } else {
            let hashes = by_id.values().map(|record| record.hashes.as_slice());
            Some(Hashing::start(hashes, key, clock.clone())?)
        };
        let decoys = decoys(by_id.values());
        Ok(Self { by_id, digests, decoys, hashing })
    }

    /// The client of this id, believed or not.
    pub(super) fn find(&self, id: &str) -> Option<&Record> {
        self.by_id.get(id)
    }

    /// The client that `pairs` prove at `now`, seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`], or [`TokenError::Busy`] if Argon2 has too much to do.
    pub(super) async fn authenticate(
        &self,
        pairs: Vec<Pair>,
        way: Way,
        now: u64,
    ) -> Result<&Record, TokenError> {
        let mut believed = None;
        for pair in &pairs {
            let record = self.find(&pair.id);
            let matched = self.matches_digest(record, pair, way, now);
            if bool::from(matched) && believed.is_none() {
                believed = record;
            }
        }
        let disbelief = self.disbelief(&pairs);
        if let Some(record) = believed {
            return Ok(record);
        }
        if let Some(hashing) = &self.hashing {
            let attempts =
                pairs.into_iter().map(|pair| self.attempt(pair, way, now)).collect::<Vec<_>>();
            let ids: Vec<String> = attempts.iter().map(|attempt| attempt.id.clone()).collect();
            let found = hashing.verify(attempts).await.map_err(|_| TokenError::Busy)?;
            // What is remembered may have come to its end since.
            if let Some(found) = found
                && let Some(record) = ids.get(found.attempt).and_then(|id| self.find(id))
                && record.is_live(found.hash, way, now)
            {
                return Ok(record);
            }
        }
        Err(TokenError::InvalidClient(disbelief))
    }

    /// Compares with as many digests as the client with most of them has, whether there are any or not.
    fn matches_digest(&self, record: Option<&Record>, pair: &Pair, way: Way, now: u64) -> Choice {
        let presented = digest(&SHA256, pair.secret.expose());
        let mut matched = Choice::from(0);
        for place in 0..self.digests.max(1) {
            let stored = record.and_then(|record| record.digests.get(place));
            let live = record.is_some_and(|record| !record.disabled && record.allows(way))
                && stored.is_some_and(|stored| is_before(now, stored.not_after));
            let stored = stored.map_or(&NOBODY, |stored| &stored.value);
            matched |= stored.ct_eq(presented.as_ref()) & Choice::from(u8::from(live));
        }
        matched
    }

    fn attempt(&self, pair: Pair, way: Way, now: u64) -> Attempt {
        let record = self.find(&pair.id);
        let hashes = record.map_or_else(Vec::new, |record| {
            let hashes = record.hashes.iter().enumerate();
            hashes
                .map(|(place, hash)| (Arc::clone(hash), record.is_live(place, way, now)))
                .collect()
        });
        Attempt { id: pair.id, secret: pair.secret, hashes }
    }

    /// The client that `assertion` proves at `now`, if it is the first time that it is shown.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`]
    pub(super) fn prove(
        &self,
        assertion: &Assertion,
        expected: &Expected,
        now: u64,
    ) -> Result<(&Record, Proof), TokenError> {
        let record = self.find(assertion.client());
        let decoy = self.decoys.iter().find(|key| key.algorithm() == assertion.algorithm());
        let proof = assertion.judge(record, decoy, expected, now);
        match (record, proof) {
            (None, _) => Err(Disbelief::Unknown),
            (Some(record), _) if record.disabled => Err(Disbelief::Disabled),
            (Some(_), None) => Err(Disbelief::Assertion),
            (Some(record), Some(proof)) => Ok((record, proof)),
        }
        .map_err(TokenError::InvalidClient)
    }

    /// The client `id`, if `shown` is its certificate.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`]
    pub(super) fn by_certificate(
        &self,
        id: &str,
        shown: &Certificate,
    ) -> Result<&Record, TokenError> {
        let record = self.find(id).ok_or(TokenError::InvalidClient(Disbelief::Unknown))?;
        let is_its = record.certificate.as_ref().is_some_and(|name| name.is_of(shown));
        match (record.disabled, record.methods.tls && is_its) {
            (true, _) => Err(TokenError::InvalidClient(Disbelief::Disabled)),
            (false, false) => Err(TokenError::InvalidClient(Disbelief::Certificate)),
            (false, true) => Ok(record),
        }
    }

    /// Every client.
    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.by_id.values()
    }

    fn disbelief(&self, pairs: &[Pair]) -> Disbelief {
        match pairs.iter().find_map(|pair| self.find(&pair.id)) {
            None => Disbelief::Unknown,
            Some(record) if record.disabled => Disbelief::Disabled,
            Some(_) => Disbelief::Secret,
        }
    }
}

impl Record {
    const fn allows(&self, way: Way) -> bool {
        match way {
            Way::Basic => self.methods.basic,
            Way::Post => self.methods.post,
        }
    }

    /// Whether its hash at `place` may let anyone in.
    fn is_live(&self, place: usize, way: Way, now: u64) -> bool {
        !self.disabled
            && self.allows(way)
            && self.hash_ends.get(place).is_some_and(|not_after| is_before(now, *not_after))
    }
}

fn is_before(now: u64, end: Option<u64>) -> bool {
    end.is_none_or(|end| now < end)
}

/// Compared with when there is nothing to compare with. No secret has this digest that anybody knows.
const NOBODY: [u8; 32] = [0; 32];
/// The client did not say who it is, or not in a way that can be read.
pub(super) const NO_METHOD: &str = "none";
/// Longest `Basic` credentials that are looked at, bytes; as the body.
const MAX_BASIC: usize = super::MAX_BODY;
/// RFC 7617 pads; clients that do not are understood.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
