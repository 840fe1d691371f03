//! Changes of personas: drafted, recorded in the log, then put in place. The log is decisive.
//!
//! Owns the lock of changes. A draft with its event in the log is finished at the next start or before the next
//! change, if not at once. A draft without its event is deleted. A change that has begun is completed, even if
//! its caller has gone.

use crate::caller::{Caller, Cascade};
use crate::error::Error;
use crate::persona::directory::{MAX_PERSONAS, PersonaDir};
use crate::persona::draft::{Draft, DraftOp};
use crate::persona::{PersonaEntry, PersonasHandle};
use arbiter_core::agent::persona::{DEFAULT_FOLDER, Persona, PersonaOrigin};
use arbiter_core::agent::{self, Agent};
use arbiter_core::kernel::event::{Event, EventFilter, NewEvent, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::lease::digest;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, Unit};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedMutexGuard;

/// The field of an event that names its draft.
const DRAFT: &str = "draft";
/// The work that is reported when it fails.
const CHANGE: &str = "a change of a persona";

impl PersonasHandle {
    /// Creates a persona of the user; it may shadow a built-in one of the same name.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong name or text, when the user has one of that name, and while the directory is
    /// missing.
    pub async fn create(&self, caller: &Caller, persona: Persona) -> Result<PersonaEntry, Error> {
        persona.check()?;
        let (this, caller) = (self.clone(), caller.clone());
        self.0.run_to_completion(CHANGE, async move { this.add(&caller, persona).await }).await
    }

    /// Changes a persona; a change of a built-in one creates a persona of the user that shadows it.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong text, when there is none of that name, and when it is another revision than the
    /// caller's.
    pub async fn replace(&self, caller: &Caller, persona: Persona) -> Result<PersonaEntry, Error> {
        let (this, caller) = (self.clone(), caller.clone());
        self.0.run_to_completion(CHANGE, async move { this.edit(&caller, persona).await }).await
    }

    /// Deletes one of the user's; one of ours that it stood before is back then. With [`Cascade::Yes`] agents that would
    /// miss it go on without one.
    ///
    /// # Errors
    /// [`Error::Refused`] for one of ours, for another revision than the caller's, and else for one that agents would
    /// miss.
    pub async fn delete(&self, caller: &Caller, name: &str, cascade: Cascade) -> Result<(), Error> {
        let (this, caller, name) = (self.clone(), caller.clone(), name.to_owned());
        self.0
            .run_to_completion(CHANGE, async move { this.remove_persona(&caller, &name, cascade).await })
            .await
    }

    /// Puts right what an earlier process left half done.
    pub(crate) async fn tidy(&self) {
        let _guard = self.0.personas.change_lock().await;
        if let Err(error) = self.recover_drafts().await {
            tracing::warn!(%error, "a change of a persona that was begun cannot be ended yet");
        }
        // A file that stays behind does no harm.
        let _ = self
            .0
            .personas
            .with(|persona_dir| {
                persona_dir.tidy();
                Ok(())
            })
            .await;
    }

    /// The turn of a change, with all earlier ones ended.
    async fn change_lock(&self) -> Result<OwnedMutexGuard<()>, Error> {
        let change_lock = self.0.personas.change_lock().await;
        self.0.personas.require_present().await?;
        self.recover_drafts().await?;
        Ok(change_lock)
    }

    async fn add(&self, caller: &Caller, persona: Persona) -> Result<PersonaEntry, Error> {
        let _guard = self.change_lock().await?;
        let before = self.0.personas.get(&persona.name).await?;
        if before.as_ref().is_some_and(|known| known.origin == PersonaOrigin::User) {
            return Err(Refusal::Exists { entity: "persona", id: persona.name }.into());
        }
        let count = self.0.personas.with(PersonaDir::names).await?.len();
        if count >= MAX_PERSONAS {
            let detail = format!("there are {count} personas already, which is as many as may be");
            return Err(Refusal::conflict(ProblemCode::Conflict, detail).into());
        }
        self.put(caller, persona, before).await
    }

    async fn edit(&self, caller: &Caller, persona: Persona) -> Result<PersonaEntry, Error> {
        let _guard = self.change_lock().await?;
        let before = self.get(&persona.name).await?;
        check_persona_revision(caller, &before)?;
        let persona = Persona { name: before.persona.name.clone(), ..persona };
        persona.check()?;
        self.put(caller, persona, Some(before)).await
    }

    async fn put(
        &self,
        caller: &Caller,
        persona: Persona,
        before: Option<PersonaEntry>,
    ) -> Result<PersonaEntry, Error> {
        let known = PersonaEntry { persona, origin: PersonaOrigin::User };
        if before.as_ref() == Some(&known) {
            return Ok(known);
        }
        let draft = self.draft(DraftOp::Put, known.persona.clone()).await?;
        let data = json!({"changes": changes(before.as_ref(), &known), DRAFT: draft.id});
        let mut unit = caller.unit(self.0.clock.now(), "personas");
        unit.emit(NewEvent::of(EventType::PersonaUpdated, known.persona.name.clone(), data));
        self.commit_and_finish(unit, draft).await?;
        Ok(known)
    }

