//! Tokens and browser sessions in memory: whose secret it is, at once, and word of its end.
//!
//! Owns a copy of two tables that every change replaces. The secrets themselves are in no table: what is
//! kept and compared are digests.

use crate::error::Error;
use crate::runtime::timer::RETRY_PAUSE;
use crate::services::Services;
use arbiter_core::kernel::lease;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Proof, Token};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// Resolution of a token's last use.
const USE_NOTED_EVERY_MS: i64 = 60_000;

type SecretDigest = [u8; 32];

/// Proven token, session or certificate of a client.
#[derive(Clone, Debug)]
pub struct AuthenticatedToken {
    pub token: Arc<Token>,
    session: Option<(SecretDigest, Timestamp)>,
}

impl AuthenticatedToken {
    /// The digest of the session that was shown, in hex.
    pub fn session(&self) -> Option<String> {
        self.session.as_ref().map(|(digest, _)| lease::hex(digest))
    }

    /// Returns the time of expiry.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let session = self.session.map(|(_, end)| end);
        session.into_iter().chain(self.token.expires_at).min()
    }
}

/// Map by digest. The first bytes select a bucket; all bytes are compared in constant time.
struct DigestMap<T>(HashMap<[u8; 8], Vec<(SecretDigest, T)>>);

impl<T> Default for DigestMap<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> DigestMap<T> {
    fn put(&mut self, digest: SecretDigest, value: T) {
        self.0.entry(head(&digest)).or_default().push((digest, value));
    }

    fn get(&self, digest: &SecretDigest) -> Option<&T> {
        let near = self.0.get(&head(digest))?;
        near.iter().find(|(index, _)| bool::from(index.ct_eq(digest))).map(|(_, value)| value)
    }
}

fn head(digest: &SecretDigest) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    head
}

struct CachedToken {
    token: Arc<Token>,
    /// Time at which the use was last recorded, in milliseconds since 1970.
    noted: AtomicI64,
}

#[derive(Default)]
struct TokenIndex {
    texts: DigestMap<Arc<CachedToken>>,
    certificates: DigestMap<Arc<CachedToken>>,
    sessions: DigestMap<(Arc<CachedToken>, Timestamp)>,
}

