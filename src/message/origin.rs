//! Whom a request comes from, when proxies that we trust stand in between (RFC 7239 and its older kin).

use std::net::IpAddr;

use ipnet::IpNet;

use super::Peer;

use crate::message::Fields;

/// The client's address: the peer's own, or the right-most one in `X-Forwarded-For` (else `Forwarded`) that is
/// not a trusted proxy's. What an untrusted peer claims is not looked at.
#[must_use]
pub fn client_address(peer: &Peer, headers: &Fields, trusted: &[IpNet]) -> Option<IpAddr> {
    if !peer.trusted {
        return peer.address;
    }
    let mut client = peer.address;
    let chain = chain(headers, "x-forwarded-for", parse_element);
    let chain = if chain.is_empty() { chain_of_forwarded(headers) } else { chain };
    for element in chain.into_iter().rev() {
        let Some(address) = element else { break }; // unknown or obfuscated: nothing before it can be trusted
        client = Some(address);
        if !trusted.iter().any(|net| net.contains(&address)) {
            break;
        }
    }
    client
}

/// What one subscriber has, as a number: an IPv4 address, the first 64 bits of an IPv6 one.
#[must_use]
pub fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

fn chain(headers: &Fields, name: &str, read: fn(&str) -> Option<IpAddr>) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).filter_map(|value| value.to_str().ok());
    values
        .flat_map(|text| text.split(','))
        .take(MAX_HOPS)
        .map(|element| read(element.trim()))
        .collect()
}

fn chain_of_forwarded(headers: &Fields) -> Vec<Option<IpAddr>> {
    chain(headers, "forwarded", |element| {
        let pair = element.split(';').map(str::trim).find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.eq_ignore_ascii_case("for").then_some(value)
        })?;
        parse_element(pair.trim_matches('"'))
    })
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn parse_element(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    text.rsplit_once(':')?.0.parse().ok()
}

/// Most elements of a chain that are looked at.
const MAX_HOPS: usize = 64;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::client_address;
    use crate::message::{Fields, Peer};

    fn seen(trusted_peer: bool, name: &'static str, value: &str) -> String {
        let mut headers = Fields::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        let peer = Peer::new(Some("10.0.0.1".parse().unwrap()), trusted_peer, false);
        client_address(&peer, &headers, &["10.0.0.0/8".parse().unwrap()]).unwrap().to_string()
    }

    #[test]
    fn an_untrusted_peer_is_itself_whatever_it_claims() {
        assert_eq!(seen(false, "x-forwarded-for", "1.2.3.4"), "10.0.0.1");
    }

    #[test]
    fn behind_trusted_proxies_the_right_most_stranger_is_the_client() {
        assert_eq!(seen(true, "x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9"), "1.2.3.4");
        assert_eq!(
            seen(true, "forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:47\";proto=https"),
            "2001:db8::1"
        );
        assert_eq!(seen(true, "x-forwarded-for", "1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2");
    }
}
