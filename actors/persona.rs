//! Personas as others reach them: those that Arbiter brings along, and the user's own, which come before them.
//!
//! Not an actor: what is read is a file, and the few changes take turns. The order of a change is: written beside its
//! place, told in the log, put in its place.

use crate::caller::{Caller, Cascade};
use crate::fault::Fault;
use crate::persona_builtin as builtin;
use crate::persona_shelf::{MAX_PERSONAS, Shelf};
use crate::shared::Shared;
use arbiter_core::agent::{self, Agent};
use arbiter_core::autonomy::Autonomy;
use arbiter_core::event::NewEvent;
use arbiter_core::event_type::EventType;
use arbiter_core::lease::digest;
use arbiter_core::persona::{DEFAULT_FOLDER, Origin, Persona, candidates};
use arbiter_core::refusal::Refusal;
use arbiter_store::{Change, StoreError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;

/// A persona and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPersona {
    /// The persona.
    pub persona: Persona,
    /// Whose it is.
    pub origin: Origin,
}

impl KnownPersona {
    /// Whether it stands before one that Arbiter brings along.
    pub fn is_shadowing(&self) -> bool {
        self.origin == Origin::User && builtin::get(&self.persona.name).is_some()
    }
}

/// A persona without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaSummary {
    /// Its name.
    pub name: String,
    /// Its first heading.
    pub title: String,
    /// How much it decides by itself.
    pub autonomy: Autonomy,
    /// Whose it is.
    pub origin: Origin,
    /// Whether it stands before one that Arbiter brings along.
    pub is_shadowing: bool,
}

impl From<&KnownPersona> for PersonaSummary {
    fn from(known: &KnownPersona) -> Self {
        Self {
            name: known.persona.name.clone(),
            title: known.persona.title().to_owned(),
            autonomy: known.persona.autonomy(),
            origin: known.origin,
            is_shadowing: known.is_shadowing(),
        }
    }
}

/// The shelf, and whose turn it is to change it.
pub(crate) struct Personas {
    shelf: Shelf,
    turn: Mutex<()>,
}

impl Personas {
    /// Those of a data directory.
    pub(crate) fn new(data: &Path) -> Self {
        Self { shelf: Shelf::new(data), turn: Mutex::default() }
    }

    /// Deletes what an earlier process left half done.
    pub(crate) async fn tidy(&self) {
        let shelf = self.shelf.clone();
        // Leftovers are in nobody's way.
        let _ = spawn_blocking(move || shelf.tidy()).await;
    }

    /// Does something with the shelf on a thread for that.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let shelf = self.shelf.clone();
        let done = spawn_blocking(move || work(&shelf)).await;
        Ok(done.map_err(|_| Fault::Crashed { actor: "the reader of personas".to_owned() })??)
    }

    /// The persona of exactly this name.
    async fn get(&self, name: &str) -> Result<Option<KnownPersona>, Fault> {
        let wanted = name.to_owned();
        if let Some(persona) = self.with(move |shelf| shelf.read(&wanted)).await? {
            return Ok(Some(KnownPersona { persona, origin: Origin::User }));
        }
        let found = builtin::get(name);
        Ok(found.map(|persona| KnownPersona { persona, origin: Origin::BuiltIn }))
    }

    /// The persona that somebody means by a name: one without a folder may be one of ours.
    async fn find(&self, name: &str) -> Result<Option<KnownPersona>, Fault> {
        for name in candidates(name) {
            if let Some(known) = self.get(&name).await? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// The persona of an agent, as it is now. Its work goes on without one that has gone meanwhile.
    pub(crate) async fn of(&self, agent: &Agent) -> Result<Option<Persona>, Fault> {
        let Some(name) = &agent.persona_name else { return Ok(None) };
        let found = self.find(name).await?;
        if found.is_none() {
            tracing::warn!(agent = %agent.id, persona = name, "an agent's persona is not there");
        }
        Ok(found.map(|known| known.persona))
    }

    /// Refuses a name that means no persona.
    pub(crate) async fn check(&self, field: &str, name: &str) -> Result<(), Fault> {
        match self.find(name).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::field(field, format!("no persona has the name {name}")).into()),
        }
    }
}

/// How others reach personas.
#[derive(Clone)]
pub struct PersonasHandle(pub(crate) Arc<Shared>);

impl PersonasHandle {
    /// All of them, by name. One that cannot be read is left out and told of in the log.
    ///
    /// # Errors
    /// [`Fault::Store`] when the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<PersonaSummary>, Fault> {
        let own = self.0.personas.with(|shelf| {
            let mut found = Vec::new();
            for name in shelf.names()? {
                match shelf.read(&name) {
                    Ok(Some(persona)) => {
                        found.push(PersonaSummary::from(&KnownPersona { persona, origin: Origin::User }));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(name, %error, "a persona cannot be read"),
                }
            }
            Ok(found)
        });
        let own = own.await?;
        let ours = builtin::names().filter_map(builtin::get);
        let ours =
            ours.map(|persona| PersonaSummary::from(&KnownPersona { persona, origin: Origin::BuiltIn }));
        let mut all: BTreeMap<String, PersonaSummary> = BTreeMap::new();
        for summary in ours.chain(own) {
            all.insert(summary.name.clone(), summary);
        }
        Ok(all.into_values().collect())
    }

