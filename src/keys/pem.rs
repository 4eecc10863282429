//! Reads PEM and the little DER that is needed to tell one key from another. The keys themselves are
//! parsed and checked by aws-lc.

use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::KeyError;

/// The first key of a PEM text. What stands before and between the sections is skipped.
pub(super) enum Section {
    /// `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`.
    Private { kind: PrivateKind, der: Zeroizing<Vec<u8>> },
    /// `PUBLIC KEY`.
    Public(Vec<u8>),
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum PrivateKind {
    Pkcs8,
    Pkcs1,
    Sec1,
}

/// # Errors
/// [`KeyError::NoKey`], [`KeyError::Encrypted`], [`KeyError::Certificate`] or [`KeyError::Pem`].
pub(super) fn read(text: &[u8]) -> Result<Section, KeyError> {
    let mut certificate = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| KeyError::Pem)?;
        let private = |kind, der| Ok(Section::Private { kind, der: Zeroizing::new(der) });
        match kind {
            SectionKind::PrivateKey => return private(PrivateKind::Pkcs8, der),
            SectionKind::RsaPrivateKey => return private(PrivateKind::Pkcs1, der),
            SectionKind::EcPrivateKey => return private(PrivateKind::Sec1, der),
            SectionKind::PublicKey => return Ok(Section::Public(der)),
            SectionKind::Certificate => certificate = true,
            _ => {}
        }
    }
    let has = |label: &[u8]| memchr::memmem::find(text, label).is_some();
    Err(if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED") {
        KeyError::Encrypted
    } else if certificate {
        KeyError::Certificate
    } else {
        KeyError::NoKey
    })
}

/// What kind of key the DER holds, by the object identifiers in its first bytes; for error messages.
pub(super) fn kind(section: &Section) -> &'static str {
    let der = match section {
        Section::Private { kind: PrivateKind::Pkcs1, .. } => return "an RSA",
        Section::Private { der, .. } => der.as_slice(),
        Section::Public(der) => der.as_slice(),
    };
    // In SEC1 the curve stands after the private number.
    let head = der.get(..96).unwrap_or(der);
    let names = OBJECT_IDENTIFIERS.iter();
    names
        .filter(|(identifier, _)| memchr::memmem::find(head, identifier).is_some())
        .map(|(_, name)| *name)
        .next()
        .unwrap_or("an unknown kind of")
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1), without leading zeros.
pub(super) fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(SEQUENCE, der)?;
    let (modulus, after) = element(INTEGER, sequence)?;
    let (exponent, end) = element(INTEGER, after)?;
    (rest.is_empty() && end.is_empty()).then(|| (stripped(modulus), stripped(exponent)))
}

/// An `RSAPublicKey` (RFC 8017 §A.1.1) of these numbers.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let number = stripped(number);
        let sign: &[u8] =
            if number.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
        wrap(INTEGER, &[sign, number].concat())
    };
    wrap(SEQUENCE, &[integer(modulus), integer(exponent)].concat())
}

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = length.get(zeros..).unwrap_or_default();
    let mut der = vec![tag];
    match (length, u8::try_from(length.len())) {
        ([], _) => der.push(0),
        ([short @ 0..=0x7F], _) => der.push(*short),
        (_, Ok(bytes)) => {
            der.push(0x80 | bytes);
            der.extend_from_slice(length);
        }
        (_, Err(_)) => {} // a usize has eight bytes
    }
    der.extend_from_slice(content);
    der
}

/// The text of a PEM section.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 64);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Content of the DER element with this tag at the start of `der`, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let parts = rest.split_at_checked(length)?;
    (found == tag).then_some(parts)
}

fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const LINE: usize = 64;

const OBJECT_IDENTIFIERS: &[(&[u8], &str)] = &[
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01], "an RSA"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A], "an RSASSA-PSS"),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07], "a P-256"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x22], "a P-384"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x23], "a P-521"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x0A], "a secp256k1"),
    (&[0x06, 0x03, 0x2B, 0x65, 0x70], "an Ed25519"),
    (&[0x06, 0x03, 0x2B, 0x65, 0x71], "an Ed448"),
    (&[0x06, 0x03, 0x2B, 0x65, 0x6E], "an X25519"),
];
