//! Numbers as Prometheus reads them: the text format 0.0.4, or OpenMetrics 1.0 for whoever asks for that.

use std::fmt::{Display, Write as _};

use http::{HeaderMap, header};

use crate::observe::{BOUNDS_US, Latencies};

/// Which of the two ways of writing is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

/// What a family of numbers is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Its name ends with `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// A document on its way.
pub(super) struct Exposition {
    format: Format,
    out: String,
    family: &'static str,
}

impl Format {
    /// What whoever asks would rather have.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        let fields = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok());
        for range in fields.flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let quality: f32 = quality.unwrap_or(1.0);
            if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open = quality.max(open);
            } else {
                text = quality.max(text);
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::with_capacity(16 * 1024), family: "" }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        self.family = name;
        let told = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {told} {help}"));
        self.line(format_args!("# TYPE {told} {kind}"));
        self
    }

    /// One sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.write("", labels, None, value);
        self
    }

    /// The samples of one histogram of the family.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies) {
        let mut below = 0;
        for (place, count) in latencies.counts.iter().enumerate() {
            below += count;
            let bound = BOUNDS_US.get(place).map(|us| seconds(*us));
            self.write("_bucket", labels, Some(bound.as_deref().unwrap_or("+Inf")), below);
        }
        self.write("_sum", labels, None, seconds(latencies.sum_us));
        self.write("_count", labels, None, below);
    }

    /// The whole document.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.out
    }

    fn write(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl Display,
    ) {
        self.out.push_str(self.family);
        self.out.push_str(suffix);
        let mut before = '{';
        for (name, text) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            self.out.push(before);
            before = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    other => self.out.push(other),
                }
            }
            self.out.push('"');
        }
        if before == ',' {
            self.out.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}"); // a String takes everything
    }
}

/// Microseconds as seconds, with a point and without an exponent.
pub(super) fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{Exposition, Format, Kind, seconds};
    use crate::observe::Latencies;

    #[test]
    fn seconds_are_written_without_an_exponent() {
        for (us, text) in [(0, "0.0"), (50, "0.00005"), (2_500_000, "2.5"), (60_000_000, "60.0")] {
            assert_eq!(seconds(us), text);
        }
    }

    #[test]
    fn whoever_prefers_openmetrics_gets_it() {
        let asked = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            Format::asked(&headers)
        };
        for open in [
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
        ] {
            assert_eq!(asked(open), Format::OpenMetrics, "{open}");
        }
        for text in ["*/*", "text/plain", "application/openmetrics-text;q=0, */*", "", "a;q=b"] {
            assert_eq!(asked(text), Format::Text, "{text}");
        }
        assert_eq!(Format::asked(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut page = Exposition::new(Format::Text);
        page.family("a_total", Kind::Counter, "A.").sample(&[("name", "x\"\n\\")], 1);
        assert_eq!(
            page.finish(),
            "# HELP a_total A.\n# TYPE a_total counter\na_total{name=\"x\\\"\\n\\\\\"} 1\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_openmetrics_ends() {
        let mut latencies = Latencies { sum_us: 300, ..Latencies::default() };
        (latencies.counts[0], latencies.counts[18]) = (2, 1);
        let mut page = Exposition::new(Format::OpenMetrics);
        page.family("b_seconds", Kind::Histogram, "B.").histogram(&[("route", "r")], &latencies);
        let text = page.finish();
        assert!(text.contains("b_seconds_bucket{route=\"r\",le=\"0.00005\"} 2\n"), "{text}");
        assert!(text.contains("b_seconds_bucket{route=\"r\",le=\"60.0\"} 2\n"), "{text}");
        assert!(text.contains("b_seconds_bucket{route=\"r\",le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.ends_with(
            "b_seconds_sum{route=\"r\"} 0.0003\nb_seconds_count{route=\"r\"} 3\n# EOF\n"
        ));
    }
}
