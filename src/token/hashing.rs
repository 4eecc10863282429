//! Argon2, off the worker threads: a few threads of its own behind a short queue, so that password hashing
//! cannot starve the forwarding of requests. What was verified lately is remembered for a minute.
//!
//! Invariant: an attempt that fails costs the same whatever the reason, because each is padded to the cost of
//! the costliest client; and neither a secret nor a plain digest of one is kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};
use aws_lc_rs::hmac;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::secret::Secret;

/// The threads, and what they share with those who wait for them.
#[derive(Debug)]
pub(super) struct Hashing {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
    /// Names attempts without telling their secrets; made anew in every process.
    key: hmac::Key,
    clock: Clock,
}

/// A PHC string.
#[derive(Debug)]
pub(super) struct Hash {
    phc: Secret<String>,
    cost: Cost,
}

/// Work of one hash: KiB of memory, each written `passes` times.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Cost {
    memory: u32,
    passes: u32,
}

/// A client and a secret, and what they are compared with.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) secret: Secret<Vec<u8>>,
    /// Each with whether it may let anyone in; those that may not are compared all the same.
    pub(super) hashes: Vec<(Arc<Hash>, bool)>,
}

/// Which attempt matched, and which of its hashes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Match {
    pub(super) attempt: usize,
    pub(super) hash: usize,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Busy;

#[derive(Debug)]
struct Job {
    name: Name,
    attempts: Vec<Attempt>,
}

type Name = [u8; 32];

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    verified: HashMap<Name, (Match, Instant)>,
    waiting: HashMap<Name, Vec<oneshot::Sender<Option<Match>>>>,
}

impl Hash {
    /// `None` if it is no Argon2 PHC string.
    pub(super) fn new(phc: &Secret<String>) -> Option<Self> {
        let parsed = PasswordHash::new(phc.expose()).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        let cost = Cost { memory: params.m_cost(), passes: params.t_cost() };
        Some(Self { phc: phc.clone(), cost })
    }

    fn matches(&self, secret: &[u8]) -> bool {
        Argon2::default().verify_password(secret, self.phc.expose().as_str()).is_ok()
    }
}

impl Cost {
    fn units(self) -> u64 {
        u64::from(self.memory) * u64::from(self.passes)
    }

    /// The work of all of `hashes` together.
    fn sum<'a>(hashes: impl Iterator<Item = &'a Hash>) -> u64 {
        hashes.map(|hash| hash.cost.units()).sum()
    }

    /// About `units` of work, in no more than `memory`; none if it is less than Argon2 can do.
    fn of(units: u64, memory: u32) -> Option<Self> {
        let passes = units.div_ceil(u64::from(memory.max(1)));
        let memory = units.checked_div(passes)?;
        let cost = Self { memory: memory.try_into().ok()?, passes: passes.try_into().ok()? };
        (cost.memory >= Params::MIN_M_COST).then_some(cost)
    }

    fn spend(self) {
        if let Ok(params) = Params::new(self.memory, self.passes, 1, None) {
            let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
            // The result is of no use; only the time is.
            let _ =
                Argon2::from(params).hash_password_into(b"nobody", b"of no salt here", &mut out);
        }
    }
}

