//! A URL that we ask, taken apart: in the configuration, and in what an issuer says of itself.

use std::fmt;
use std::net::IpAddr;

use super::judge::host_and_port;
use super::settings::{Origin, OriginAddress};

/// Where something is asked over HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Whom to connect to; its `base_path` is empty.
    pub origin: Origin,
    /// Path and query, as they are sent; begins with `/`.
    pub path: String,
}

/// Why a text is no such URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the URL {reason}")]
pub struct BadEndpoint {
    /// What is wrong with it: a clause with the URL as its subject.
    pub(super) reason: String,
    /// What to do.
    pub(super) mend: String,
}

impl Endpoint {
    /// Takes an http or https URL apart. It holds no credentials and no fragment.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(url: &str) -> Result<Self, BadEndpoint> {
        let bad =
            |reason: &str| BadEndpoint { reason: reason.to_owned(), mend: EXAMPLE.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("has no scheme"))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(bad("is neither http nor https")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(bad("holds a user or a password"));
        }
        if path.contains('#') {
            return Err(bad("has a fragment"));
        }
        if path.len() > LONGEST_PATH || !path.bytes().all(is_of_a_path) {
            return Err(bad("has a path that cannot be sent as it is"));
        }
        let (host, port) =
            host_and_port(authority).map_err(|(reason, mend)| BadEndpoint { reason, mend })?;
        let standard = if https { 443 } else { 80 };
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = port.unwrap_or(standard);
        let authority = if port == standard { name } else { format!("{name}:{port}") };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            origin: Origin {
                https,
                h2c: false,
                address: OriginAddress::Tcp(host, port),
                authority,
                base_path: String::new(),
            },
            path: format!("{slash}{path}"),
        })
    }

    /// Whether secrets and keys may travel: over TLS, within this machine, or because somebody said so.
    #[must_use]
    pub fn is_private(&self, allow_http: bool) -> bool {
        self.origin.https || allow_http || self.is_loopback()
    }

    /// Whether it is on this machine, by its name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.origin.address {
            OriginAddress::Unix(_) => true,
            OriginAddress::Tcp(host, _) => {
                host == "localhost"
                    || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }

    /// Where the metadata of `issuer` may be: OpenID Connect Discovery §4, then RFC 8414 §3.
    ///
    /// # Errors
    /// When `issuer` is no URL.
    pub fn discovery(issuer: &str) -> Result<Vec<Self>, BadEndpoint> {
        let base = Self::parse(issuer)?;
        if base.path.contains('?') {
            let reason = "has a query".to_owned();
            return Err(BadEndpoint { reason, mend: EXAMPLE.to_owned() });
        }
        let path = base.path.trim_end_matches('/');
        let at = |path: String| Self { origin: base.origin.clone(), path };
        Ok(vec![
            at(format!("{path}/.well-known/openid-configuration")),
            at(format!("/.well-known/oauth-authorization-server{path}")),
        ])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.https { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.origin.authority, self.path)
    }
}

/// RFC 3986 §3.3 and §3.4.
fn is_of_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@?%".contains(&byte)
}

const EXAMPLE: &str = "write a URL such as \"https://idp.example.com/keys\"";
const LONGEST_PATH: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn a_url_is_taken_apart_and_put_together_again() {
        for (url, told) in [
            ("https://IdP.example.com", "https://idp.example.com/"),
            ("https://idp.example.com:443/keys?p=b2c", "https://idp.example.com/keys?p=b2c"),
            ("http://[::1]:8080/a", "http://[::1]:8080/a"),
            ("http://127.0.0.1?x", "http://127.0.0.1/?x"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), told);
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in [
            "",
            "idp",
            "//idp",
            "ftp://idp",
            "file:///etc/passwd",
            "unix:/run/a",
            "https://",
            "https://a@b/",
            "https://a/#x",
            "https://a/ b",
            "https://a/\u{7f}",
            "https://a:0/",
            "https://é/",
            "https://a/\r\nb",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn only_this_machine_may_be_asked_in_clear() {
        for url in [
            "http://127.0.0.1/",
            "http://127.9.9.9/",
            "http://[::1]/",
            "http://LOCALHOST/",
            "https://a/",
        ] {
            assert!(Endpoint::parse(url).unwrap().is_private(false), "{url}");
        }
        for url in [
            "http://a/",
            "http://127.0.0.1.example.com/",
            "http://169.254.169.254/",
            "http://0.0.0.0/",
        ] {
            assert!(!Endpoint::parse(url).unwrap().is_private(false), "{url}");
            assert!(Endpoint::parse(url).unwrap().is_private(true), "{url}");
        }
    }

    #[test]
    fn metadata_is_looked_for_at_both_well_known_places() {
        let places = |issuer: &str| -> Vec<String> {
            Endpoint::discovery(issuer).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            places("https://a/realms/b/"),
            [
                "https://a/realms/b/.well-known/openid-configuration",
                "https://a/.well-known/oauth-authorization-server/realms/b",
            ]
        );
        assert_eq!(places("https://a")[1], "https://a/.well-known/oauth-authorization-server");
        assert!(Endpoint::discovery("corp").is_err());
    }
}
