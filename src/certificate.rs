//! What a certificate says (RFC 5280), in words that are safe wherever they go: for the check of a configuration, for
//! the choice by server name, and for telling an upstream or the token service who a client has proven to be.
//!
//! Invariant: every text made here is visible ASCII, and no text of a certificate can end a value or begin another:
//! what could is escaped. A text that would be too long is not told at all, never in part.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderValue;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Tag, ToDer as _};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// One certificate, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Its subject (RFC 2253); empty where it has none, `None` where it is longer than [`MAX_TEXT`].
    pub subject: Option<String>,
    /// Its alternative names, in its order.
    pub names: Vec<Name>,
    /// Seconds since 1970 from which on it is good.
    pub not_before: u64,
    /// Seconds since 1970 until which it is good.
    pub not_after: u64,
    /// The size of its key, where that is RSA.
    pub rsa_bits: Option<usize>,
    /// SHA-256 of its DER encoding.
    pub sha256: [u8; 32],
}

/// An alternative name (RFC 5280 §4.2.1.6); those of further kinds are passed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// A host, in lower case; perhaps with a wildcard.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
    /// A mail address.
    Email(String),
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct Unreadable;

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let alternative = certificate.subject_alternative_name().map_err(|_| Unreadable)?;
        let names = alternative.map_or(&[][..], |names| names.value.general_names.as_slice());
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let rsa_bits = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            Ok(_) | Err(_) => None,
        };
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, der).as_ref());
        Ok(Self {
            subject: Some(subject(certificate.subject())).filter(|text| text.len() <= MAX_TEXT),
            names: names.iter().filter_map(name).collect(),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            rsa_bits,
            sha256,
        })
    }

    /// Whether it is good at `now`, seconds since 1970.
    #[must_use]
    pub const fn is_valid_at(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The hosts that it is for, wildcards included.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            Name::Dns(host) => Some(host.as_str()),
            Name::Ip(_) | Name::Uri(_) | Name::Email(_) => None,
        })
    }

    /// The alternative names as one text: `DNS:a.example.com,URI:spiffe://…`; `None` where there are none, or where it
    /// would be longer than [`MAX_TEXT`].
    #[must_use]
    pub fn alternative_names(&self) -> Option<String> {
        let mut text = String::new();
        for name in &self.names {
            if !text.is_empty() {
                text.push(',');
            }
            let (kind, value) = match name {
                Name::Dns(host) => ("DNS:", host.clone()),
                Name::Ip(address) => ("IP:", address.to_string()),
                Name::Uri(uri) => ("URI:", uri.clone()),
                Name::Email(address) => ("email:", address.clone()),
            };
            text.push_str(kind);
            percent_encode(&value, &mut text);
            if text.len() > MAX_TEXT {
                return None;
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Its SHA-256 fingerprint: 64 hexadecimal digits in lower case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.sha256.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // a String takes everything
            text
        })
    }
}

/// The certificate by which a client has proven who it is, and its words as header values, made once a connection.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    certificate: Certificate,
    subject: Option<HeaderValue>,
    san: Option<HeaderValue>,
    sha256: Option<HeaderValue>,
}

/// What a header can tell of a client's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// Its subject (RFC 2253).
    Subject,
    /// Its alternative names.
    San,
    /// Its SHA-256 fingerprint.
    Sha256,
}

impl ClientCertificate {
    /// Of a certificate that was verified.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        // visible ASCII, so none of them is lost
        let value = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            subject: certificate.subject.as_deref().filter(|text| !text.is_empty()).and_then(value),
            san: certificate.alternative_names().as_deref().and_then(value),
            sha256: value(&certificate.fingerprint()),
            certificate,
        }
    }

    /// What it says.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What a header tells of it; none where there is nothing to tell, or too much.
    #[must_use]
    pub const fn value(&self, field: Field) -> Option<&HeaderValue> {
        match field {
            Field::Subject => self.subject.as_ref(),
            Field::San => self.san.as_ref(),
            Field::Sha256 => self.sha256.as_ref(),
        }
    }
}

/// Whether the host `asked` (lower case, without the dot of the root) is one that the name `pattern` of a certificate
/// stands for: the same, or below a wildcard that is the whole first label (RFC 6125 §6.4.3).
#[must_use]
pub fn stands_for(pattern: &str, asked: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == asked,
        Some(domain) => {
            asked.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain)
        }
    }
}

/// A distinguished name as text, the most specific part first (RFC 2253 §2).
fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (at, part) in parts.into_iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            write_attribute(attribute, &mut text);
        }
        if text.len() > MAX_TEXT {
            break; // too long to be told
        }
    }
    text
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    match ATTRIBUTES.iter().find(|(known, _)| *known == oid) {
        Some((_, short)) => text.push_str(short),
        None => text.push_str(&oid),
    }
    text.push('=');
    match value(attribute) {
        Some(value) => escape(&value, text),
        None => {
            text.push('#');
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            for byte in der {
                let _ = write!(text, "{byte:02X}"); // a String takes everything
            }
        }
    }
}

