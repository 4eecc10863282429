//! Every way in which a credential fails, and what the client and the log are told of it.

use http::StatusCode;

use super::policy::Requirement;

/// Why a credential was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denied {
    /// There is none, and one is needed.
    Missing,
    /// More than one `Authorization` field, or a further token in the query (RFC 6750 §2).
    Repeated,
    /// An `Authorization` field that is not a scheme and a token.
    Unreadable,
    /// No token is valid here: there is no token service.
    NoIssuer,
    /// The token is longer than [`super::MAX_TOKEN`].
    TooLarge,
    /// Not three parts of canonical unpadded base64url.
    NotAJwt,
    /// The header is not a JSON object with each member once and of its type.
    BadHeader,
    /// `crit` or `b64` in the header.
    CriticalHeader,
    /// `alg` is none of ours.
    UnsupportedAlgorithm,
    /// `typ` says that this is no access token.
    WrongType,
    /// The claims are not a JSON object with each member once.
    BadClaims,
    /// A claim that is needed and absent, or of the wrong type.
    BadClaim(Claim),
    /// `iss` is nobody we believe.
    UnknownIssuer,
    /// No key of the issuer has this algorithm.
    WrongAlgorithm,
    /// No key, or more than one, for this `kid` and algorithm.
    UnknownKey,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come.
    NotYetValid,
    /// `iat` has not come.
    IssuedInFuture,
    /// `aud` does not name us.
    WrongAudience,
    /// The signature is not that of the key.
    BadSignature,
    /// The client is not in the configuration, or is disabled.
    UnknownClient,
    /// A claim that the upstream is to learn cannot be a header value.
    Unspeakable,
    /// The token is bound to a key or a certificate (`cnf`), and nothing proves that the sender has it.
    Bound,
    /// Its issuer says that the token is not active.
    Inactive,
    /// A reference token that nobody we believe is asked about.
    NoJudge,
    /// More signatures wait to be checked than is sensible.
    Crowded,
    /// Its issuer cannot be asked now, and without it nothing can be said of the token.
    IssuerUnavailable,
    /// It begins like a reference token of ours and does not go on like one.
    BadReference,
    /// A reference token that is not in the store: never issued, long expired, or revoked.
    UnknownReference,
    /// It was revoked.
    Revoked,
    /// The store could not be asked.
    StoreUnavailable,
    /// The route lets nobody in.
    Route,
    /// A scope is missing.
    Scope,
    /// Not one of several scopes is there.
    AnyScope,
    /// The client is not one of those that are let in.
    Client,
    /// The issuer is not one of those that are let in.
    Issuer,
    /// A claim has none of the values that are let in.
    ClaimValue,
    /// The condition is false.
    ConditionFalse,
    /// The condition has no answer.
    ConditionFailed,
}

/// A registered claim that this program reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// `iss`
    Issuer,
    /// `sub`
    Subject,
    /// `aud`
    Audience,
    /// `exp`
    Expiry,
    /// `nbf`
    NotBefore,
    /// `iat`
    IssuedAt,
    /// `jti`
    TokenId,
    /// `client_id`, or the `sub` that stands for it
    Client,
    /// `scope`, `scp`
    Scope,
}

/// One step of judging a token, in the order in which they are taken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Check {
    /// Short enough, three parts, canonical base64url.
    Form,
    /// The header: JSON, `alg`, `crit`, `b64`.
    Header,
    /// The claims are a JSON object.
    Claims,
    /// `iss`: it says who judges.
    Issuer,
    /// `typ`
    Type,
    /// A key for `kid` and `alg`.
    Key,
    /// `exp`
    Expiry,
    /// `nbf`
    NotBefore,
    /// `iat`
    IssuedAt,
    /// `aud`
    Audience,
    /// The signature.
    Signature,
    /// `client_id` or `sub` names a live client.
    Client,
    /// `scope` is readable.
    Scope,
    /// Not revoked; a reference token: still kept.
    Revocation,
    /// What the upstream is to learn can be said in a header.
    Identity,
}

