//! Tokens that this worker has verified lately, so that a token is verified once and not for every request.
//!
//! Invariant: only what passed every check is here; the whole token is compared, never its hash alone;
//! `exp` and `nbf` are looked at again on every hit, and what it yields says how to ask for a revocation. A cache lives no longer than the keys and the settings
//! it was filled under.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::Caller;
use crate::observe::Held;
use crate::reference::Bond;

/// Two generations: what was used since the last turn, and what was used before it. A turn drops the older.
pub(super) struct Cache {
    young: HashMap<Box<[u8]>, Entry, RandomState>,
    old: HashMap<Box<[u8]>, Entry, RandomState>,
    young_bytes: usize,
    old_bytes: usize,
    seen: Seen,
    /// Since they were last told.
    hits: u64,
    misses: u64,
}

/// Who judged, and how long that stands besides `exp` and `nbf`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Verdict {
    /// The number of the issuer; `None`: our own.
    pub(super) issuer: Option<usize>,
    /// Of the keys that verified it.
    pub(super) generation: u64,
    /// Until when what its issuer said of it is believed, if its issuer was asked.
    pub(super) good_until: Option<Instant>,
    /// Seconds forgiven at `exp` and `nbf`.
    pub(super) leeway: u64,
    /// How it may be called back before its end.
    pub(super) bond: Bond,
    /// Whether judging it again takes no more than remembering it does: then it is remembered from the second time on,
    /// since who comes with a new token each time would only push out what is of use.
    pub(super) is_cheap: bool,
}

/// Which tokens were found good before, by one bit of their hash each. One that is taken for another is remembered a
/// little early, and that is all.
struct Seen {
    bits: Box<[u64]>,
    /// How many are set.
    count: usize,
}

struct Entry {
    caller: Rc<Caller>,
    verdict: Verdict,
    /// As [`crate::identity::Principal`] has them.
    expires_at: u64,
    not_before: u64,
    weight: usize,
}

