//! Who may look: everybody at health, at the rest whoever proves that he may, or is on this machine where nothing is asked.
//!
//! Invariant: what others can reach is closed unless something is asked of them, whatever the configuration says by now.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, Request, header};
use subtle::ConstantTimeEq;

use crate::config::Admin;
use crate::message::host_part;
use crate::secret::Secret;

/// How somebody has come here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// Over TCP, from this machine alone.
    Loopback,
    /// Over TCP, from wherever.
    Network,
    /// Over TLS, with a certificate of an authority that the configuration names.
    Certified,
    /// Over a unix socket: the file's permissions say who.
    Unix,
}

/// Why somebody may not look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closed {
    /// No proof, or a wrong one.
    Unproven,
    /// No certificate was shown.
    Uncertified,
    /// Nothing is asked here, so nobody from outside gets in.
    Outside,
    /// The name that was asked for is none of this machine's: another site leads a browser here (DNS rebinding).
    Name,
}

impl Door {
    /// The door at this address.
    pub(super) fn at(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// Whether whoever asks may look beyond health. `admin` is what the configuration in force says.
pub(super) fn judge<B>(
    request: &Request<B>,
    door: Door,
    admin: Option<&Admin>,
) -> Result<(), Closed> {
    let Some(admin) = admin else { return Err(Closed::Outside) };
    let has_token = admin.token.as_ref().map(|token| shows(request.headers(), token));
    // TLS is for TCP: over a unix socket nobody can show a certificate
    let clients =
        admin.tls.as_ref().filter(|_| door != Door::Unix).and_then(|tls| tls.clients.as_ref());
    let certified = door == Door::Certified;
    match (clients.map(|clients| clients.required), has_token) {
        (None, None) => local(request, door),
        (Some(_), None) | (Some(true), Some(true)) if certified => Ok(()),
        (Some(_), None) | (Some(true), Some(true)) => Err(Closed::Uncertified),
        (Some(false), Some(has_token)) if certified || has_token => Ok(()),
        (None, Some(true)) => Ok(()),
        (_, Some(_)) => Err(Closed::Unproven),
    }
}

/// Whether somebody of whom no proof is asked may look.
fn local<B>(request: &Request<B>, door: Door) -> Result<(), Closed> {
    match door {
        Door::Unix => Ok(()),
        // one that was certified before a reload took the authorities away is as good as any other
        Door::Network | Door::Certified => Err(Closed::Outside),
        Door::Loopback if is_of_this_machine(request) => Ok(()),
        Door::Loopback => Err(Closed::Name),
    }
}

/// Whether the one `Authorization` holds the token: as Bearer, or as the password of Basic.
fn shows(headers: &HeaderMap, token: &Secret<Vec<u8>>) -> bool {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Some(blank) = field.as_bytes().iter().position(|byte| *byte == b' ') else { return false };
    let (scheme, rest) = field.as_bytes().split_at(blank);
    let shown = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return is_same(shown, token);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return false;
    }
    let Ok(pair) = BASIC.decode(shown).map(Secret::new) else { return false };
    let colon = pair.expose().iter().position(|byte| *byte == b':');
    colon.is_some_and(|colon| is_same(&pair.expose()[colon + 1..], token))
}

/// In a time that depends on neither.
fn is_same(shown: &[u8], token: &Secret<Vec<u8>>) -> bool {
    let (shown, token) = (digest(&SHA256, shown), digest(&SHA256, token.expose()));
    shown.as_ref().ct_eq(token.as_ref()).into()
}

/// Whether the host that was asked for is an address or `localhost`: names that no other site can have.
fn is_of_this_machine<B>(request: &Request<B>) -> bool {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let (field, None) = (fields.next(), fields.next()) else { return false };
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => field.map_or(&b""[..], |field| field.as_bytes()),
    };
    let Ok(host) = std::str::from_utf8(host_part(authority)) else { return false };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
}

/// As browsers and scripts write it, with padding or without.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use http::Request;

    use super::{Closed, Door, judge};
    use crate::config::Admin;
    use crate::secret::Secret;

    fn admin(token: Option<&str>) -> Admin {
        let token = token.map(|token| Secret::new(token.as_bytes().to_vec()));
        Admin { listen: Vec::new(), token, tls: None }
    }

    fn asks(host: &str, authorization: &[&str]) -> Request<()> {
        let mut request = Request::builder().uri("/metrics").header("host", host);
        for field in authorization {
            request = request.header("authorization", *field);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_token_is_taken_as_bearer_and_as_the_password_of_basic_and_in_no_other_way() {
        let admin = admin(Some("a-token-of-24-characters"));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let verdict = |fields: &[&str]| {
            judge(&asks("gateway.example.com", fields), Door::Network, Some(&admin))
        };
        for good in [
            "Bearer a-token-of-24-characters".to_owned(),
            "bearer  a-token-of-24-characters".to_owned(),
            basic("anyone:a-token-of-24-characters"),
            basic(":a-token-of-24-characters"),
        ] {
            assert_eq!(verdict(&[&good]), Ok(()), "{good}");
        }
        let bearer = "Bearer a-token-of-24-characters";
        for bad in [
            vec![],
            vec![""],
            vec!["Bearer"],
            vec!["Bearer "],
            vec!["Bearer a-token-of-24-character"],
            vec!["Bearer a-token-of-24-characters2"],
            vec!["Digest a-token-of-24-characters"],
            vec!["a-token-of-24-characters"],
            vec![bearer, bearer],
            vec![&basic("a-token-of-24-characters:")],
            vec![&basic("a-token-of-24-characters")],
            vec!["Basic %%%"],
        ] {
            assert_eq!(verdict(&bad), Err(Closed::Unproven), "{bad:?}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_gets_in_and_only_by_names_of_its_own() {
        let open = admin(None);
        let by = |door, host: &str| judge(&asks(host, &[]), door, Some(&open));
        for host in ["127.0.0.1:9090", "[::1]:9090", "localhost", "LOCALHOST.:1", "a.localhost"] {
            assert_eq!(by(Door::Loopback, host), Ok(()), "{host}");
        }
        for host in ["evil.example.com", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert_eq!(by(Door::Loopback, host), Err(Closed::Name), "{host}");
        }
        assert_eq!(by(Door::Unix, "whatever"), Ok(()));
        assert_eq!(by(Door::Network, "127.0.0.1"), Err(Closed::Outside));
        assert_eq!(judge(&asks("localhost", &[]), Door::Loopback, None), Err(Closed::Outside));
    }
}
