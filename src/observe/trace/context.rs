//! `traceparent` and `tracestate` (W3C Trace Context): where a request belongs among those of other programs.

use http::{HeaderName, HeaderValue};

use crate::message::Fields;

/// A trace, and the span of whoever told us of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Context {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: u8,
}

/// Of all spans of a trace; never all zero.
pub type TraceId = [u8; 16];
/// Of one span; never all zero.
pub type SpanId = [u8; 8];

impl Context {
    /// What a client tells. None where it tells nothing, or nothing that is well-formed: then a trace begins here.
    pub(super) fn read(headers: &Fields) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT);
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    /// Version 00, or the part of a later version that 00 has, too (§4.3).
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split(|byte| *byte == b'-');
        let [version] = hex::<1>(parts.next()?)?;
        let trace = hex::<16>(parts.next()?)?;
        let span = hex::<8>(parts.next()?)?;
        let [flags] = hex::<1>(parts.next()?)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xFF => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let is_something = trace != [0; 16] && span != [0; 8];
        (is_whole && is_something && parts.next().is_none()).then_some(Self { trace, span, flags })
    }

    pub(super) const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As the next program is told.
    pub(super) fn value(self) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        write_hex(&mut text[0..2], &[0]);
        write_hex(&mut text[3..35], &self.trace);
        write_hex(&mut text[36..52], &self.span);
        write_hex(&mut text[53..55], &[self.flags]);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Lower case alone, and all of it.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?;
    }
    Some(bytes)
}

/// Writes as many digits as there is room for.
pub(super) fn write_hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The program that is told of the trace records it.
pub(super) const SAMPLED: u8 = 1;
/// The last seven bytes of the trace id are random (level 2 of the specification).
pub(super) const RANDOM: u8 = 2;
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Of version 00.
const LENGTH: usize = 55;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{Context, TRACEPARENT};
    use crate::message::Fields;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<Context> {
        let mut headers = Fields::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        Context::read(&headers)
    }

    #[test]
    fn a_context_is_read_and_told_by_the_letter() {
        let context = read(&[GOOD]).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.value(), GOOD);
        assert!(!read(&[&GOOD.replace("-01", "-00")]).unwrap().is_sampled());
        assert!(read(&[&GOOD.replace("-01", "-ff")]).unwrap().is_sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-the-future-will-be-like")] {
            assert_eq!(read(&[&text]).unwrap().value(), GOOD, "{text}");
        }
        assert!(read(&[&format!("{later}.what")]).is_none());
    }

    /// The malformed ones of the W3C's own test suite, and kin.
    #[test]
    fn what_is_malformed_begins_a_new_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for text in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}0"),
            &format!("{GOOD}-"),
            &format!("{GOOD}-what-the-future-will-be-like"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0g", 1),
            &GOOD.replacen("00-", "0-", 1),
            &GOOD.replacen("00-", "000-", 1),
            &GOOD.replace(trace, &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace(trace, &trace[1..]),
            &GOOD.replace(trace, &format!("{trace}0")),
            &GOOD.replace('4', "."),
            &GOOD.replace("-01", "-1"),
            &GOOD.replace("-01", "-0G"),
            &GOOD.replace('-', "_"),
            &format!("{GOOD},{GOOD}"),
        ] {
            assert!(read(&[text]).is_none(), "{text}");
        }
        assert!(read(&[GOOD, GOOD]).is_none());
        assert!(read(&[]).is_none());
    }
}