impl Cache {
    pub(super) fn new() -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        let seen = Seen { bits: vec![0; SEEN / 64].into(), count: 0 };
        Self { young, old, young_bytes: 0, old_bytes: 0, seen, hits: 0, misses: 0 }
    }

    /// Whom `token` speaks for, if that is known, holds at `now`, and `stands` says so; unless it was called back.
    /// Allocates nothing.
    pub(super) fn find(
        &mut self,
        token: &[u8],
        now: u64,
        stands: impl Fn(&Caller, &Verdict) -> bool,
    ) -> Option<(Rc<Caller>, Bond)> {
        let found = self.look(token, now, stands);
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found
    }

    /// Notes what is held, and how often it was of use since this was last called.
    pub(super) fn tell(&mut self, held: &Held) {
        held.cache_entries.set((self.young.len() + self.old.len()) as u64);
        held.cache_bytes.set((self.young_bytes + self.old_bytes) as u64);
        held.cache_hits.add(std::mem::take(&mut self.hits));
        held.cache_misses.add(std::mem::take(&mut self.misses));
    }

    /// As [`Cache::find`], and nobody counts it.
    pub(super) fn look(
        &mut self,
        token: &[u8],
        now: u64,
        stands: impl Fn(&Caller, &Verdict) -> bool,
    ) -> Option<(Rc<Caller>, Bond)> {
        if let Some(entry) = self.young.get(token) {
            let good = entry.holds(now) && stands(&entry.caller, &entry.verdict);
            return good.then(|| (Rc::clone(&entry.caller), entry.verdict.bond));
        }
        let entry = self.old.get(token)?;
        if !entry.holds(now) || !stands(&entry.caller, &entry.verdict) {
            return None;
        }
        let (caller, bond) = (Rc::clone(&entry.caller), entry.verdict.bond);
        let weight = entry.weight;
        // It survives the next turn, unless there is no room made for it yet.
        if self.young.len() < self.young.capacity()
            && self.has_room(weight)
            && let Some((token, entry)) = self.old.remove_entry(token)
        {
            self.young.insert(token, entry);
            self.young_bytes += weight;
            self.old_bytes = self.old_bytes.saturating_sub(weight);
        }
        Some((caller, bond))
    }

    /// Remembers that `token` passed every check as `caller`; what is cheap to judge, only if it did before.
    pub(super) fn insert(&mut self, token: &[u8], caller: &Rc<Caller>, verdict: Verdict) {
        if verdict.is_cheap && !self.seen.before(self.young.hasher().hash_one(token)) {
            return;
        }
        let weight = weight(token, caller);
        if !self.has_room(weight) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        let principal = &caller.principal;
        let not_before = principal.not_before.unwrap_or(0);
        let (expires_at, caller) = (principal.expires_at, Rc::clone(caller));
        let entry = Entry { caller, verdict, expires_at, not_before, weight };
        if self.young.insert(token.into(), entry).is_none() {
            self.young_bytes += weight;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    fn has_room(&self, weight: usize) -> bool {
        self.young.len() < MAX_ENTRIES / 2 && self.young_bytes + weight <= MAX_BYTES / 2
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Seen {
    /// Whether a token with this hash was seen before. Now it was.
    fn before(&mut self, hash: u64) -> bool {
        #[allow(clippy::cast_possible_truncation)] // what is left is less than SEEN
        let place = (hash % SEEN as u64) as usize;
        let Some(word) = self.bits.get_mut(place / 64) else { return true };
        let bit = 1 << (place % 64);
        if *word & bit != 0 {
            return true;
        }
        *word |= bit;
        self.count += 1;
        if self.count >= SEEN / 8 {
            self.bits.fill(0);
            self.count = 0;
        }
        false
    }
}

impl Entry {
    const fn holds(&self, now: u64) -> bool {
        let leeway = self.verdict.leeway;
        now < self.expires_at.saturating_add(leeway)
            && self.not_before <= now.saturating_add(leeway)
    }
}

/// What an entry holds, bytes: the token, what was read of it, the headers made of that, and the claims where some policy
/// needs them. Each text is its own piece of memory, and costs [`PIECE`] besides.
fn weight(token: &[u8], caller: &Caller) -> usize {
    let principal = &caller.principal;
    let optional = [&principal.subject, &principal.client_id, &principal.token_id];
    let texts = [&principal.issuer, &principal.issuer_name].into_iter();
    let texts = texts.chain(optional.into_iter().flatten()).map(|text| PIECE + text.len());
    let scopes = principal.scopes.iter().map(|name| size_of::<Box<str>>() + PIECE + name.len());
    let identity = caller.identity.iter().map(|set| {
        let headers = set.as_deref().unwrap_or_default();
        let values = headers.iter().map(|(_, value)| HEADER + PIECE + value.len());
        size_of_val(set) + PIECE + values.sum::<usize>()
    });
    let claims = principal.claims.iter().map(|(name, value)| member(name, value));
    FIXED
        + token.len()
        + texts.sum::<usize>()
        + scopes.sum::<usize>()
        + identity.sum::<usize>()
        + claims.sum::<usize>()
}

fn member(name: &str, value: &Value) -> usize {
    64 + name.len() + size(value)
}

fn size(value: &Value) -> usize {
    32 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| member(name, value)).sum(),
    }
}

/// Bits, of which an eighth is set at most: a worker's 64 KiB, for twice as many tokens as it remembers.
const SEEN: usize = 512 * 1024;
/// What every entry costs: its place in a table that is up to half empty, and the caller, with the counts of its [`Rc`].
const FIXED: usize =
    2 * (size_of::<Box<[u8]>>() + size_of::<Entry>()) + size_of::<Caller>() + 4 * PIECE;
/// What the allocator adds to a piece of memory, and what it loses by rounding up.
const PIECE: usize = 24;
const HEADER: usize = size_of::<(HeaderName, HeaderValue)>();
/// For each worker, over both generations. More tokens than this in use at once are verified again now and then.
const MAX_ENTRIES: usize = 32 * 1024;
/// For each worker, over both generations.
const MAX_BYTES: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::Map;

    use super::{Cache, MAX_BYTES, MAX_ENTRIES, Verdict, weight};
    use crate::auth::Caller;
    use crate::identity::{Principal, Scopes};
    use crate::reference::Bond;

    const VERDICT: Verdict = Verdict {
        issuer: None,
        generation: 0,
        good_until: None,
        leeway: 60,
        bond: Bond::None,
        is_cheap: false,
    };

    fn caller(not_before: Option<u64>, expires_at: u64) -> Rc<Caller> {
        let principal = Principal {
            bound_to: None,
            issuer: String::new(),
            issuer_name: String::new(),
            subject: None,
            client_id: None,
            scopes: Scopes::default(),
            expires_at,
            not_before,
            token_id: None,
            claims: Map::new(),
        };
        Rc::new(Caller::of(principal))
    }

    #[test]
    fn exp_and_nbf_are_looked_at_on_every_hit() {
        let mut cache = Cache::new();
        cache.insert(b"token", &caller(Some(1_000), 2_000), VERDICT);
        assert!(cache.find(b"token", 939, |_, _| true).is_none());
        assert!(cache.find(b"token", 940, |_, _| true).is_some());
        assert!(cache.find(b"token", 2_059, |_, _| true).is_some());
        assert!(cache.find(b"token", 2_060, |_, _| true).is_none());
        cache.insert(b"forever", &caller(None, u64::MAX), VERDICT);
        assert!(cache.find(b"forever", u64::MAX - 1, |_, _| true).is_some());
    }

    #[test]
    fn another_token_of_any_likeness_is_not_found() {
        let mut cache = Cache::new();
        cache.insert(b"token", &caller(None, 10), VERDICT);
        for other in [&b"toke"[..], b"token ", b"Token", b"tokeN", b""] {
            assert!(cache.find(other, 1, |_, _| true).is_none());
        }
    }

    #[test]
    fn the_number_of_entries_is_bounded_and_the_used_ones_survive() {
        let mut cache = Cache::new();
        cache.insert(b"busy", &caller(None, 10), VERDICT);
        for number in 0..3 * MAX_ENTRIES {
            cache.insert(&number.to_be_bytes(), &caller(None, 10), VERDICT);
            assert!(cache.find(b"busy", 1, |_, _| true).is_some(), "{number}");
            assert!(cache.len() <= MAX_ENTRIES);
        }
    }

    #[test]
    fn the_number_of_bytes_is_bounded() {
        let mut cache = Cache::new();
        let mut token = [0; 8 * 1024];
        for number in 0..2_000_u32 {
            token[..4].copy_from_slice(&number.to_be_bytes());
            let caller = caller(None, 10);
            cache.insert(&token, &caller, VERDICT);
            assert!(cache.len() * weight(&token, &caller) <= MAX_BYTES);
        }
        assert!(cache.len() > 100);
    }

    #[test]
    fn what_no_longer_stands_is_not_found() {
        let mut cache = Cache::new();
        cache.insert(b"token", &caller(None, 10), Verdict { generation: 7, ..VERDICT });
        assert!(cache.find(b"token", 1, |_, verdict| verdict.generation == 7).is_some());
        assert!(cache.find(b"token", 1, |_, verdict| verdict.generation == 8).is_none());
    }

    #[test]
    fn claims_that_are_kept_are_weighed() {
        let light = caller(None, 10);
        let mut heavy = light.principal.clone();
        heavy.claims.insert("groups".to_owned(), vec!["a group"; 1_000].into());
        let heavy = Caller::of(heavy);
        assert!(weight(b"token", &heavy) > weight(b"token", &light) + 1_000 * "a group".len());
    }

    #[test]
    fn every_header_and_every_text_is_weighed() {
        let light = Caller::of(caller(None, 10).principal.clone());
        let mut heavy = light.clone();
        heavy.principal.subject = Some("s".repeat(1_000));
        heavy.principal.scopes.add(&"w".repeat(1_000));
        let header = (
            http::HeaderName::from_static("x-a"),
            http::HeaderValue::from_str(&"v".repeat(1_000)).unwrap(),
        );
        heavy.identity = Box::new([Ok(vec![header.clone()]), Ok(vec![header])]);
        assert!(weight(b"token", &heavy) > weight(b"token", &light) + 4_000);
        assert!(weight(&[0; 1_000], &light) >= weight(b"", &light) + 1_000);
    }

    #[test]
    fn what_is_cheap_to_judge_is_remembered_from_the_second_time_on() {
        let mut cache = Cache::new();
        let verdict = Verdict { is_cheap: true, ..VERDICT };
        cache.insert(b"token", &caller(None, 10), verdict);
        assert!(cache.find(b"token", 1, |_, _| true).is_none());
        cache.insert(b"token", &caller(None, 10), verdict);
        assert!(cache.find(b"token", 1, |_, _| true).is_some());
    }

    #[test]
    fn as_many_tokens_as_are_remembered_in_rotation_are_all_remembered_after_the_second_round() {
        let mut cache = Cache::new();
        let verdict = Verdict { is_cheap: true, ..VERDICT };
        let tokens: Vec<_> = (0..MAX_ENTRIES as u32 / 4).map(u32::to_be_bytes).collect();
        for _ in 0..2 {
            for token in &tokens {
                cache.insert(token, &caller(None, 10), verdict);
            }
        }
        assert!(tokens.iter().all(|token| cache.find(token, 1, |_, _| true).is_some()));
    }

    #[test]
    fn tokens_that_are_new_each_time_push_out_nothing() {
        let mut cache = Cache::new();
        let verdict = Verdict { is_cheap: true, ..VERDICT };
        for number in 0..500_000_u32 {
            cache.insert(&number.to_be_bytes(), &caller(None, 10), verdict);
        }
        assert!(cache.len() < MAX_ENTRIES, "{}", cache.len());
    }

    #[test]
    fn clearing_forgets_everything() {
        let mut cache = Cache::new();
        cache.insert(b"token", &caller(None, 10), VERDICT);
        cache.clear();
        assert!(cache.find(b"token", 1, |_, _| true).is_none());
    }
}
