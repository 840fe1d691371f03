//! Limits for each address and each token: requests, streams, connections.

use crate::config;
use crate::http::framework::auth::Identity;
use crate::http::framework::peer::Peer;
use crate::http::wire::problem::ApiError;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::time::Timestamp;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Owner of the quota that a request uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// A token, wherever it comes from.
    Token(String),
    /// [`Peer::quota_address`] of the client, for a request without a token.
    Address(IpAddr),
}

impl QuotaKey {
    /// Returns the key of the quota that this sender's requests use.
    pub fn of(identity: Option<&Identity>, peer: &Peer) -> Self {
        match identity.and_then(Identity::token) {
            Some(token) => Self::Token(token.id.to_string()),
            None => Self::Address(peer.quota_address()),
        }
    }
}

/// The limits of one address and one token.
pub struct Quotas {
    rate: RateLimiter<QuotaKey, HashMapStateStore<QuotaKey>, DefaultClock>,
    clock: DefaultClock,
    burst: u32,
    streams: UsageCounts<QuotaKey>,
    max_streams: usize,
    connections: UsageCounts<IpAddr>,
    max_connections: usize,
    /// Expensive requests by sender; those of all senders count as sent by none.
    expensive: UsageCounts<Option<QuotaKey>>,
    max_expensive: usize,
    /// Bytes of bodies by agent, with the day on which they came.
    agent_bytes: Mutex<HashMap<String, (i64, u64)>>,
    max_agent_bytes: u64,
    /// True if this machine is limited too.
    local: bool,
}

impl Quotas {
    /// The configured limits.
    pub fn new(settings: &config::Http) -> Self {
        let least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(least_one(settings.requests_per_sec))
            .allow_burst(least_one(settings.requests_burst));
        Self {
            rate: RateLimiter::hashmap(quota),
            clock: DefaultClock::default(),
            burst: settings.requests_burst,
            streams: UsageCounts::default(),
            max_streams: settings.streams_per_token,
            connections: UsageCounts::default(),
            max_connections: settings.connections_per_address,
            expensive: UsageCounts::default(),
            max_expensive: settings.expensive_per_token,
            agent_bytes: Mutex::default(),
            max_agent_bytes: settings.agent_bytes_per_day,
            local: settings.limit_loopback,
        }
    }

    fn is_exempt(&self, peer: &Peer) -> bool {
        peer.is_local() && !self.local
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 when there were too many; Retry-After says when the next one is taken.
    pub fn request(&self, identity: Option<&Identity>, peer: &Peer) -> Result<(), ApiError> {
        if self.is_exempt(peer) {
            return Ok(());
        }
        self.rate.check_key(&QuotaKey::of(identity, peer)).map_err(|too_soon| {
            let wait = too_soon.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + 1;
            let detail = format!("more requests than {} at once; the next one is taken later", self.burst);
            ApiError::new(ProblemCode::RateLimited, detail).retry_after(seconds).with_burst(self.burst)
        })
    }

    /// Counts an event stream for as long as the share lives; none when there are too many.
    pub fn stream(&self, identity: &Identity, peer: &Peer) -> Option<QuotaGuard<QuotaKey>> {
        let most = if self.is_exempt(peer) { usize::MAX } else { self.max_streams };
        self.streams.take(QuotaKey::of(Some(identity), peer), most)
    }

    /// Counts a connection for as long as the share lives; none when there are too many.
    pub fn connection(&self, peer: &Peer) -> Option<QuotaGuard<IpAddr>> {
        let most = if self.is_exempt(peer) { usize::MAX } else { self.max_connections };
        self.connections.take(peer.quota_address(), most)
    }

    /// Counts an expensive request for as long as the share lives, on this machine too.
    ///
    /// # Errors
    /// 429 when this sender, or all senders together, make as many as are allowed.
    pub fn expensive(&self, identity: &Identity, peer: &Peer) -> Result<ExpensiveGuard, ApiError> {
        let own = self.expensive.take(Some(QuotaKey::of(Some(identity), peer)), self.max_expensive);
        let shared = own.is_some().then(|| self.expensive.take(None, MAX_EXPENSIVE)).flatten();
        let most = if own.is_some() { MAX_EXPENSIVE } else { self.max_expensive };
        own.zip(shared).map(ExpensiveGuard).ok_or_else(|| {
            let detail =
                format!("{most} work graphs, exports or audits run already; the next one is taken later");
            ApiError::new(ProblemCode::RateLimited, detail).retry_after(EXPENSIVE_PAUSE_SEC)
        })
    }

    /// Counts the bytes of an agent's body.
    ///
    /// # Errors
    /// 429 when the agent has sent more today than it may.
    pub fn agent_bytes(&self, agent: &str, bytes: usize, now: Timestamp) -> Result<(), ApiError> {
        let (day, into_day) = (now.as_millis().div_euclid(DAY_MS), now.as_millis().rem_euclid(DAY_MS));
        let mut counts = self.agent_bytes.lock();
        let (known_day, sent) = counts.entry(agent.to_owned()).or_insert((day, 0));
        if *known_day != day {
            (*known_day, *sent) = (day, 0);
        }
        let after = sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if after > self.max_agent_bytes {
            let detail = format!("agent {agent} may send {} bytes a day", self.max_agent_bytes);
            let rest = u64::try_from((DAY_MS - into_day) / 1_000 + 1).unwrap_or(1);
            return Err(ApiError::new(ProblemCode::RateLimited, detail).retry_after(rest));
        }
        *sent = after;
        Ok(())
    }

    /// Removes the entries without recent requests.
    pub fn upkeep(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
    }
}

/// The most expensive requests of all senders at one time.
const MAX_EXPENSIVE: usize = 8;
/// The time after which a refused expensive request may be sent again, in seconds.
const EXPENSIVE_PAUSE_SEC: u64 = 2;
const DAY_MS: i64 = 86_400_000;

/// A share of the expensive requests of one sender and of all, given back when dropped.
pub struct ExpensiveGuard(#[expect(dead_code, reason = "it is held, not read")] (SenderShare, SenderShare));

type SenderShare = QuotaGuard<Option<QuotaKey>>;

/// Usage count for each key.
struct UsageCounts<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for UsageCounts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> UsageCounts<K> {
    fn take(&self, key: K, most: usize) -> Option<QuotaGuard<K>> {
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(QuotaGuard { counts: Arc::clone(&self.0), key })
    }
}

/// One of something, given back when dropped.
pub struct QuotaGuard<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Eq + Hash> Drop for QuotaGuard<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(limit_loopback: bool) -> Quotas {
        Quotas::new(&config::Http {
            requests_burst: 3,
            requests_per_sec: 1,
            streams_per_token: 1,
            connections_per_address: 2,
            limit_loopback,
            expensive_per_token: 2,
            agent_bytes_per_day: 100,
            ..config::Http::default()
        })
    }

    fn peer(address: &str) -> Peer {
        Peer::at(address.parse().unwrap())
    }

    #[test]
    fn each_address_has_own_quota_and_loopback_is_exempt() {
        let quotas = quotas(false);
        let taken = |address: &str| (0..10).filter(|_| quotas.request(None, &peer(address)).is_ok()).count();
        assert_eq!((taken("2001:db8::1"), taken("2001:db8::2"), taken("2001:db8:0:1::1")), (3, 0, 3));
        assert_eq!((taken("192.0.2.1"), taken("192.0.2.2"), taken("127.0.0.1")), (3, 3, 10));
        let refused = quotas.request(None, &peer("192.0.2.1")).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (429, ProblemCode::RateLimited));
        quotas.upkeep();
        assert!(quotas.request(None, &peer("192.0.2.1")).is_err());
    }