    /// The persona that somebody means by a name, as agents name theirs.
    ///
    /// # Errors
    /// [`Fault::Refused`] when there is none.
    pub async fn get(&self, name: &str) -> Result<KnownPersona, Fault> {
        let found = self.0.personas.find(name).await?;
        found.ok_or_else(|| Refusal::not_found("persona", name).into())
    }

    /// A new one of the user's; it may have the name of one of ours and then stands before that.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a wrong name or text, and when the user has one of that name.
    pub async fn create(&self, caller: &Caller, persona: Persona) -> Result<KnownPersona, Fault> {
        persona.check()?;
        let turn = self.0.personas.turn.lock().await;
        let before = self.0.personas.get(&persona.name).await?;
        if before.as_ref().is_some_and(|known| known.origin == Origin::User) {
            return Err(Refusal::Exists { entity: "persona", id: persona.name }.into());
        }
        let count = self.0.personas.with(Shelf::names).await?.len();
        if count >= MAX_PERSONAS {
            let detail = format!("there are {count} personas already, which is as many as may be");
            return Err(Refusal::conflict("conflict", detail).into());
        }
        self.put(caller, persona, before, &turn).await
    }

    /// Changes a persona; one of ours gets one of the user's before it.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a wrong text, and when there is none of that name.
    pub async fn replace(&self, caller: &Caller, persona: Persona) -> Result<KnownPersona, Fault> {
        let turn = self.0.personas.turn.lock().await;
        let before = self.get(&persona.name).await?;
        let persona = Persona { name: before.persona.name.clone(), ..persona };
        persona.check()?;
        self.put(caller, persona, Some(before), &turn).await
    }

    async fn put(
        &self,
        caller: &Caller,
        persona: Persona,
        before: Option<KnownPersona>,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<KnownPersona, Fault> {
        let shared = &self.0;
        let known = KnownPersona { persona, origin: Origin::User };
        if before.as_ref() == Some(&known) {
            return Ok(known);
        }
        let wanted = known.persona.clone();
        let staged = shared.personas.with(move |shelf| {
            shelf.check_place(&wanted.name)?;
            shelf.check_contents(&wanted.name)?;
            shelf.stage(&wanted)
        });
        let staged = staged.await?;
        let data = json!({"changes": changes(before.as_ref(), &known)});
        let mut unit = caller.unit(shared.clock.now(), "personas");
        unit.tell(NewEvent::of(EventType::PersonaUpdated, known.persona.name.clone(), data));
        shared.store.commit(unit).await?;
        let name = known.persona.name.clone();
        shared.personas.with(move |shelf| shelf.install(staged, &name)).await?;
        Ok(known)
    }

    /// Deletes one of the user's; one of ours that it stood before is back then. With [`Cascade::Yes`] agents that would
    /// miss it go on without one.
    ///
    /// # Errors
    /// [`Fault::Refused`] for one of ours, and else for one that agents would miss.
    pub async fn delete(&self, caller: &Caller, name: &str, cascade: Cascade) -> Result<(), Fault> {
        let shared = &self.0;
        let _turn = shared.personas.turn.lock().await;
        let known = self.get(name).await?;
        let name = known.persona.name.as_str();
        if known.origin == Origin::BuiltIn {
            let detail =
                format!("persona {name} comes with Arbiter and cannot be deleted, only stood before");
            return Err(Refusal::conflict("built-in-persona", detail).into());
        }
        let wanted = name.to_owned();
        shared.personas.with(move |shelf| shelf.check_contents(&wanted)).await?;
        let agents = if known.is_shadowing() { vec![] } else { self.players(name).await? };
        if let (Cascade::No, [first, ..]) = (cascade, agents.as_slice()) {
            let count = agents.len();
            let detail = format!(
                "{count} agents play persona {name}, {} first; use cascade=true to take it from them",
                first.id
            );
            return Err(Refusal::conflict("in-use", detail).into());
        }
        let mut unit = caller.unit(shared.clock.now(), "personas");
        for agent in &agents {
            let without = Agent { persona_name: None, ..agent.clone() };
            let happenings = agent.decide(&agent::Command::Update(Box::new(without)))?;
            unit.happen(agent, &happenings, Change::Agent);
        }
        let data = json!({"is_shadowing": known.is_shadowing()});
        unit.tell(NewEvent::of(EventType::PersonaDeleted, name, data));
        shared.store.commit(unit).await?;
        let name = name.to_owned();
        shared.personas.with(move |shelf| shelf.remove(&name)).await
    }

    /// How much an agent decides by itself, as its persona says; nothing without one.
    ///
    /// # Errors
    /// [`Fault::Store`] when its persona cannot be read.
    pub async fn autonomy_of(&self, agent: &Agent) -> Result<Autonomy, Fault> {
        let persona = self.0.personas.of(agent).await?;
        Ok(persona.map_or(Autonomy::Supervised, |persona| persona.autonomy()))
    }

    /// The agents that play a persona, whichever way they name it.
    async fn players(&self, name: &str) -> Result<Vec<Agent>, Fault> {
        let short = name.strip_prefix(&format!("{DEFAULT_FOLDER}/")).map(str::to_owned);
        let names = std::iter::once(name.to_owned()).chain(short).collect();
        Ok(self.0.store.agents_of_persona(names).await?)
    }
}

/// What a change of a persona tells: texts by their digests, since they are long and may be read at any time.
fn changes(before: Option<&KnownPersona>, after: &KnownPersona) -> Value {
    let part = |known: &KnownPersona| {
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
