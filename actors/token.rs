//! API tokens and the browser sessions that begin with them: created, checked and ended.
//!
//! Checks read a copy in memory (`token/cache.rs`) that every change replaces. Not an actor.

pub(crate) mod cache;

use crate::caller::Caller;
use crate::error::Error;
use crate::runtime::random;
use crate::services::{Services, deref_to_services};
use crate::token::cache::{AuthenticatedToken, TokenCache};
use arbiter_core::agent::Agent;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::TokenId;
use arbiter_core::kernel::lease::digest;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::{Problems, Refusal};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Proof, Role, Session, Token};
use arbiter_store::{Change, Store, Unit};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Request for a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub user: Option<String>,
    pub agent_id: Option<String>,
    /// The projects it is limited to; none: all of them.
    pub projects: Option<Vec<String>>,
    pub expires_at: Option<Timestamp>,
}

impl NewToken {
    /// A token of a person, for everything that the role may do, until it is revoked.
    pub fn of_person(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            user: Some(name.to_owned()),
            agent_id: None,
            projects: None,
            expires_at: None,
        }
    }
}

/// Sessions that one token may have at one time; the oldest ends when there is one more.
const SESSIONS_OF_TOKEN: u32 = 32;
/// The projects that a token may be limited to.
const PROJECTS_OF_TOKEN: usize = 100;

/// The parts that the tokens use.
pub(crate) struct TokenContext {
    pub(crate) services: Arc<Services>,
    pub(crate) token_cache: Arc<TokenCache>,
}

deref_to_services!(TokenContext);

/// Handle of the tokens.
#[derive(Clone)]
pub struct TokensHandle(pub(crate) Arc<TokenContext>);

impl TokensHandle {
    /// Authenticates by the text of a token; `None` if it is not valid.
    pub fn authenticate(&self, text: &str) -> Option<AuthenticatedToken> {
        self.0.token_cache.find_by_text(&self.0.services, text)
    }

    /// Authenticates by the secret of a session; `None` if it is not valid.
    pub fn authenticate_session(&self, secret: &str) -> Option<AuthenticatedToken> {
        self.0.token_cache.find_by_session(&self.0.services, secret)
    }

    /// Authenticates by the SHA-256 of a certificate, in hex.
    pub fn authenticate_certificate(&self, fingerprint: &str) -> Option<AuthenticatedToken> {
        self.0.token_cache.find_by_certificate(&self.0.services, fingerprint)
    }

    /// Waits until what was shown is revoked, signed out or expired.
    pub async fn until_ended(&self, authenticated: &AuthenticatedToken) {
        self.0.token_cache.until_ended(&self.0.services, authenticated).await;
    }

    /// Begins a session of `lasts`, with the token that was shown; returns its secret, which is kept nowhere.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be stored.
    pub async fn begin_session(
        &self,
        authenticated: &AuthenticatedToken,
        lasts: Duration,
    ) -> Result<(SecretString, Timestamp), Error> {
        let now = self.0.clock.now();
        let expires_at =
            authenticated.token.expires_at.map_or(now.plus(lasts), |end| end.min(now.plus(lasts)));
        let text = SecretString::from(random::secret_text());
        let digest = digest(text.expose_secret());
        let session =
            Session { digest, token_id: authenticated.token.id.clone(), created_at: now, expires_at };
        let mut unit = Unit::new(now, authenticated.token.holder(), "tokens");
        unit.change(Change::BeginSession { session, most: SESSIONS_OF_TOKEN });
        self.commit(unit).await?;
        Ok((text, expires_at))
    }

    /// Commits a change of tokens or sessions and makes it count; both happen even if the caller goes away.
    async fn commit(&self, unit: Unit) -> Result<(), Error> {
        let context = Arc::clone(&self.0);
        let work = async move {
            context.store.commit(unit).await?;
            context.token_cache.reload(&context).await
        };
        self.0.run_to_completion("a change of the tokens", work).await
    }

    /// Ends a session, by the digest that [`AuthenticatedToken::session`] gives.
    ///
    /// # Errors
    /// [`Error::Store`] when that cannot be stored.
    pub async fn end_session(&self, caller: &Caller, digest: String) -> Result<(), Error> {
        let mut unit = caller.unit(self.0.clock.now(), "tokens");
        unit.change(Change::EndSession(digest));
        self.commit(unit).await
    }

    /// A text for a token: 256 random bits.
    pub fn generate_text(&self) -> SecretString {
        SecretString::from(format!("arb_{}", random::secret_text()))
    }

    /// Makes a token. Its text is returned once and kept nowhere.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong field.
    pub async fn create(&self, caller: &Caller, new: NewToken) -> Result<(Token, SecretString), Error> {
        let text = self.generate_text();
        Ok((self.create_with_text(caller, new, &text).await?, text))
    }

