//! Certificates and their keys, for listeners and towards upstreams: read, compared, and looked at with the clock in
//! hand.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Desk;
use super::secrets::read_file;
use crate::certificate::Certificate;
use crate::config::excerpt::printable;
use crate::config::raw;
use crate::config::settings::{ClientCertificates, ServerTls};
use crate::config::shape::At;
use crate::config::value::{ClientCertificate, FilePath};
use crate::secret::Secret;

/// A certificate with its key, and a digest of both.
pub(super) struct Identity {
    pub(super) certificate: Certificate,
    pub(super) identity: Arc<CertifiedKey>,
    pub(super) digest: [u8; 32],
}

/// `[server] tls`, one or several.
pub(super) fn servers(
    written: &[At<raw::ServerTls>],
    desk: &mut Desk<'_>,
) -> Option<Vec<ServerTls>> {
    let read: Vec<Option<ServerTls>> = written.iter().map(|one| server(&one.value, desk)).collect();
    let read: Vec<ServerTls> = read.into_iter().collect::<Option<_>>()?;
    let mut taken: Vec<&str> = Vec::new();
    for (at, (one, raw)) in read.iter().zip(written).enumerate() {
        if at > 0 && one.certificate.hosts().next().is_none() {
            let reason = "no client gets this certificate: it has no DNS name to be chosen by";
            desk.report.warn(raw.place, reason, "put it first, or have one made with names");
        }
        for host in one.certificate.hosts() {
            if taken.contains(&host) {
                let reason = format!(
                    "an earlier certificate is for `{}` too, and is the one that is shown",
                    printable(host)
                );
                desk.report.warn(raw.place, reason, "keep one certificate for each name");
            }
            taken.push(host);
        }
    }
    Some(read)
}

/// What one listener shows, and whom it asks.
pub(super) fn server(raw: &raw::ServerTls, desk: &mut Desk<'_>) -> Option<ServerTls> {
    for key in ["certificate_file", "private_key_file"] {
        if !raw.given.has(key) {
            let mend = format!("add {key} = \"….pem\", or remove the table");
            desk.report.error(raw.place, format!("`tls` has no `{key}`"), mend);
        }
    }
    let identity = match (&raw.certificate_file, &raw.private_key_file) {
        (Some(certificate), Some(key)) => identity(certificate, key, desk),
        (Some(_) | None, _) => None,
    };
    let clients = clients(raw, desk);
    let (Identity { certificate, identity, digest }, clients) = (identity?, clients?);
    let mut whole = Context::new(&SHA256);
    whole.update(&digest);
    whole.update(&clients.as_ref().map_or([0; 32], |clients| clients.digest));
    Some(ServerTls { certificate, identity, clients, digest: finish(whole) })
}

/// Whom it asks for a certificate.
fn clients(raw: &raw::ServerTls, desk: &mut Desk<'_>) -> Option<Option<ClientCertificates>> {
    let Some(file) = &raw.client_ca_file else {
        if raw.given.has("client_certificate") && !raw.given.has("client_ca_file") {
            let place = raw.client_certificate.as_ref().map_or(raw.place, |given| given.place);
            let reason =
                "`client_certificate` without `client_ca_file`: no certificate would be good";
            let mend = "add client_ca_file, the authorities of the clients' certificates";
            desk.report.error(place, reason, mend);
        }
        return (!raw.given.has("client_ca_file")).then_some(None);
    };
    let roots = authorities(file, "client_ca_file", desk)?;
    let required = raw.client_certificate.as_ref()?.value == ClientCertificate::Required;
    let mut digest = Context::new(&SHA256);
    digest.update(&[u8::from(required)]);
    roots.iter().for_each(|root| update(&mut digest, root));
    Some(Some(ClientCertificates { roots, required, digest: finish(digest) }))
}

/// The certificates (DER) of a file of authorities.
pub(super) fn authorities(
    file: &At<FilePath>,
    key: &str,
    desk: &mut Desk<'_>,
) -> Option<Vec<Vec<u8>>> {
    let pem = read_file(&file.value.0, file.place, key, MOST_CA_BYTES, desk)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
    let certificates = certificates.ok().filter(|found| !found.is_empty());
    let Some(certificates) = certificates else {
        let reason = format!("`{key}` {} holds no certificates in PEM", shown(file));
        let mend = "give a file with -----BEGIN CERTIFICATE----- in it";
        desk.report.error(file.place, reason, mend);
        return None;
    };
    let mut roots = Vec::with_capacity(certificates.len());
    for certificate in &certificates {
        let Ok(read) = Certificate::read(certificate) else {
            let reason = format!("`{key}` {} holds a certificate that cannot be read", shown(file));
            desk.report.error(file.place, reason, "have it made anew, in X.509");
            return None;
        };
        if read.not_after < desk.now && certificates.len() == 1 {
            let reason =
                format!("the authority of `{key}` has expired: no certificate of it is good");
            desk.report.warn(file.place, reason, "give the file of its successor");
        }
        roots.push(certificate.to_vec());
    }
    Some(roots)
}

