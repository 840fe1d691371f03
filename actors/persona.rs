//! Personas: the handle that reads and changes them. A user's own persona comes before a built-in one.
//!
//! Not an actor: a persona is a file that is read anew each time. `change` and `draft` change files so that a crash
//! in between leaves a whole persona; `directory` reads them.

pub(crate) mod builtin;
pub(crate) mod change;
pub(crate) mod directory;
pub(crate) mod draft;
pub(crate) mod presence;

use crate::error::Error;
use crate::persona::directory::PersonaDir;
use crate::services::{Services, deref_to_services};
use arbiter_core::agent::Agent;
use arbiter_core::agent::autonomy::Autonomy;
use arbiter_core::agent::persona::{Persona, PersonaOrigin, lookup_names};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::StoreError;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

/// A persona and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaEntry {
    pub persona: Persona,
    pub origin: PersonaOrigin,
}

impl PersonaEntry {
    /// Returns whether it stands before one that Arbiter brings along.
    pub fn is_shadowing(&self) -> bool {
        self.origin == PersonaOrigin::User && builtin::get(&self.persona.name).is_some()
    }

    /// Another number for any other text.
    pub fn revision(&self) -> u64 {
        self.persona.revision(self.origin)
    }
}

/// A persona without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonaSummary {
    pub name: String,
    pub title: String,
    pub autonomy: Autonomy,
    pub origin: PersonaOrigin,
    pub is_shadowing: bool,
    /// Another number for any other text.
    pub revision: u64,
}

impl From<&PersonaEntry> for PersonaSummary {
    fn from(known: &PersonaEntry) -> Self {
        Self {
            name: known.persona.name.clone(),
            title: known.persona.title().to_owned(),
            autonomy: known.persona.autonomy(),
            origin: known.origin,
            is_shadowing: known.is_shadowing(),
            revision: known.revision(),
        }
    }
}

/// The shelf, and whose turn it is to change it.
pub(crate) struct PersonaStore {
    persona_dir: PersonaDir,
    change_lock: Arc<Mutex<()>>,
    /// The log tells of personas of the user, so that their directory has to be there.
    is_expected: AtomicBool,
}

impl PersonaStore {
    /// Opens the personas of a data directory.
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            persona_dir: PersonaDir::new(data),
            change_lock: Arc::default(),
            is_expected: AtomicBool::new(false),
        }
    }

    /// Acquires the lock for changes.
    pub(crate) async fn change_lock(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.change_lock).lock_owned().await
    }

    /// Does something with the shelf on a thread for that.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PersonaDir) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let persona_dir = self.persona_dir.clone();
        let done = spawn_blocking(move || work(&persona_dir)).await;
        Ok(done.map_err(|_| Error::Crashed { actor: "the reader of personas".to_owned() })??)
    }

    /// The persona of exactly this name.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<PersonaEntry>, Error> {
        let wanted = name.to_owned();
        if let Some(persona) = self.with(move |persona_dir| persona_dir.read(&wanted)).await? {
            return Ok(Some(PersonaEntry { persona, origin: PersonaOrigin::User }));
        }
        let found = builtin::get(name);
        Ok(found.map(|persona| PersonaEntry { persona, origin: PersonaOrigin::BuiltIn }))
    }

    /// Finds a persona by name; a name without a folder may be a built-in one.
    async fn find(&self, name: &str) -> Result<Option<PersonaEntry>, Error> {
        for name in lookup_names(name) {
            if let Some(known) = self.get(&name).await? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Returns the current persona of an agent; `None` if it has been deleted meanwhile.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not found because the directory of personas has vanished.
    pub(crate) async fn of(&self, agent: &Agent) -> Result<Option<Persona>, Error> {
        let Some(name) = &agent.persona_name else { return Ok(None) };
        let found = self.find(name).await?;
        if found.is_none() {
            self.require_present().await?;
            tracing::warn!(agent = %agent.id, persona = name, "an agent's persona is not there");
        }
        Ok(found.map(|known| known.persona))
    }

    /// Refuses a name that means no persona.
    pub(crate) async fn check(&self, field: &str, name: &str) -> Result<(), Error> {
        match self.find(name).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::field(field, format!("no persona has the name {name}")).into()),
        }
    }
}

/// The parts that the personas use.
pub(crate) struct PersonaContext {
    pub(crate) services: Arc<Services>,
    pub(crate) personas: Arc<PersonaStore>,
}

deref_to_services!(PersonaContext);

/// Handle of the personas.
#[derive(Clone)]
pub struct PersonasHandle(pub(crate) Arc<PersonaContext>);

impl PersonasHandle {
    /// Returns all personas by name. An unreadable one is skipped and logged.
    ///
    /// # Errors
    /// [`Error::Store`] when the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<PersonaSummary>, Error> {
        let own = self.0.personas.with(|persona_dir| {
            let mut found = Vec::new();
            for name in persona_dir.names()? {
                match persona_dir.read(&name) {
                    Ok(Some(persona)) => {
                        found.push(PersonaSummary::from(&PersonaEntry {
                            persona,
                            origin: PersonaOrigin::User,
                        }));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(name, %error, "a persona cannot be read"),
                }
            }
            Ok(found)
        });
        let own = own.await?;
        let ours = builtin::names().filter_map(builtin::get);
        let ours = ours
            .map(|persona| PersonaSummary::from(&PersonaEntry { persona, origin: PersonaOrigin::BuiltIn }));
        let mut all: BTreeMap<String, PersonaSummary> = BTreeMap::new();
        for summary in ours.chain(own) {
            all.insert(summary.name.clone(), summary);
        }
        Ok(all.into_values().collect())
    }

    /// Returns a persona by the name that agents use for it.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub async fn get(&self, name: &str) -> Result<PersonaEntry, Error> {
        let found = self.0.personas.find(name).await?;
        found.ok_or_else(|| Refusal::not_found("persona", name).into())
    }

    /// Returns the autonomy of an agent from its persona; `None` without one.
    ///
    /// # Errors
    /// [`Error::Store`] when its persona cannot be read.
    pub async fn autonomy_of(&self, agent: &Agent) -> Result<Autonomy, Error> {
        let persona = self.0.personas.of(agent).await?;
        Ok(persona.map_or(Autonomy::Supervised, |persona| persona.autonomy()))
    }
}
