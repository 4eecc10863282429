//! Where a request goes on to: one of the upstreams, and perhaps under another path than the one that it came with.

use super::Target;

/// Where a request goes on to.
#[derive(Debug, Default)]
pub struct Destination {
    /// Which upstream: 0 is `[upstream]`, the others follow in the order of the file.
    pub upstream: usize,
    /// What the upstream gets instead of the target that was judged.
    pub rewritten: Option<Box<Rewritten>>,
}

/// A target that was made of another one.
#[derive(Debug)]
pub struct Rewritten {
    /// Path and query, read as strictly as the one that it was made of.
    pub target: Target,
    /// What stands in front of the part that both have in common, which goes to the end: first as the client has it,
    /// then as the upstream has it. Without such a part: the whole paths.
    fronts: (Box<str>, Box<str>),
    /// Whether there is such a part.
    has_rest: bool,
}

impl Rewritten {
    /// A target made of `theirs`, the path that the client asked. The last `common` bytes of both paths are one and the
    /// same part, taken over as it stood; `None`: there is no such part.
    #[must_use]
    pub fn new(target: Target, theirs: &str, common: Option<usize>) -> Self {
        let front = |path: &str| {
            let end = path.len().saturating_sub(common.unwrap_or_default());
            path.get(..end).unwrap_or(path).into()
        };
        let fronts = (front(theirs), front(target.path()));
        Self { target, fronts, has_rest: common.is_some() }
    }

    /// The path under which the client knows what the upstream calls `path`, as far as that can be told.
    #[must_use]
    pub fn back(&self, path: &str) -> Option<String> {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, tail) = path.split_at(end);
        let (client, upstream) = &self.fronts;
        let rest = path.strip_prefix(&**upstream)?;
        match self.has_rest {
            true => Some(format!("{client}{rest}{tail}")),
            false if rest.is_empty() => Some(format!("{client}{tail}")),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Rewritten;
    use crate::message::Target;

    fn rewritten(theirs: &str, ours: &'static str, common: Option<usize>) -> Rewritten {
        let target = Target::parse(&Bytes::from_static(ours.as_bytes()), false).unwrap().0;
        Rewritten::new(target, theirs, common)
    }

    #[test]
    fn a_path_below_the_front_that_was_put_there_leads_back() {
        let made = rewritten("/orders/7/items", "/v2/7/items?x", Some("7/items".len()));
        assert_eq!(made.back("/v2/8?a#b").as_deref(), Some("/orders/8?a#b"));
        assert_eq!(made.back("/v2/").as_deref(), Some("/orders/"));
        assert_eq!(made.back("/v3/8"), None);
        assert_eq!(made.back("/v2"), None);
    }

    #[test]
    fn without_a_rest_only_the_very_path_leads_back() {
        let made = rewritten("/health", "/internal/status", None);
        assert_eq!(made.back("/internal/status?x=1").as_deref(), Some("/health?x=1"));
        assert_eq!(made.back("/internal/status/more"), None);
    }
}