/// The copy.
pub(crate) struct TokenCache {
    index: RwLock<TokenIndex>,
    /// Held from reading to replacing, so that an older copy never replaces a newer one.
    loading: tokio::sync::Mutex<()>,
    changed: watch::Sender<()>,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self {
            index: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl TokenCache {
    /// Reloads the cache from the store, and notifies the streams that watch for revocations.
    pub(crate) async fn load(&self, shared: &Services) -> Result<(), Error> {
        let _loading = self.loading.lock().await;
        let (tokens, sessions) = (shared.store.tokens().await?, shared.store.sessions().await?);
        let mut fresh = TokenIndex::default();
        let mut by_id = HashMap::new();
        for token in tokens {
            let noted = token.last_used_at.unwrap_or_default().as_millis();
            let entry = Arc::new(CachedToken { token: Arc::new(token), noted: AtomicI64::new(noted) });
            let Some(digest) = parse(&entry.token.digest) else { continue };
            match entry.token.proof {
                Proof::Text => fresh.texts.put(digest, Arc::clone(&entry)),
                Proof::Certificate => fresh.certificates.put(digest, Arc::clone(&entry)),
            }
            by_id.insert(entry.token.id.clone(), entry);
        }
        for session in sessions {
            if let (Some(entry), Some(digest)) = (by_id.get(&session.token_id), parse(&session.digest)) {
                fresh.sessions.put(digest, (Arc::clone(entry), session.expires_at));
            }
        }
        *self.index.write() = fresh;
        self.changed.send_replace(());
        Ok(())
    }

    /// Reloads the cache after a committed change. A store that fails for a moment is asked again, since a revoked
    /// token must not stay valid.
    pub(crate) async fn reload(&self, shared: &Services) -> Result<(), Error> {
        loop {
            match self.load(shared).await {
                Err(error) if !shared.is_stopping() => {
                    tracing::warn!(%error, "could not read the tokens after a change");
                    shared.clock.sleep_until(shared.clock.now().plus(RETRY_PAUSE)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Finds the holder of a token by its text.
    pub(crate) fn find_by_text(&self, shared: &Arc<Services>, text: &str) -> Option<AuthenticatedToken> {
        let digest = Sha256::digest(text.as_bytes()).into();
        self.find_valid(shared, |index| Some((Arc::clone(index.texts.get(&digest)?), None)))
    }

    /// Finds the holder of a certificate by its fingerprint.
    pub(crate) fn find_by_certificate(
        &self,
        shared: &Arc<Services>,
        fingerprint: &str,
    ) -> Option<AuthenticatedToken> {
        let digest = parse(fingerprint)?;
        self.find_valid(shared, |index| Some((Arc::clone(index.certificates.get(&digest)?), None)))
    }

    /// Finds the holder of a session by its secret.
    pub(crate) fn find_by_session(&self, shared: &Arc<Services>, text: &str) -> Option<AuthenticatedToken> {
        let digest = Sha256::digest(text.as_bytes()).into();
        self.find_valid(shared, |index| {
            let (entry, end) = index.sessions.get(&digest)?;
            Some((Arc::clone(entry), Some((digest, *end))))
        })
    }

    fn find_valid(
        &self,
        shared: &Arc<Services>,
        find: impl FnOnce(&TokenIndex) -> Option<(Arc<CachedToken>, Option<(SecretDigest, Timestamp)>)>,
    ) -> Option<AuthenticatedToken> {
        let (entry, session) = find(&self.index.read())?;
        let now = shared.clock.now();
        let authenticated = AuthenticatedToken { token: Arc::clone(&entry.token), session };
        if authenticated.ends_at().is_some_and(|end| end <= now) {
            return None;
        }
        note_use(shared, &entry, now);
        Some(authenticated)
    }

    fn is_still_valid(&self, shared: &Arc<Services>, authenticated: &AuthenticatedToken) -> bool {
        let again = match (&authenticated.session, parse(&authenticated.token.digest)) {
            (Some((digest, _)), _) => {
                let index = self.index.read();
                index.sessions.get(digest).is_some()
            }
            (None, Some(digest)) => {
                let index = self.index.read();
                index.texts.get(&digest).or_else(|| index.certificates.get(&digest)).is_some()
            }
            (None, None) => false,
        };
        again && authenticated.ends_at().is_none_or(|end| end > shared.clock.now())
    }

    /// Waits until the token or the session is revoked or has expired.
    pub(crate) async fn until_ended(&self, shared: &Arc<Services>, authenticated: &AuthenticatedToken) {
        let mut changed = self.changed.subscribe();
        while self.is_still_valid(shared, authenticated) {
            let left = authenticated.ends_at().map_or(Duration::MAX, |end| end.since(shared.clock.now()));
            // A clock that jumps must not make the wait longer than it looks.
            let look_again = tokio::time::sleep(left.min(Duration::from_secs(60)));
            tokio::select! {
                told = changed.changed() => if told.is_err() { return },
                () = look_again => {}
            }
        }
    }
}

/// Records the use of a token in the background, at most once a minute.
fn note_use(shared: &Arc<Services>, entry: &Arc<CachedToken>, now: Timestamp) {
    let noted = entry.noted.load(Ordering::Relaxed);
    let ms = now.as_millis();
    if ms - noted < USE_NOTED_EVERY_MS
        || entry.noted.compare_exchange(noted, ms, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return;
    }
    let (shared, id) = (Arc::clone(shared), entry.token.id.clone());
    shared.runtime.clone().spawn(async move {
        let mut unit = arbiter_store::Unit::new(now, "system", "tokens");
        unit.change(arbiter_store::Change::TokenUsed { id, at: now });
        if let Err(error) = shared.store.commit(unit).await {
            tracing::debug!(%error, "the use of a token was not noted");
        }
    });
}

/// A digest from its hex.
fn parse(hex: &str) -> Option<SecretDigest> {
    if hex.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_map_lookup_compares_all_bytes() {
        let mut map = DigestMap::default();
        let (mut one, mut two) = ([7; 32], [7; 32]);
        (one[31], two[31]) = (1, 2);
        map.put(one, "one");
        map.put(two, "two");
        assert_eq!((map.get(&one), map.get(&two)), (Some(&"one"), Some(&"two")));
        assert_eq!(map.get(&[7; 32]), None);
        assert_eq!(map.get(&[0; 32]), None);
    }

    #[test]
    fn digest_parse_accepts_only_64_hex_digits() {
        let digest: SecretDigest = Sha256::digest(b"x").into();
        assert_eq!(parse(&lease::hex(&digest)), Some(digest));
        assert_eq!(lease::hex(&digest), lease::digest("x"));
        for wrong in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