impl Denied {
    /// Status, and the `error` of the challenge (RFC 6750 §3.1); a request without a credential gets none.
    #[must_use]
    pub const fn wire(self) -> (StatusCode, Option<&'static str>) {
        match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, None),
            Self::Repeated | Self::Unreadable => (StatusCode::BAD_REQUEST, Some("invalid_request")),
            Self::NoIssuer
            | Self::TooLarge
            | Self::NotAJwt
            | Self::BadHeader
            | Self::CriticalHeader
            | Self::UnsupportedAlgorithm
            | Self::WrongType
            | Self::BadClaims
            | Self::BadClaim(_)
            | Self::UnknownIssuer
            | Self::WrongAlgorithm
            | Self::UnknownKey
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::WrongAudience
            | Self::BadSignature
            | Self::UnknownClient
            | Self::Unspeakable
            | Self::Bound
            | Self::Inactive
            | Self::NoJudge
            | Self::BadReference
            | Self::UnknownReference
            | Self::Revoked => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::Crowded | Self::IssuerUnavailable | Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
            Self::Route => (StatusCode::FORBIDDEN, None),
            Self::Scope
            | Self::AnyScope
            | Self::Client
            | Self::Issuer
            | Self::ClaimValue
            | Self::ConditionFalse
            | Self::ConditionFailed => (StatusCode::FORBIDDEN, Some("insufficient_scope")),
        }
    }

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "no_credential",
            Self::Repeated => "repeated_credential",
            Self::Unreadable => "malformed_credential",
            Self::NoIssuer => "no_issuer",
            Self::TooLarge => "token_too_large",
            Self::NotAJwt => "malformed_token",
            Self::BadHeader => "malformed_header",
            Self::CriticalHeader => "critical_header",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::WrongType => "wrong_type",
            Self::BadClaims => "malformed_claims",
            Self::BadClaim(claim) => claim.code(),
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::WrongAudience => "wrong_audience",
            Self::BadSignature => "bad_signature",
            Self::UnknownClient => "unknown_client",
            Self::Unspeakable => "unspeakable_claim",
            Self::Bound => "bound_token",
            Self::Inactive => "inactive",
            Self::NoJudge => "no_judge",
            Self::Crowded => "verification_busy",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::BadReference => "malformed_reference",
            Self::UnknownReference => "unknown_token",
            Self::Revoked => "revoked",
            Self::StoreUnavailable => "store_unavailable",
            Self::Route => "route_denied",
            Self::Scope | Self::AnyScope => "missing_scope",
            Self::Client => "wrong_client",
            Self::Issuer => "wrong_issuer",
            Self::ClaimValue => "wrong_claim",
            Self::ConditionFalse => "condition_false",
            Self::ConditionFailed => "condition_failed",
        }
    }

    /// The `error_description`: a constant in the characters of RFC 6750 §3, so it needs no escaping.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Missing => "a Bearer token is needed",
            Self::Repeated => "the request bears more than one credential",
            Self::Unreadable => "the Authorization field is malformed",
            Self::NoIssuer => "no issuer is configured",
            Self::TooLarge => "the token is too long",
            Self::NotAJwt => "the token is not a JWT",
            Self::BadHeader => "the header of the token is malformed",
            Self::CriticalHeader => "the token has a critical header that is not understood",
            Self::UnsupportedAlgorithm => "the algorithm of the token is not supported",
            Self::WrongType => "the token is of another type than an access token",
            Self::BadClaims => "the claims of the token are malformed",
            Self::BadClaim(claim) => claim.description(),
            Self::UnknownIssuer => "the issuer of the token is unknown",
            Self::WrongAlgorithm => "the issuer does not use the algorithm of the token",
            Self::UnknownKey => "the key of the token is unknown",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not yet valid",
            Self::IssuedInFuture => "the token was issued in the future",
            Self::WrongAudience => "the token is for another audience",
            Self::BadSignature => "the signature of the token is wrong",
            Self::UnknownClient => "the client of the token is unknown or disabled",
            Self::Unspeakable => "a claim of the token cannot be passed on",
            Self::Bound => "the token is bound to a key that was not proven",
            Self::Inactive => "the token is not active",
            Self::NoJudge => "the token is not a JWT and no issuer is asked about such tokens",
            Self::Crowded => "too many tokens wait to be checked",
            Self::IssuerUnavailable => "the issuer of the token cannot be asked now",
            Self::BadReference => "the token is malformed",
            Self::UnknownReference => "the token is unknown, has expired or was revoked",
            Self::Revoked => "the token was revoked",
            Self::StoreUnavailable => "the token cannot be checked now",
            Self::Route => "nobody is let in here",
            Self::Scope => "the token lacks a scope that is needed here",
            Self::AnyScope => "the token has none of the scopes of which one is needed here",
            Self::Client => "the client of the token is not let in here",
            Self::Issuer => "tokens of this issuer are not let in here",
            Self::ClaimValue => "the claims of the token are not those that are let in here",
            Self::ConditionFalse => "the condition for being let in here is not met",
            Self::ConditionFailed => {
                "the condition for being let in here has no answer for this request"
            }
        }
    }

    /// What the policy demanded and the caller has not.
    #[must_use]
    pub const fn requirement(self) -> Option<Requirement> {
        match self {
            Self::Scope => Some(Requirement::AllScopes),
            Self::AnyScope => Some(Requirement::AnyScope),
            Self::Client => Some(Requirement::Client),
            Self::Issuer => Some(Requirement::Issuer),
            Self::ClaimValue => Some(Requirement::Claim),
            Self::ConditionFalse | Self::ConditionFailed => Some(Requirement::Condition),
            Self::Missing
            | Self::Repeated
            | Self::Unreadable
            | Self::NoIssuer
            | Self::TooLarge
            | Self::NotAJwt
            | Self::BadHeader
            | Self::CriticalHeader
            | Self::UnsupportedAlgorithm
            | Self::WrongType
            | Self::BadClaims
            | Self::BadClaim(_)
            | Self::UnknownIssuer
            | Self::WrongAlgorithm
            | Self::UnknownKey
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::WrongAudience
            | Self::BadSignature
            | Self::UnknownClient
            | Self::Unspeakable
            | Self::Bound
            | Self::Inactive
            | Self::NoJudge
            | Self::Crowded
            | Self::IssuerUnavailable
            | Self::BadReference
            | Self::UnknownReference
            | Self::Revoked
            | Self::StoreUnavailable
            | Self::Route => None,
        }
    }

    /// The step that failed; nothing for what is no token.
    #[must_use]
    pub const fn check(self) -> Option<Check> {
        Some(match self {
            Self::Missing
            | Self::Repeated
            | Self::Unreadable
            | Self::NoIssuer
            | Self::Inactive
            | Self::NoJudge
            | Self::IssuerUnavailable
            | Self::Route
            | Self::Scope
            | Self::AnyScope
            | Self::Client
            | Self::Issuer
            | Self::ClaimValue
            | Self::ConditionFalse
            | Self::ConditionFailed => return None,
            Self::TooLarge | Self::NotAJwt => Check::Form,
            Self::BadHeader | Self::CriticalHeader | Self::UnsupportedAlgorithm => Check::Header,
            Self::WrongType => Check::Type,
            Self::BadClaims => Check::Claims,
            Self::BadClaim(claim) => claim.check(),
            Self::UnknownIssuer => Check::Issuer,
            Self::WrongAlgorithm | Self::UnknownKey => Check::Key,
            Self::Expired => Check::Expiry,
            Self::NotYetValid => Check::NotBefore,
            Self::IssuedInFuture => Check::IssuedAt,
            Self::WrongAudience => Check::Audience,
            Self::BadSignature | Self::Crowded => Check::Signature,
            Self::UnknownClient | Self::Bound => Check::Client,
            Self::Unspeakable => Check::Identity,
            Self::BadReference => Check::Form,
            Self::UnknownReference | Self::Revoked | Self::StoreUnavailable => Check::Revocation,
        })
    }
}