    #[test]
    fn loopback_is_limited_when_configured() {
        let quotas = quotas(true);
        let local = peer("::1");
        assert_eq!((0..10).filter(|_| quotas.request(None, &local).is_ok()).count(), 3);
        let first = quotas.stream(&Identity::Local, &local);
        assert!(first.is_some() && quotas.stream(&Identity::Local, &local).is_none());
        drop(first);
        assert!(quotas.stream(&Identity::Local, &local).is_some());
    }

    #[test]
    fn expensive_requests_of_sender_and_all_are_limited() {
        let quotas = quotas(false);
        let take = |address: &str| quotas.expensive(&Identity::Anonymous, &peer(address));
        let held: Vec<_> = (0..3).map(|_| take("127.0.0.1")).collect();
        assert_eq!(held.iter().filter(|share| share.is_ok()).count(), 2);
        let refused = take("127.0.0.1").err().unwrap();
        assert_eq!((refused.status().as_u16(), refused.code()), (429, ProblemCode::RateLimited));
        let others: Vec<_> = (1..10).map(|n| take(&format!("192.0.2.{n}"))).collect();
        assert_eq!(others.iter().filter(|share| share.is_ok()).count(), MAX_EXPENSIVE - 2);
        drop((held, others));
        assert!(take("127.0.0.1").is_ok() && quotas.expensive.0.lock().is_empty());
    }

    #[test]
    fn agent_bytes_of_one_day_are_limited() {
        let quotas = quotas(false);
        let now = Timestamp::from_millis(DAY_MS - 500);
        assert!(quotas.agent_bytes("a", 60, now).is_ok());
        assert_eq!(quotas.agent_bytes("a", 41, now).unwrap_err().code(), ProblemCode::RateLimited);
        assert!(quotas.agent_bytes("a", 40, now).is_ok() && quotas.agent_bytes("b", 100, now).is_ok());
        assert!(quotas.agent_bytes("a", 100, Timestamp::from_millis(DAY_MS)).is_ok());
    }

    #[test]
    fn dropped_quota_guards_leave_no_entry() {
        let quotas = quotas(true);
        let one = peer("192.0.2.1");
        let held: Vec<_> = (0..3).map(|_| quotas.connection(&one)).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        drop(held);
        assert!(quotas.connections.0.lock().is_empty());
    }
}