impl Hashing {
    /// Starts the threads. `clients` are the hashes of each client: a failure costs what the costliest costs.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(super) fn start<'a>(
        clients: impl Iterator<Item = &'a [Arc<Hash>]>,
        key: hmac::Key,
        clock: Clock,
    ) -> io::Result<Self> {
        let (mut units, mut memory) = (0, 0);
        for hashes in clients {
            units = units.max(Cost::sum(hashes.iter().map(|hash| &**hash)));
            memory = hashes.iter().map(|hash| hash.cost.memory).fold(memory, u32::max);
        }
        let (queue, jobs) = sync_channel(QUEUE);
        let (jobs, shared) = (Arc::new(Mutex::new(jobs)), Arc::new(Shared::default()));
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..(cores / 2).max(1) {
            let (jobs, shared, clock) = (Arc::clone(&jobs), Arc::clone(&shared), clock.clone());
            thread::Builder::new()
                .name("hashing".to_owned())
                .spawn(move || work(&jobs, &shared, &clock, units, memory))?;
        }
        Ok(Self { queue, shared, key, clock })
    }

    /// Which of `attempts` is right. Equal attempts at the same time are one.
    ///
    /// # Errors
    /// [`Busy`] if too many others wait.
    pub(super) async fn verify(&self, attempts: Vec<Attempt>) -> Result<Option<Match>, Busy> {
        let name = self.name(&attempts);
        let outcome = {
            let mut state = self.shared.lock();
            if let Some((found, until)) = state.verified.get(&name)
                && *until > self.clock.monotonic()
            {
                return Ok(Some(*found));
            }
            let (sender, outcome) = oneshot::channel();
            match state.waiting.entry(name) {
                Entry::Occupied(waiting) if waiting.get().len() >= MAX_WAITING => return Err(Busy),
                Entry::Occupied(mut waiting) => waiting.get_mut().push(sender),
                Entry::Vacant(waiting) => {
                    match self.queue.try_send(Job { name, attempts }) {
                        Ok(()) => waiting.insert(vec![sender]),
                        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                            return Err(Busy);
                        }
                    };
                }
            }
            outcome
        };
        outcome.await.map_err(|_| Busy)
    }

    fn name(&self, attempts: &[Attempt]) -> Name {
        let mut context = hmac::Context::with_key(&self.key);
        for attempt in attempts {
            for part in [attempt.id.as_bytes(), attempt.secret.expose()] {
                context.update(&part.len().to_be_bytes());
                context.update(part);
            }
        }
        let mut name = Name::default();
        name.copy_from_slice(context.sign().as_ref());
        name
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody still waits for `name`; if not, it is forgotten.
    fn is_wanted(&self, name: &Name) -> bool {
        let mut state = self.lock();
        let open = |waiting: &Vec<oneshot::Sender<_>>| waiting.iter().any(|one| !one.is_closed());
        let wanted = state.waiting.get(name).is_some_and(open);
        if !wanted {
            state.waiting.remove(name);
        }
        wanted
    }

    fn finish(&self, name: Name, outcome: Option<Match>, now: Instant) {
        let waiting = {
            let mut state = self.lock();
            if let Some(found) = outcome {
                if state.verified.len() >= MAX_VERIFIED {
                    state.verified.retain(|_, (_, until)| *until > now);
                }
                if state.verified.len() < MAX_VERIFIED {
                    state.verified.insert(name, (found, now + REMEMBERED));
                }
            }
            state.waiting.remove(&name).unwrap_or_default()
        };
        for one in waiting {
            // Whoever hung up needs no answer.
            let _ = one.send(outcome);
        }
    }
}

/// One thread, until the service is gone.
fn work(jobs: &Mutex<Receiver<Job>>, shared: &Shared, clock: &Clock, units: u64, memory: u32) {
    // Linux has a priority for each thread, and 0 is this one. Where it is denied hashing only competes more.
    let _ = rustix::process::setpriority_process(None, PRIORITY);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        if !shared.is_wanted(&job.name) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| attempt_all(&job.attempts, units, memory)));
        shared.finish(job.name, outcome.unwrap_or(None), clock.monotonic());
    }
}

fn attempt_all(attempts: &[Attempt], units: u64, memory: u32) -> Option<Match> {
    for (attempt, tried) in attempts.iter().enumerate() {
        for (hash, (stored, live)) in tried.hashes.iter().enumerate() {
            if stored.matches(tried.secret.expose()) && *live {
                return Some(Match { attempt, hash });
            }
        }
        let spent = Cost::sum(tried.hashes.iter().map(|(hash, _)| &**hash));
        if let Some(rest) = Cost::of(units.saturating_sub(spent), memory) {
            rest.spend();
        }
    }
    None
}

