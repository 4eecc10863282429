//! The path that the upstream gets instead of the one that was judged: text of the route, and parameters exactly as
//! they stand in the request.
//!
//! Invariant: what is inserted are bytes of the path that was judged, cut at its own slashes; the result passes the
//! same rules as every target, has no empty segment, and what cannot be made so is refused.

use bytes::Bytes;

use super::reading::Ambiguous;
use crate::config::{PathPattern, Rewrite, RewritePart, Segment};
use crate::message::{Rewritten, Target};

/// The target that `rewrite` makes of `target`, which met `pattern`.
///
/// # Errors
/// [`Ambiguous`] where the path met the pattern only as another reader would take it, and where the result could be
/// read in two ways.
pub(super) fn rewritten(
    target: &Target,
    pattern: &PathPattern,
    rewrite: &Rewrite,
) -> Result<Rewritten, Ambiguous> {
    let path = target.path();
    let values = values(path, pattern).ok_or(Ambiguous)?;
    let mut out = String::with_capacity(target.as_str().len() + rewrite.text.len());
    for (at, part) in rewrite.parts.iter().enumerate() {
        match part {
            // a parameter that is empty, or ends with a slash, leaves no empty segment behind
            RewritePart::Text(text) if out.ends_with('/') => {
                out.push_str(text.strip_prefix('/').unwrap_or(text));
            }
            RewritePart::Text(text) => out.push_str(text),
            RewritePart::Segment(number) => {
                out.push_str(values.get(*number).copied().unwrap_or_default());
                let is_last = at + 1 == rewrite.parts.len();
                if is_last && path.ends_with('/') && !out.ends_with('/') {
                    out.push('/'); // it makes no difference to the pattern, but may make one to the upstream
                }
            }
        }
    }
    if out.contains("//") {
        return Err(Ambiguous); // `//host/path` is a URL without a scheme to some
    }
    let length = out.len();
    if let Some(query) = target.as_str().get(path.len()..) {
        out.push_str(query);
    }
    let (made, _) = Target::parse(&Bytes::from(out), false).map_err(|_| Ambiguous)?;
    if made.path().len() != length {
        return Err(Ambiguous);
    }
    Ok(Rewritten::new(made, path, common(pattern, rewrite, &values)))
}

/// The raw text of each segment of the pattern; `None` where the path as it stands does not meet it.
fn values<'p>(path: &'p str, pattern: &PathPattern) -> Option<Vec<&'p str>> {
    let mut left = Some(path.strip_prefix('/')?);
    let mut values = Vec::with_capacity(pattern.segments.len());
    for segment in &pattern.segments {
        if let Segment::Rest(_) = segment {
            values.push(left.take().unwrap_or_default());
            break;
        }
        let (here, after) = match left?.split_once('/') {
            Some((here, after)) => (here, Some(after)),
            None => (left?, None),
        };
        let meets = match segment {
            Segment::Literal(bytes) => decoded(here).eq_ignore_ascii_case(bytes),
            Segment::Param(_) | Segment::Rest(_) => !here.is_empty(),
        };
        if !meets {
            return None;
        }
        values.push(here);
        left = after;
    }
    // one slash at the end makes no difference
    matches!(left, None | Some("")).then_some(values)
}

fn decoded(segment: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(segment).collect()
}

/// The length of the part at the end that both paths have in common and that may be any path.
fn common(pattern: &PathPattern, rewrite: &Rewrite, values: &[&str]) -> Option<usize> {
    let last = pattern.segments.len().checked_sub(1)?;
    let is_rest = matches!(pattern.segments.get(last), Some(Segment::Rest(_)));
    let ends_with_it = rewrite.parts.last() == Some(&RewritePart::Segment(last));
    (is_rest && ends_with_it).then(|| values.get(last).map_or(0, |rest| rest.len()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::rewritten;
    use crate::config::{PathPattern, Rewrite, RewritePart};
    use crate::message::Target;

    /// `parts`: text, or `{n}` for the segment with this number.
    fn rewrite(pattern: &str, parts: &[&str], target: &str) -> Option<String> {
        let pattern = PathPattern::parse(pattern).unwrap();
        let part = |part: &&str| match part.strip_prefix('{') {
            Some(number) => RewritePart::Segment(number.trim_end_matches('}').parse().unwrap()),
            None => RewritePart::Text((*part).to_owned()),
        };
        let rewrite = Rewrite { text: parts.concat(), parts: parts.iter().map(part).collect() };
        let target = Target::parse(&Bytes::copy_from_slice(target.as_bytes()), false).unwrap().0;
        rewritten(&target, &pattern, &rewrite).ok().map(|made| made.target.as_str().to_owned())
    }

    #[test]
    fn parameters_are_inserted_as_they_stand_and_the_query_goes_on() {
        for (target, made) in [
            ("/orders/7/items?a=%2F..&b", "/v2/7/items?a=%2F..&b"),
            ("/orders/a%20b/%C3%A9", "/v2/a%20b/%C3%A9"),
            ("/orders/a;x=1/b", "/v2/a;x=1/b"),
            ("/orders/7/", "/v2/7/"),
            ("/orders/", "/v2/"),
            ("/orders", "/v2/"),
            ("/orders?x", "/v2/?x"),
            ("/%6Frders/x", "/v2/x"),
            ("/Orders/x", "/v2/x"),
        ] {
            let got = rewrite("/orders/{*rest}", &["/v2/", "{1}"], target);
            assert_eq!(got.as_deref(), Some(made), "{target}");
        }
        let several = |target| rewrite("/t/{team}/u/{user}", &["/", "{3}", "/of/", "{1}"], target);
        assert_eq!(several("/t/red/u/ann?x").as_deref(), Some("/ann/of/red?x"));
        assert_eq!(several("/t/red/u/ann/").as_deref(), Some("/ann/of/red/"));
        let within = rewrite("/f/{*rest}", &["/a/", "{1}", "/raw"], "/f/");
        assert_eq!(within.as_deref(), Some("/a/raw"));
        let within = rewrite("/f/{*rest}", &["/a/", "{1}", "/raw"], "/f/b/");
        assert_eq!(within.as_deref(), Some("/a/b/raw"));
        assert_eq!(rewrite("/s", &["/status.html"], "/s/").as_deref(), Some("/status.html"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_once_rewritten_is_refused() {
        for (pattern, parts, target) in [
            // an authority by the back door
            ("/go/{*rest}", &["/", "{1}"][..], "/go//evil.test/x"),
            ("/go/{*rest}", &["/", "{1}"], "/go/a//b"),
            // text and parameter that join to a dot segment
            ("/a/{x}", &["/.", "{1}"], "/a/;b"),
            ("/a/{x}", &["/b/.", "{1}", "/c"], "/a/;b"),
            ("/a/{x}/{y}", &["/", "{1}", "{2}"], "/a/.;b/c"),
            // the path meets the pattern only as a reader has it who cuts parameters off or merges slashes
            ("/a/{x}", &["/", "{1}"], "/a;p/b"),
            ("/a/{x}", &["/", "{1}"], "//a/b"),
            ("/a/{x}", &["/", "{1}"], "/a//b"),
        ] {
            let Ok((_, _)) = Target::parse(&Bytes::copy_from_slice(target.as_bytes()), false)
            else {
                continue; // refused before
            };
            assert_eq!(rewrite(pattern, parts, target), None, "{pattern} {target}");
        }
    }
}
