//! Comparison of the vault with the log: changes that were begun are finished or forgotten, and what the log tells of
//! and never happened is said.
//!
//! A draft that an event names is finished, any other is forgotten. A deletion, an import or a change of the password is
//! told before the file is written, with the generation that the file has then: a file that still has it was not
//! written.

use crate::error::Error;
use crate::vault::actor::{Command, VaultActor};
use crate::vault::entries::{PROVIDER_KEY, orphans};
use arbiter_core::kernel::event::{Event, EventFilter, NewEvent, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::KeyId;
use arbiter_store::{EventRange, Unit};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The field of an event that names its draft.
pub(crate) const DRAFT: &str = "draft";
/// The field of an event with the generation of the key file before the write.
pub(crate) const GENERATION: &str = "generation";
/// The name of the timer of the next try to finish drafts.
const DRAFTS: &str = "drafts";
/// Events read from the log at once.
const CHUNK: u32 = 1_000;

impl VaultActor {
    /// Compares an opened vault with the log. A file that was rolled back is left as it is.
    pub(crate) async fn recover(&mut self) {
        if self.require_open().is_err() {
            return;
        }
        if let Err(error) = self.recover_drafts().await {
            tracing::warn!(%error, "could not finish the changes of keys that were begun");
            self.context.timers.set_retry(DRAFTS, Command::RecoverDrafts);
        }
        if let Err(error) = self.remove_left_behind().await {
            tracing::warn!(%error, "could not remove the keys of ended providers");
        }
    }

    /// Finishes or forgets every draft.
    pub(crate) async fn recover_drafts(&mut self) -> Result<(), Error> {
        let drafts = self.context.shared.open_vault.snapshot().drafts().to_vec();
        for (draft, key) in drafts {
            let is_told = self.is_told(&draft, &key.id).await?;
            tracing::info!(key = %key.id, is_told, "a change of a key that was begun is ended");
            self.end_draft(draft, is_told).await?;
        }
        Ok(())
    }

    /// Finishes a draft whose commit holds; tries again a moment later when that fails.
    pub(crate) async fn finish_soon(&mut self, draft: KeyId) {
        if let Err(error) = self.end_draft(draft, true).await {
            tracing::error!(%error, "could not put the new value of a key in its place; it is tried again");
            self.context.timers.set_retry(DRAFTS, Command::RecoverDrafts);
        }
    }

    async fn end_draft(&mut self, draft: KeyId, is_told: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.context.shared);
        let writing = shared.open_vault.work(&shared, move |vault| {
            if is_told {
                vault.finish_draft(&draft)?
            } else {
                vault.forget_draft(&draft)?
            }
            Ok(vault.generation())
        });
        let generation = writing.await?;
        self.record_generation(generation).await;
        Ok(())
    }

    /// Returns whether an event about the key names the draft.
    async fn is_told(&self, draft: &KeyId, key: &KeyId) -> Result<bool, Error> {
        let types = vec![EventType::KeyStored, EventType::KeyUpdated];
        let events = self.events_about(types, key.as_str()).await?;
        Ok(events.iter().any(|event| event.data[DRAFT] == draft.as_str()))
    }

    /// Reads all events of these types about a subject.
    async fn events_about(&self, types: Vec<EventType>, subject: &str) -> Result<Vec<Event>, Error> {
        let types = types.into_iter().map(TypePattern::Exactly).collect();
        let filter = EventFilter { types, subject: Some(subject.to_owned()), ..EventFilter::default() };
        let mut found = Vec::new();
        let keep = |event| {
            found.push(event);
            ControlFlow::Continue(())
        };
        self.context.shared.store.scan_events(filter, 0, keep).await?;
        Ok(found)
    }

    /// Returns the changes that the log tells of and that were not made: those told when the file had the generation
    /// that it still has.
    pub(crate) async fn unfinished(&self, generation: u64) -> Result<Vec<Event>, Error> {
        let types = [
            EventType::KeyDeleted,
            EventType::KeyStored,
            EventType::KeyUpdated,
            EventType::VaultPasswordChanged,
            EventType::VaultRollbackAccepted,
        ];
        let types = types.map(TypePattern::Exactly).to_vec();
        let filter = EventFilter { types, ..EventFilter::default() };
        let (_, last) = self.context.shared.store.event_bounds().await?;
        let range = EventRange { before: Some(last + 1), filter, limit: CHUNK, ..EventRange::default() };
        let mut events = self.context.shared.store.events(range).await?.events;
        // Before a rollback was accepted, generations were those of another file.
        if let Some(at) = events.iter().rposition(|event| event.kind == EventType::VaultRollbackAccepted) {
            events.drain(..=at);
        }
        events.retain(|event| event.data[GENERATION] == generation);
        Ok(events)
    }

    /// Finishes the deletions among the unfinished changes.
    pub(crate) async fn finish_deletions(&mut self, unfinished: &[Event]) -> Result<(), Error> {
        for event in unfinished.iter().filter(|event| event.kind == EventType::KeyDeleted) {
            let id = KeyId::from_trusted(event.subject.clone());
            if self.context.shared.open_vault.has_key(id.as_str()) {
                self.remove(id).await?;
            }
        }
        Ok(())
    }

    /// Removes the keys that deleted providers have left.
    async fn remove_left_behind(&mut self) -> Result<(), Error> {
        for id in orphans(&self.context.shared).await? {
            if self.is_left_behind(&id).await? {
                let data = self.at_generation(json!({"reason": "its provider has ended"}));
                let mut unit = Unit::new(self.context.shared.clock.now(), "system", "vault");
                unit.emit(NewEvent::of(EventType::KeyDeleted, id.clone(), data));
                self.commit(unit).await?;
                self.remove(KeyId::from_trusted(id)).await?;
            }
        }
        Ok(())
    }

    /// Returns whether a key belonged to a provider that was deleted since. A key that no event tells of may come from
    /// another program, so it stays.
    pub(crate) async fn is_left_behind(&self, id: &str) -> Result<bool, Error> {
        let is_orphan = orphans(&self.context.shared).await?.iter().any(|orphan| orphan == id);
        let Some(provider) = id.strip_prefix(PROVIDER_KEY).filter(|_| is_orphan) else { return Ok(false) };
        let stored = self.events_about(vec![EventType::KeyStored, EventType::KeyUpdated], id).await?;
        let ended = self.events_about(vec![EventType::ProviderDeleted], provider).await?;
        let stored = stored.last().map_or(0, |event| event.seq);
        Ok(ended.last().is_some_and(|event| event.seq > stored))
    }
}

/// Describes unfinished changes in the event of the unlock.
pub(crate) fn describe(unfinished: &[Event]) -> Value {
    unfinished
        .iter()
        .map(|event| json!({"type": event.kind, "subject": event.subject, "seq": event.seq}))
        .collect()
}