/// A certificate and the key that it is of.
pub(super) fn identity(
    certificate_file: &At<FilePath>,
    key_file: &At<FilePath>,
    desk: &mut Desk<'_>,
) -> Option<Identity> {
    let chain = chain(certificate_file, desk);
    let key = private_key(key_file, desk);
    let (chain, key) = (chain?, key?);
    let Ok(certificate) = Certificate::read(chain.first()?) else {
        let reason = format!("`certificate_file` {} cannot be read", shown(certificate_file));
        desk.report.error(certificate_file.place, reason, "have it made anew, in X.509");
        return None;
    };
    if let Some(bits) = certificate.rsa_bits.filter(|bits| *bits < LEAST_RSA_BITS) {
        let reason = format!("the RSA key of the certificate has {bits} bits, which can be broken");
        let mend =
            format!("have one made with an ECDSA P-256 key, or RSA of {LEAST_RSA_BITS} bits");
        desk.report.error(certificate_file.place, reason, mend);
        return None;
    }
    whether_it_is_its_time(&certificate, certificate_file, desk);
    let mut digest = Context::new(&SHA256);
    chain.iter().for_each(|certificate| update(&mut digest, certificate));
    update(&mut digest, key.secret_der());
    let Ok(key) = default_provider().key_provider.load_private_key(key) else {
        let reason =
            format!("`private_key_file` {} holds a key that cannot be used", shown(key_file));
        let mend = "use an ECDSA P-256 or P-384, an Ed25519 or an RSA key";
        desk.report.error(key_file.place, reason, mend);
        return None;
    };
    let identity = CertifiedKey::new(chain, key);
    if identity.keys_match().is_err() {
        desk.report.clash(
            key_file.place,
            certificate_file.place,
            "the private key is not the one of the certificate; that stands at",
            "give the two files that were made for each other, the certificate itself first in its file",
        );
        return None;
    }
    Some(Identity { certificate, identity: Arc::new(identity), digest: finish(digest) })
}

fn chain(file: &At<FilePath>, desk: &mut Desk<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let pem = read_file(&file.value.0, file.place, "certificate_file", MOST_CHAIN_BYTES, desk)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
    if let Ok(chain) = chain
        && !chain.is_empty()
    {
        return Some(chain);
    }
    let is_key = contains(&pem, b"PRIVATE KEY-----");
    let what = if is_key {
        "holds a private key and no certificate"
    } else {
        "holds no certificate in PEM"
    };
    let mend = if is_key {
        "name the certificate here, and the key in private_key_file"
    } else {
        "give a file with -----BEGIN CERTIFICATE----- in it"
    };
    let reason = format!("`certificate_file` {} {what}", shown(file));
    desk.report.error(file.place, reason, mend);
    None
}

fn private_key(file: &At<FilePath>, desk: &mut Desk<'_>) -> Option<PrivateKeyDer<'static>> {
    let pem = read_file(&file.value.0, file.place, "private_key_file", MOST_KEY_BYTES, desk)?;
    let is_encrypted =
        contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&pem, b"4,ENCRYPTED");
    if is_encrypted {
        let reason = format!(
            "`private_key_file` {} is encrypted, and nobody is there to say the passphrase",
            shown(file)
        );
        let mend = "take the passphrase off (`openssl pkey -in key.pem -out plain.pem`) and let tollgate's user alone read it";
        desk.report.error(file.place, reason, mend);
        return None;
    }
    let key = PrivateKeyDer::from_pem_slice(pem.expose());
    if key.is_err() {
        let reason = format!("`private_key_file` {} holds no private key in PEM", shown(file));
        let mend = "give a file with -----BEGIN PRIVATE KEY----- in it";
        desk.report.error(file.place, reason, mend);
    }
    key.ok()
}

/// An expired certificate is shown all the same: whoever reloads or restarts must not lose the other listeners.
fn whether_it_is_its_time(certificate: &Certificate, file: &At<FilePath>, desk: &mut Desk<'_>) {
    let left = certificate.not_after.saturating_sub(desk.now);
    let (reason, mend) = if certificate.not_after < desk.now {
        ("the certificate has expired: clients will refuse it".to_owned(), "renew it")
    } else if certificate.not_before > desk.now {
        (
            "the certificate is not valid yet: clients will refuse it".to_owned(),
            "wait, or set the clock",
        )
    } else if left < SOON {
        let hours = left / 3600;
        (
            format!("the certificate expires in {hours} hours"),
            "renew it; it is taken up by a reload",
        )
    } else {
        return;
    };
    desk.report.warn(file.place, reason, mend);
}

fn contains(pem: &Secret<Vec<u8>>, mark: &[u8]) -> bool {
    memchr::memmem::find(pem.expose(), mark).is_some()
}

fn shown(file: &At<FilePath>) -> String {
    printable(&file.value.0.display().to_string())
}

/// With its length, so that no two lists of parts are alike.
fn update(digest: &mut Context, part: &[u8]) {
    digest.update(&part.len().to_be_bytes());
    digest.update(part);
}

fn finish(digest: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.finish().as_ref());
    out
}

/// A system's whole collection has some 250 KiB.
const MOST_CA_BYTES: u64 = 4 << 20;
/// A certificate with its intermediate ones has some 6 KiB.
const MOST_CHAIN_BYTES: u64 = 256 << 10;
const MOST_KEY_BYTES: u64 = 64 << 10;
/// NIST SP 800-57: fewer bits are below 112 bits of strength.
const LEAST_RSA_BITS: usize = 2048;
/// Seconds: whoever renews by a machine does so weeks before.
const SOON: u64 = 3 * 86_400;
