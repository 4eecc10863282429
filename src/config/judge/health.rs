//! `health` and `ejection` of an upstream: when an origin counts as well, and when it is left out.

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::raw;
use crate::config::settings::{Ejection, Health};
use crate::config::shape::At;
use crate::config::value::Text;

/// `[upstream.health]`.
pub(super) fn health(raw: &raw::Health, desk: &mut Desk<'_>) -> Option<Health> {
    if !raw.given.has("path") {
        let mend = "add path = \"/healthz\": what each origin is asked for";
        desk.report.error(raw.place, "`health` has no `path`", mend);
    }
    let path = raw.path.as_ref().and_then(|path| self::path(path, desk));
    let statuses = statuses(raw.status.as_ref()?, desk);
    let count = |whole: u64| u32::try_from(whole).ok();
    Some(Health {
        path: path?,
        interval: raw.interval.as_ref()?.value.0,
        timeout: raw.timeout.as_ref()?.value.0,
        healthy_after: count(raw.healthy_after.as_ref()?.value.0)?,
        unhealthy_after: count(raw.unhealthy_after.as_ref()?.value.0)?,
        statuses: statuses?,
        panic_percent: u8::try_from(raw.panic_percent.as_ref()?.value.0).ok()?,
    })
}

/// `[upstream.ejection]`, of an upstream with so many origins.
pub(super) fn ejection(
    upstream: &raw::Upstream,
    origins: usize,
    desk: &mut Desk<'_>,
) -> Option<Ejection> {
    let At { value: raw, place } = upstream.ejection.as_ref()?;
    if upstream.given.has("ejection") && origins == 1 {
        let reason = "the upstream has one URL, which is never left out: `ejection` has no effect";
        desk.report.warn(*place, reason, "give it more `urls`, or leave `ejection` out");
    }
    let duration = raw.duration.as_ref()?.value.0;
    let max_duration = raw.max_duration.as_ref()?;
    if max_duration.value.0 < duration {
        let place = if raw.given.has("max_duration") { max_duration.place } else { raw.place };
        let reason = "`max_duration` is shorter than `duration`";
        desk.report.error(place, reason, "give a max_duration that is as long at least");
        return None;
    }
    let failures = u32::try_from(raw.failures.as_ref()?.value.0).ok()?;
    Some(Ejection {
        failures: (failures != 0).then_some(failures),
        duration,
        max_duration: max_duration.value.0,
        max_percent: u8::try_from(raw.max_percent.as_ref()?.value.0).ok()?,
    })
}

fn path(path: &At<Text>, desk: &mut Desk<'_>) -> Option<String> {
    let text = &path.value.0;
    let is_sendable = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(is_sendable) {
        let reason = format!("`{}` cannot be asked for", printable(text));
        desk.report.error(path.place, reason, "write a path, as in path = \"/healthz\"");
        return None;
    }
    Some(text.clone())
}

/// `200-299, 401`.
fn statuses(written: &At<Text>, desk: &mut Desk<'_>) -> Option<Vec<(u16, u16)>> {
    let status =
        |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..600).contains(status));
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => {
            status(first).zip(status(last)).filter(|(first, last)| first <= last)
        }
        None => status(text).map(|one| (one, one)),
    };
    let statuses: Option<Vec<_>> = written.value.0.split(',').map(range).collect();
    if statuses.is_none() {
        let reason = format!("`{}` names no statuses", printable(&written.value.0));
        let mend = "write statuses and ranges from 200 to 599, as in \"200-299, 401\"";
        desk.report.error(written.place, reason, mend);
    }
    statuses
}