/// The value of an attribute that is a text.
fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    let units = attribute.attr_value();
    if units.tag() != Tag::BmpString || units.data.len() % 2 != 0 {
        return None;
    }
    let units: Vec<u16> =
        units.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

/// RFC 2253 §2.4: what means something is escaped by a backslash, and what is not visible ASCII by its bytes.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let at_an_end = at == 0 && matches!(byte, b' ' | b'#') || at == last && byte == b' ';
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            _ if at_an_end => {
                text.push('\\');
                text.push(char::from(byte));
            }
            0x20..=0x7E => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}"); // a String takes everything
            }
        }
    }
}

/// Everything but what can stand in a host, an address or a URI and neither ends a value nor begins another.
fn percent_encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'%' | b',' | b';' | b'"' | b'\\' => {
                let _ = write!(text, "%{byte:02X}"); // a String takes everything
            }
            0x21..=0x7E => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(host) => Some(Name::Dns(host.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
        GeneralName::RFC822Name(address) => Some(Name::Email((*address).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(Name::Ip)
        }
        _ => None,
    }
}

/// Longest text that is made of a certificate, bytes: a few of these fit into the header block of any upstream.
pub const MAX_TEXT: usize = 2048;

/// The attributes that RFC 2253 §2.3 and RFC 4519 §2 name.
const ATTRIBUTES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::{Certificate, MAX_TEXT, Unreadable, stands_for};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(certificate.der()).unwrap()
    }

    #[test]
    fn a_subject_is_told_as_rfc_2253_has_it() {
        let certificate = made(|params| {
            params.distinguished_name.push(DnType::CountryName, "DE");
            params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
            params.distinguished_name.push(DnType::CommonName, "ci");
        });
        assert_eq!(certificate.subject.as_deref(), Some("CN=ci,O=Acme\\, Inc.,C=DE"));
        assert_eq!(made(|_| {}).subject.as_deref(), Some(""));
    }

    #[test]
    fn no_text_of_a_certificate_can_end_a_value_or_a_line() {
        let certificate = made(|params| {
            let name = "a\r\nX-Auth-Client: root\0\u{7f}é,CN=admin+O=x\"\\<>; ";
            params.distinguished_name.push(DnType::CommonName, name);
            params
                .distinguished_name
                .push(DnType::OrganizationName, DnValue::BmpString("#ü".try_into().unwrap()));
        });
        assert_eq!(
            certificate.subject.as_deref(),
            Some(concat!(
                "O=\\#\\C3\\BC,",
                "CN=a\\0D\\0AX-Auth-Client: root\\00\\7F\\C3\\A9\\,CN=admin\\+O=x\\\"\\\\\\<\\>\\;\\ "
            ))
        );
        let certificate = made(|params| {
            let uri = "spiffe://a/b,DNS:admin.example.com\r\n%2C x";
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
            params.subject_alt_names.push(SanType::DnsName("API.example.com".try_into().unwrap()));
            params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        });
        assert_eq!(
            certificate.alternative_names().as_deref(),
            Some(concat!(
                "URI:spiffe://a/b%2CDNS:admin.example.com%0D%0A%252C%20x,",
                "DNS:api.example.com,IP:10.0.0.1"
            ))
        );
        assert_eq!(certificate.hosts().collect::<Vec<_>>(), ["api.example.com"]);
    }

    #[test]
    fn what_is_too_long_is_not_told_in_part() {
        let certificate = made(|params| {
            params.distinguished_name.push(DnType::CommonName, "x".repeat(MAX_TEXT));
            let names = (0..200).map(|n| format!("host-{n}.example.com").try_into().unwrap());
            params.subject_alt_names.extend(names.map(SanType::DnsName));
        });
        assert_eq!((certificate.subject, certificate.names.len()), (None, 200));
        let certificate = made(|params| {
            let names = (0..200).map(|n| format!("host-{n}.example.com").try_into().unwrap());
            params.subject_alt_names.extend(names.map(SanType::DnsName));
        });
        assert_eq!(certificate.alternative_names(), None);
        assert_eq!(certificate.fingerprint().len(), 64);
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        assert_eq!(Certificate::read(b""), Err(Unreadable));
        assert_eq!(Certificate::read(b"\x30\x03\x02\x01\x01"), Err(Unreadable));
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let mut der = certificate.der().to_vec();
        der.push(0);
        assert_eq!(Certificate::read(&der), Err(Unreadable));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(stands_for("*.example.com", "a.example.com"));
        assert!(stands_for("a.example.com", "a.example.com"));
        for other in ["example.com", "a.b.example.com", ".example.com", "a.example.org", ""] {
            assert!(!stands_for("*.example.com", other), "{other}");
        }
    }
}
