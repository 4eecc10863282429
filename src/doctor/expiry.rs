//! What ends by itself: certificates and secrets.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Finding, Level, Patient};
use crate::clock::Clock;

/// What the configuration holds.
pub(super) fn look(patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    let now = patient.clock.unix_seconds();
    for client in patient.settings.clients.iter().filter(|client| !client.disabled) {
        let lasting = client.secrets.iter().any(|secret| secret.not_after.is_none());
        let ends = client.secrets.iter().filter_map(|secret| secret.not_after).max();
        if let (false, true, Some(ends)) = (lasting, client.keys.is_empty(), ends) {
            let what = format!("the last secret of client {}", client.id);
            findings.push(
                judge(&what, ends, now).mend_with("give it a new one beside it, in `secrets`"),
            );
        }
    }
}

/// A certificate that somebody showed.
pub(super) fn of_certificate(whose: &str, der: &[u8], clock: &Clock) -> Finding {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Finding::new(Level::Note, CHECK, format!("{whose} cannot be read"));
    };
    let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    judge(whose, ends, clock.unix_seconds()).mend_with("have it renewed")
}

impl Finding {
    /// What to do, if there is anything to do.
    fn mend_with(self, mend: &str) -> Self {
        if self.level > Level::Note { self.mend(mend) } else { self }
    }
}

fn judge(what: &str, ends: u64, now: u64) -> Finding {
    if ends <= now {
        let days = (now - ends) / DAY;
        return Finding::new(Level::Fault, CHECK, format!("{what} ended {} ago", spelt(days)));
    }
    let days = (ends - now) / DAY;
    let level = match days {
        ..SOON => Level::Fault,
        SOON..WARN => Level::Warning,
        _ => Level::Ok,
    };
    Finding::new(level, CHECK, format!("{what} is good for {}", spelt(days)))
}

fn spelt(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

const CHECK: &str = "expiry";
const DAY: u64 = 86_400;
/// Days: nobody should have to mend this at a weekend.
const SOON: u64 = 3;
/// Days: certificates that are renewed by machine have been by then.
const WARN: u64 = 21;

#[cfg(test)]
mod tests {
    use super::{DAY, judge};
    use crate::doctor::Level;

    #[test]
    fn what_ends_soon_is_told_in_time() {
        let level = |days: i64| judge("it", (100 + days).unsigned_abs() * DAY, 100 * DAY).level;
        assert_eq!(level(90), Level::Ok);
        assert_eq!(level(20), Level::Warning);
        assert_eq!(level(2), Level::Fault);
        assert_eq!(level(-2), Level::Fault);
    }
}