/// `nice` of the threads: forwarding comes first where both want a core, and hashing still gets a tenth of one.
const PRIORITY: i32 = 10;
/// Hashes that may wait: at 20 ms each the last waits about a second.
const QUEUE: usize = 64;
/// Requests that may wait for one hash.
const MAX_WAITING: usize = 4096;
/// How long a right secret is not hashed again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Right secrets remembered at once.
const MAX_VERIFIED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use argon2::{Argon2, Params, PasswordHasher};
    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;

    use super::{Attempt, Cost, Hash, Hashing, Match};
    use crate::clock::Clock;
    use crate::secret::Secret;

    fn hash(secret: &str, memory: u32) -> Arc<Hash> {
        let params = Params::new(memory, 1, 1, None).unwrap();
        let phc = Argon2::from(params).hash_password(secret.as_bytes()).unwrap().to_string();
        Arc::new(Hash::new(&Secret::new(phc)).unwrap())
    }

    fn start(hashes: &[Arc<Hash>]) -> Hashing {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).unwrap();
        Hashing::start([hashes].into_iter(), key, Clock::system()).unwrap()
    }

    fn attempt(id: &str, secret: &str, hashes: &[(Arc<Hash>, bool)]) -> Vec<Attempt> {
        let secret = Secret::new(secret.as_bytes().to_vec());
        vec![Attempt { id: id.to_owned(), secret, hashes: hashes.to_vec() }]
    }

    #[tokio::test]
    async fn the_right_secret_matches_and_is_remembered() {
        let hash = hash("hunter2", 64);
        let hashing = start(&[Arc::clone(&hash)]);
        let hashes = [(hash, true)];
        let right = Ok(Some(Match { attempt: 0, hash: 0 }));
        assert_eq!(hashing.verify(attempt("a", "hunter2", &hashes)).await, right);
        assert_eq!(hashing.shared.lock().verified.len(), 1);
        assert_eq!(hashing.verify(attempt("a", "hunter2", &hashes)).await, right);
        assert_eq!(hashing.verify(attempt("a", "hunter3", &hashes)).await, Ok(None));
        assert_eq!(hashing.verify(attempt("b", "hunter2", &[])).await, Ok(None));
        assert_eq!(hashing.shared.lock().verified.len(), 1);
        assert!(hashing.shared.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_hash_past_its_end_lets_nobody_in() {
        let hash = hash("hunter2", 64);
        let hashing = start(&[Arc::clone(&hash)]);
        assert_eq!(hashing.verify(attempt("a", "hunter2", &[(hash, false)])).await, Ok(None));
    }

    #[tokio::test]
    async fn equal_attempts_at_one_time_are_hashed_once_and_all_answered() {
        let hash = hash("hunter2", 1024);
        let hashing = Arc::new(start(&[Arc::clone(&hash)]));
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let (hashing, hash) = (Arc::clone(&hashing), Arc::clone(&hash));
                tokio::spawn(async move {
                    hashing.verify(attempt("a", "hunter2", &[(hash, true)])).await
                })
            })
            .collect();
        for task in tasks {
            assert!(matches!(task.await.unwrap(), Ok(Some(_))));
        }
    }

    #[tokio::test]
    async fn t83_a_full_queue_is_busy_and_dropped_waiters_are_skipped() {
        let hash = hash("hunter2", 4096);
        let hashing = Arc::new(start(&[Arc::clone(&hash)]));
        let tasks: Vec<_> = (0..500)
            .map(|number| {
                let hashing = Arc::clone(&hashing);
                let attempt = attempt("a", &number.to_string(), &[(Arc::clone(&hash), true)]);
                tokio::spawn(async move { hashing.verify(attempt).await })
            })
            .collect();
        for _ in 0..tasks.len() {
            tokio::task::yield_now().await;
        }
        for task in &tasks[20..] {
            task.abort();
        }
        let mut busy = 0;
        for task in tasks {
            if let Ok(Err(super::Busy)) = task.await {
                busy += 1;
            }
        }
        assert!(busy > 0);
        assert!(hashing.verify(attempt("a", "hunter2", &[(hash, true)])).await.is_ok());
    }

    #[test]
    fn padding_costs_what_is_missing() {
        for (units, memory) in [(19_456 * 2, 19_456), (19_456, 19_456), (30_000, 19_456), (100, 64)]
        {
            let cost = Cost::of(units, memory).unwrap();
            assert!(cost.memory <= memory && cost.units() * 10 >= units * 9, "{units} {cost:?}");
        }
        assert_eq!(Cost::of(0, 19_456), None);
        assert_eq!(Cost::of(7, 19_456), None);
    }
}
