//! API tokens: made, checked and revoked. Checks read a copy in memory that every change replaces.

use crate::caller::Caller;
use crate::entropy;
use crate::fault::Fault;
use crate::shared::Shared;
use arbiter_core::event::NewEvent;
use arbiter_core::event_type::EventType;
use arbiter_core::ids::TokenId;
use arbiter_core::lease::digest;
use arbiter_core::refusal::{Problems, Refusal};
use arbiter_core::time::Timestamp;
use arbiter_core::token::{Role, Token};
use arbiter_store::Change;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Tokens by the SHA-256 of their text. A lookup by digest tells an attacker nothing about the text.
#[derive(Default)]
pub(crate) struct TokenCache(RwLock<HashMap<String, Token>>);

impl TokenCache {
    /// Reads all tokens from the store.
    pub(crate) async fn load(&self, shared: &Shared) -> Result<(), Fault> {
        let tokens = shared.store.tokens().await?;
        let fresh = tokens.into_iter().map(|token| (token.digest.clone(), token)).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

/// A token that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The person who holds it.
    pub user: Option<String>,
    /// The agent that holds it.
    pub agent_id: Option<String>,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
}

/// How others reach the tokens.
#[derive(Clone)]
pub struct TokensHandle(pub(crate) Arc<Shared>);

impl TokensHandle {
    /// The valid token with this text.
    pub fn authenticate(&self, text: &str) -> Option<Token> {
        let tokens = self.0.token_cache.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&digest(text)).filter(|token| token.is_valid_at(self.0.clock.now())).cloned()
    }

    /// A text for a token: 256 random bits.
    pub fn draw(&self) -> SecretString {
        SecretString::from(format!("arb_{}", entropy::secret_text()))
    }

    /// Makes a token. Its text is returned once and kept nowhere.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a wrong field.
    pub async fn create(&self, caller: &Caller, new: NewToken) -> Result<(Token, SecretString), Fault> {
        let text = self.draw();
        Ok((self.accept(caller, new, &text).await?, text))
    }

    /// Makes a token of a text that was drawn before; for whoever has to keep the text first.
    ///
    /// # Errors
    /// As [`TokensHandle::create`].
    pub async fn accept(&self, caller: &Caller, new: NewToken, text: &SecretString) -> Result<Token, Fault> {
        let now = self.0.clock.now();
        let mut problems = Problems::default();
        problems.require((1..=200).contains(&new.name.chars().count()), "name", "has 1 to 200 characters");
        let agent = new.role != Role::Agent || new.agent_id.is_some();
        problems.require(agent, "agent_id", "is required of a token with the role agent");
        let ahead = new.expires_at.is_none_or(|end| end > now);
        problems.require(ahead, "expires_at", "lies in the past");
        problems.finish()?;
        if let Some(agent) = &new.agent_id
            && self.0.store.agent(agent.clone()).await?.is_none()
        {
            return Err(Refusal::field("agent_id", format!("no agent has the id {agent}")).into());
        }
        let id = TokenId::from_random(entropy::bytes16());
        let token = Token {
            id,
            name: new.name,
            role: new.role,
            user: new.user,
            agent_id: new.agent_id,
            digest: digest(text.expose_secret()),
            created_at: now,
            expires_at: new.expires_at,
        };
        let mut unit = caller.unit(now, "tokens");
        let data = json!({"name": token.name, "role": token.role, "agent_id": token.agent_id});
        unit.tell(NewEvent::of(EventType::TokenCreated, token.id.as_str(), data));
        unit.change(Change::PutToken(token.clone()));
        self.0.store.commit(unit).await?;
        self.0.token_cache.load(&self.0).await?;
        Ok(token)
    }

    /// Revokes a token; it stops to work before this returns.
    ///
    /// # Errors
    /// [`Fault::Refused`] when there is no such token.
    pub async fn revoke(&self, caller: &Caller, id: &TokenId) -> Result<(), Fault> {
        let mut unit = caller.unit(self.0.clock.now(), "tokens");
        unit.tell(NewEvent::of(EventType::TokenRevoked, id.as_str(), json!({})));
        unit.change(Change::RevokeToken(id.clone()));
        self.0.store.commit(unit).await?;
        self.0.token_cache.load(&self.0).await
    }
}