    /// Makes a token that is proved by a client certificate, by its SHA-256 in hex.
    ///
    /// # Errors
    /// As [`TokensHandle::create`]; [`Error::Refused`] when another token has the certificate.
    pub async fn create_for_certificate(
        &self,
        caller: &Caller,
        new: NewToken,
        fingerprint: String,
    ) -> Result<Token, Error> {
        let known = self.0.store.tokens().await?;
        if let Some(other) = known.iter().find(|token| token.digest == fingerprint) {
            let detail = format!("token {} has this certificate already", other.id);
            return Err(Refusal::conflict(ProblemCode::Exists, detail).into());
        }
        self.add(caller, new, Proof::Certificate, fingerprint).await
    }

    /// Creates a token with a given text, for callers that must store the text first.
    ///
    /// # Errors
    /// As [`TokensHandle::create`].
    pub async fn create_with_text(
        &self,
        caller: &Caller,
        new: NewToken,
        text: &SecretString,
    ) -> Result<Token, Error> {
        self.add(caller, new, Proof::Text, digest(text.expose_secret())).await
    }

    async fn add(
        &self,
        caller: &Caller,
        new: NewToken,
        proof: Proof,
        digest: String,
    ) -> Result<Token, Error> {
        let now = self.0.clock.now();
        let mut problems = Problems::default();
        problems.require(
            limits::is_name_length(&new.name),
            "name",
            limits::must_have_chars(&limits::NAME_CHARS),
        );
        let agent = new.role != Role::Agent || new.agent_id.is_some();
        problems.require(agent, "agent_id", "must be given for a token with the role agent");
        let held_by_one = new.agent_id.is_none() || new.user.is_none();
        problems.require(
            held_by_one,
            "user",
            "must not be given beside agent_id; a token is held by one of them",
        );
        let limitable =
            new.projects.is_none() || matches!(new.role, Role::Operator | Role::Viewer | Role::Agent);
        problems.require(limitable, "projects", "must not limit an admin");
        let few = new.projects.as_ref().is_none_or(|list| (1..=PROJECTS_OF_TOKEN).contains(&list.len()));
        problems.require(few, "projects", format!("must name 1 to {PROJECTS_OF_TOKEN} projects"));
        let ahead = new.expires_at.is_none_or(|end| end > now);
        problems.require(ahead, "expires_at", "must be in the future");
        problems.finish()?;
        if let Some(agent) = &new.agent_id
            && self.0.store.agent(agent.clone()).await?.is_none()
        {
            return Err(Refusal::field("agent_id", format!("no agent has the id {agent}")).into());
        }
        for project in new.projects.iter().flatten() {
            if self.0.store.project(project.clone()).await?.is_none() {
                return Err(Refusal::field("projects", format!("no project has the id {project}")).into());
            }
        }
        let id = TokenId::from_random(random::bytes16());
        let name = new.name;
        let token = Token {
            id,
            name: name.clone(),
            role: new.role,
            user: new.user.or_else(|| new.agent_id.is_none().then(|| name.clone())),
            agent_id: new.agent_id,
            projects: new.projects,
            proof,
            digest,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
        };
        let mut unit = caller.unit(now, "tokens");
        let data = json!({
            "name": token.name, "role": token.role, "user": token.user, "agent_id": token.agent_id,
            "projects": token.projects, "proof": token.proof, "expires_at": token.expires_at,
        });
        unit.emit(NewEvent::of(EventType::TokenCreated, token.id.as_str(), data));
        unit.change(Change::PutToken(token.clone()));
        self.commit(unit).await?;
        Ok(token)
    }

    /// Revokes a token; it stops to work before this returns.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such token.
    pub async fn revoke(&self, caller: &Caller, id: &TokenId) -> Result<(), Error> {
        let mut unit = caller.unit(self.0.clock.now(), "tokens");
        unit.emit(NewEvent::of(EventType::TokenRevoked, id.as_str(), json!({})));
        unit.change(Change::RevokeToken(id.clone()));
        self.commit(unit).await
    }
}

/// Adds the revocation of all tokens of an agent to a unit. The caller reloads the cache after the commit.
pub(crate) async fn revoke_all(store: &Store, unit: &mut Unit, agent: &Agent) -> Result<(), Error> {
    for token in store.tokens().await? {
        if token.agent_id.as_deref() == Some(agent.id.as_str()) {
            let data = json!({"reason": format!("agent {} was deleted", agent.id)});
            unit.emit(NewEvent::of(EventType::TokenRevoked, token.id.as_str(), data));
            unit.change(Change::RevokeToken(token.id));
        }
    }
    Ok(())
}
