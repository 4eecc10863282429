//! What will stop being good at a known time: whoever is told early has it changed in time.

use serde::Serialize;

use crate::config::Settings;

/// Something that ends.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Ending {
    /// `certificate`, `client secret`.
    pub(super) what: &'static str,
    /// Whose it is.
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) not_after: u64,
    pub(super) level: Level,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Warning,
    Critical,
}

/// Everything in `settings` that ends, what ends first at the front.
pub(super) fn endings(settings: &Settings, now: u64) -> Vec<Ending> {
    let ending = |what, name: &str, not_after| Ending {
        what,
        name: name.to_owned(),
        not_after,
        level: level(not_after, now),
    };
    let enabled = settings.clients.iter().filter(|client| !client.disabled);
    let mut all: Vec<Ending> = enabled
        .flat_map(|client| client.secrets.iter().map(move |secret| (client, secret)))
        .filter_map(|(client, secret)| Some(ending("client secret", &client.id, secret.not_after?)))
        .collect();
    let admin = settings.admin.iter().filter_map(|admin| admin.tls.as_ref());
    all.extend(settings.server.tls.iter().chain(admin).map(|tls| {
        let name = tls.certificate.hosts().next().or(tls.certificate.subject.as_deref());
        ending("certificate", name.unwrap_or("without a name"), tls.certificate.not_after)
    }));
    all.sort_by_key(|ending| ending.not_after);
    all
}

const fn level(not_after: u64, now: u64) -> Level {
    let left = not_after.saturating_sub(now);
    if left <= CRITICAL {
        Level::Critical
    } else if left <= WARNING {
        Level::Warning
    } else {
        Level::Ok
    }
}

const DAY: u64 = 24 * 60 * 60;
/// Time enough to have a certificate made by people.
const WARNING: u64 = 30 * DAY;
/// By then what renews by itself has failed to.
const CRITICAL: u64 = 7 * DAY;

#[cfg(test)]
mod tests {
    use super::{DAY, Level, endings, level};

    #[test]
    fn what_ends_within_a_month_is_a_warning_and_within_a_week_critical() {
        for (days, expected) in [(31, Level::Ok), (30, Level::Warning), (7, Level::Critical)] {
            assert_eq!(level((100 + days) * DAY, 100 * DAY), expected, "{days}");
        }
        assert_eq!(level(1, 100 * DAY), Level::Critical);
    }

    #[test]
    fn secrets_of_a_client_that_is_disabled_end_unnoticed() {
        let mut settings = crate::testing::settings();
        settings.clients[0].secrets[0].not_after = Some(100);
        assert_eq!(endings(&settings, 0).len(), 1);
        settings.clients[0].disabled = true;
        assert!(endings(&settings, 0).is_empty());
    }
}
