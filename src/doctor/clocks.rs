//! Do the clocks agree? A token is good from one instant to another, and each side has its own idea of now.

use std::time::{Duration, UNIX_EPOCH};

use http::header;

use super::probe::{Asked, told};
use super::{Finding, Level, Patient};
use crate::config::{Endpoint, Issuer, KeySource, UpstreamTls};

/// Every issuer that is asked over HTTP.
pub(super) async fn look(patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    for issuer in &patient.settings.issuers {
        if let Some(endpoint) = endpoint(issuer) {
            ask(issuer, endpoint, patient, findings).await;
        }
    }
}

fn endpoint(issuer: &Issuer) -> Option<&Endpoint> {
    match &issuer.keys {
        KeySource::Url(endpoint) => Some(endpoint),
        KeySource::Discovered | KeySource::None | KeySource::Fixed(_) => issuer.discovery.first(),
    }
}

async fn ask(
    issuer: &Issuer,
    endpoint: &Endpoint,
    patient: &Patient<'_>,
    findings: &mut Vec<Finding>,
) {
    let name = &issuer.name;
    if !endpoint.is_private(issuer.allow_http) {
        return; // the configuration has said so already
    }
    let asked = Asked {
        name: endpoint.to_string(),
        origin: endpoint.origin.clone(),
        tls: UpstreamTls::default(),
    };
    let seen = match asked.get(&endpoint.path, &[]).await {
        Ok(seen) => seen,
        Err(fault) => {
            let found = format!("issuer {name}: {endpoint} does not answer: {}", told(&fault));
            findings.push(Finding::new(Level::Fault, "issuers", found).mend(
                "its tokens are answered with 503 until it does; look at the address, the network and its certificate",
            ));
            return;
        }
    };
    if let Some(certificate) = &seen.certificate {
        let whose = format!("the certificate of {}", endpoint.origin.authority);
        findings.push(super::expiry::of_certificate(&whose, certificate, &patient.clock));
    }
    let Some(theirs) = seen
        .headers
        .get(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
        .and_then(|date| date.duration_since(UNIX_EPOCH).ok())
    else {
        let found = format!("issuer {name} does not say what time it has");
        findings.push(Finding::new(Level::Note, CHECK, found));
        return;
    };
    findings.push(judge(name, theirs.as_secs(), patient.clock.unix_seconds(), issuer.leeway));
}

fn judge(name: &str, theirs: u64, ours: u64, leeway: Duration) -> Finding {
    let apart = theirs.abs_diff(ours);
    let order = if theirs > ours { "ahead of" } else { "behind" };
    let found = format!("the clock of issuer {name} is {apart} s {order} this machine's");
    match apart {
        0..=2 => Finding::new(Level::Ok, CHECK, format!("the clock of issuer {name} agrees")),
        _ if apart > leeway.as_secs() => Finding::new(
            Level::Fault,
            CHECK,
            format!("{found}, and {leeway:?} are forgiven"),
        )
        .mend("set both clocks by NTP; fresh tokens are refused, or expired ones pass, until then"),
        _ if apart * 2 > leeway.as_secs() => {
            Finding::new(Level::Warning, CHECK, format!("{found}, and {leeway:?} are forgiven"))
                .mend("set both clocks by NTP")
        }
        _ => Finding::new(Level::Note, CHECK, found),
    }
}

const CHECK: &str = "clocks";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::judge;
    use crate::doctor::Level;

    #[test]
    fn a_clock_that_is_off_by_more_than_is_forgiven_is_a_fault() {
        let level = |theirs| judge("corp", theirs, 1_000, Duration::from_secs(60)).level;
        assert_eq!(level(1_001), Level::Ok);
        assert_eq!(level(1_010), Level::Note);
        assert_eq!(level(960), Level::Warning);
        assert_eq!(level(1_061), Level::Fault);
        assert_eq!(level(900), Level::Fault);
    }
}