impl Claim {
    const fn code(self) -> &'static str {
        match self {
            Self::Issuer => "malformed_iss",
            Self::Subject => "malformed_sub",
            Self::Audience => "malformed_aud",
            Self::Expiry => "malformed_exp",
            Self::NotBefore => "malformed_nbf",
            Self::IssuedAt => "malformed_iat",
            Self::TokenId => "malformed_jti",
            Self::Client => "malformed_client_id",
            Self::Scope => "malformed_scope",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Issuer => "the iss of the token is missing or malformed",
            Self::Subject => "the sub of the token is malformed",
            Self::Audience => "the aud of the token is missing or malformed",
            Self::Expiry => "the exp of the token is missing or malformed",
            Self::NotBefore => "the nbf of the token is malformed",
            Self::IssuedAt => "the iat of the token is malformed",
            Self::TokenId => "the jti of the token is malformed",
            Self::Client => "the client_id of the token is missing or malformed",
            Self::Scope => "the scope of the token is malformed",
        }
    }

    const fn check(self) -> Check {
        match self {
            Self::Issuer => Check::Issuer,
            Self::Audience => Check::Audience,
            Self::Expiry => Check::Expiry,
            Self::NotBefore => Check::NotBefore,
            Self::IssuedAt => Check::IssuedAt,
            Self::Subject | Self::Client | Self::TokenId => Check::Client,
            Self::Scope => Check::Scope,
        }
    }
}

impl Check {
    /// Every step, in order.
    pub const ALL: [Self; 15] = [
        Self::Form,
        Self::Header,
        Self::Claims,
        Self::Issuer,
        Self::Type,
        Self::Key,
        Self::Expiry,
        Self::NotBefore,
        Self::IssuedAt,
        Self::Audience,
        Self::Signature,
        Self::Client,
        Self::Scope,
        Self::Revocation,
        Self::Identity,
    ];

    /// What is asked, in a word or three.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Header => "header",
            Self::Type => "type (typ)",
            Self::Claims => "claims",
            Self::Issuer => "issuer (iss)",
            Self::Key => "key (kid, alg)",
            Self::Expiry => "not expired (exp)",
            Self::NotBefore => "already valid (nbf)",
            Self::IssuedAt => "issued in the past (iat)",
            Self::Audience => "audience (aud)",
            Self::Signature => "signature",
            Self::Client => "live client (client_id, sub)",
            Self::Scope => "scopes (scope, scp)",
            Self::Revocation => "not revoked",
            Self::Identity => "identity headers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Denied};

    #[test]
    fn descriptions_need_no_escaping_in_a_challenge() {
        for denied in [Denied::Expired, Denied::BadClaim(Claim::Expiry), Denied::NotAJwt] {
            let fits = |byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
            assert!(denied.description().bytes().all(fits), "{denied:?}");
        }
    }
}