    async fn remove_persona(&self, caller: &Caller, name: &str, cascade: Cascade) -> Result<(), Error> {
        let _guard = self.change_lock().await?;
        let known = self.get(name).await?;
        check_persona_revision(caller, &known)?;
        let name = known.persona.name.as_str();
        if known.origin == PersonaOrigin::BuiltIn {
            let detail =
                format!("persona {name} comes with Arbiter and cannot be deleted, only stood before");
            return Err(Refusal::conflict(ProblemCode::BuiltInPersona, detail).into());
        }
        let agents = if known.is_shadowing() { vec![] } else { self.agents_using(name).await? };
        if let (Cascade::No, [first, ..]) = (cascade, agents.as_slice()) {
            let count = agents.len();
            let detail = format!(
                "{count} agents play persona {name}, {} first; use cascade=true to take it from them",
                first.id
            );
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        let mut unit = caller.unit(self.0.clock.now(), "personas");
        for agent in &agents {
            let without = Agent { persona_name: None, ..agent.clone() };
            let happenings = agent.decide(&agent::Command::Update(Box::new(without)))?;
            unit.apply(agent, &happenings, Change::Agent);
        }
        let draft = self.draft(DraftOp::Remove, known.persona.clone()).await?;
        let data = json!({"is_shadowing": known.is_shadowing(), DRAFT: draft.id});
        unit.emit(NewEvent::of(EventType::PersonaDeleted, name, data));
        self.commit_and_finish(unit, draft).await
    }

    /// Prepares a change that nothing on the disk is against.
    async fn draft(&self, op: DraftOp, persona: Persona) -> Result<Draft, Error> {
        let after = self.0.store.stats().last_seq.load(Ordering::Acquire);
        let draft = self.0.personas.with(move |persona_dir| {
            if op == DraftOp::Put {
                persona_dir.check_path(&persona.name)?;
            }
            persona_dir.check_contents(&persona.name)?;
            persona_dir.draft(op, &persona, after)
        });
        draft.await
    }

    async fn commit_and_finish(&self, unit: Unit, draft: Draft) -> Result<(), Error> {
        let shared = &self.0;
        shared.fault_injection.panic_if_armed("persona", "drafted");
        if let Err(error) = shared.store.commit(unit).await {
            // Whether it is in the log is asked there: a store that failed may not have known. What cannot be answered
            // now is asked again before the next change.
            let _ = self.recover_draft(draft).await;
            return Err(error.into());
        }
        shared.fault_injection.panic_if_armed("persona", "told");
        shared.personas.with(move |persona_dir| persona_dir.finish(&draft)).await
    }

    /// Ends all changes that were begun.
    async fn recover_drafts(&self) -> Result<(), Error> {
        for draft in self.0.personas.with(PersonaDir::drafts).await? {
            self.recover_draft(draft).await?;
        }
        Ok(())
    }

    async fn recover_draft(&self, draft: Draft) -> Result<(), Error> {
        let is_told = self.is_told(&draft).await?;
        tracing::info!(persona = draft.name, is_told, "a change of a persona that was begun is ended");
        let end = move |persona_dir: &PersonaDir| {
            if is_told {
                return persona_dir.finish(&draft);
            }
            persona_dir.discard(&draft);
            Ok(())
        };
        self.0.personas.with(end).await
    }

    /// Returns whether the log contains the event of a draft.
    async fn is_told(&self, draft: &Draft) -> Result<bool, Error> {
        let types = [EventType::PersonaUpdated, EventType::PersonaDeleted].map(TypePattern::Exactly).to_vec();
        let filter = EventFilter { types, subject: Some(draft.name.clone()), ..EventFilter::default() };
        let mut is_found = false;
        let look = |event: Event| {
            is_found = event.data[DRAFT] == draft.id.as_str();
            if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.0.store.scan_events(filter, draft.after, look).await?;
        Ok(is_found)
    }

    /// The agents that play a persona, whichever way they name it.
    async fn agents_using(&self, name: &str) -> Result<Vec<Agent>, Error> {
        let short = name.strip_prefix(&format!("{DEFAULT_FOLDER}/")).map(str::to_owned);
        let names = std::iter::once(name.to_owned()).chain(short).collect();
        Ok(self.0.store.agents_of_persona(names).await?)
    }
}

/// Refuses a caller who has seen another one than there is.
fn check_persona_revision(caller: &Caller, known: &PersonaEntry) -> Result<(), Refusal> {
    let revision = known.revision();
    if caller.if_match.is_some_and(|seen| seen != revision) {
        let (entity, id) = ("persona", known.persona.name.clone());
        return Err(Refusal::Precondition { entity, id, revision });
    }
    Ok(())
}

/// Builds the event data of a change: digests of the texts, which are long and readable at any time.
fn changes(before: Option<&PersonaEntry>, after: &PersonaEntry) -> Value {
    let part = |known: &PersonaEntry| {
        [
            ("persona", digest(&known.persona.persona)),
            ("start_here", digest(&known.persona.start_here)),
            ("autonomy", known.persona.autonomy().to_string()),
            ("origin", known.origin.to_string()),
        ]
    };
    let old = before.map(part);
    let changed = part(after).into_iter().enumerate().filter_map(|(place, (name, new))| {
        let old = old.as_ref().map(|old| old[place].1.clone());
        (old.as_ref() != Some(&new)).then(|| (name.to_owned(), json!({"old": old, "new": new})))
    });
    Value::Object(changed.collect())
}
