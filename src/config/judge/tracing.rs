//! `[tracing]`: where spans go, and what the collector asks for.

use http::{HeaderName, HeaderValue};

use super::{Desk, secrets};
use crate::config::endpoint::Endpoint;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::Tracing;
use crate::config::shape::At;
use crate::secret::Secret;

/// Where spans go; `Some(None)` where none are made.
pub(super) fn tracing(
    written: Option<&At<raw::Tracing>>,
    desk: &mut Desk<'_>,
) -> Option<Option<Tracing>> {
    let Some(At { value: raw, place }) = written else { return Some(None) };
    if !cfg!(feature = "otel") {
        let mend = "remove the table, or build with the feature otel, which is on by default";
        desk.report.error(
            *place,
            "[tracing] is there, and this tollgate was built without otel",
            mend,
        );
        return None;
    }
    if !raw.given.has("endpoint") {
        let mend = "add endpoint = \"http://127.0.0.1:4318/v1/traces\", or remove the table";
        desk.report.error(*place, "[tracing] has no `endpoint`", mend);
    }
    let mut headers = Headers(Vec::new());
    for (name, value) in &raw.headers.as_ref()?.value.0 {
        headers.add(&name.value, value.value.0.as_str(), name.place, desk);
    }
    if let Some(file) = &raw.headers_file {
        let most = MOST_HEADER_BYTES;
        let bytes = secrets::read_file(&file.value.0, file.place, "headers_file", most, desk)?;
        headers.read(bytes.expose(), file.place, desk);
    }
    let endpoint = raw.endpoint.as_ref()?;
    let parsed = match Endpoint::parse(&endpoint.value.0) {
        Ok(parsed) => parsed,
        Err(_) => {
            let reason = "`endpoint` is no URL that spans could be sent to";
            let mend =
                "write one such as http://127.0.0.1:4318/v1/traces, without user and fragment";
            desk.report.error(endpoint.place, reason, mend);
            return None;
        }
    };
    if parsed.path == "/" {
        let reason = "`endpoint` has no path: collectors take spans at /v1/traces";
        desk.report.warn(endpoint.place, reason, format!("write {parsed}v1/traces"));
    }
    if !headers.0.is_empty() && !parsed.is_private(false) {
        let reason = "the headers for the collector go over the network in clear";
        desk.report.warn(
            endpoint.place,
            reason,
            "use an https endpoint, or a collector on this machine",
        );
    }
    Some(Some(Tracing {
        endpoint: parsed,
        sample_ratio: raw.sample_ratio.as_ref()?.value.0,
        service_name: raw.service_name.as_ref()?.value.0.clone(),
        headers: headers.0,
    }))
}

struct Headers(Vec<(HeaderName, Secret<String>)>);

impl Headers {
    fn add(&mut self, name: &str, value: &str, place: Place, desk: &mut Desk<'_>) {
        // Variables cannot have a hyphen in their name.
        let name = match place {
            Place::Given(_) => name.replace('_', "-"),
            Place::File { .. } | Place::End | Place::Default => name.to_owned(),
        };
        let parsed = HeaderName::try_from(name.as_str()).ok();
        match parsed.filter(|name| !OURS.contains(&name.as_str())) {
            None => {
                let reason = format!("`{}` is no header that can be set", printable(&name));
                desk.report.error(place, reason, "write one such as \"x-api-key\"");
            }
            Some(_) if value.is_empty() || HeaderValue::from_str(value).is_err() => {
                let reason =
                    format!("the value of the header `{}` cannot be sent", printable(&name));
                desk.report.error(place, reason, "write it on one line of plain text");
            }
            Some(name) if self.0.iter().any(|(known, _)| *known == name) => {
                let reason = format!("the header `{name}` is given twice");
                desk.report.error(place, reason, "give each header once");
            }
            Some(name) => self.0.push((name, Secret::new(value.to_owned()))),
        }
    }

    /// Lines of `Name: value`; their content is not told.
    fn read(&mut self, bytes: &[u8], place: Place, desk: &mut Desk<'_>) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.split_once(':') {
                Some((name, value)) if HeaderName::try_from(name.trim()).is_ok() => {
                    self.add(name.trim(), value.trim(), place, desk);
                }
                Some(_) | None => {
                    let reason = "`headers_file` has a line that is not `Name: value`";
                    desk.report.error(place, reason, "write one header a line, as x-api-key: …");
                }
            }
        }
    }
}

/// What the exporter writes itself.
const OURS: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "host",
    "transfer-encoding",
];
const MOST_HEADER_BYTES: u64 = 16 * 1024;
