//! Arbiter inside another program: the same actors without HTTP.

use crate::app::{StartError, actor_settings, load_catalog};
use crate::config::Settings;
use arbiter_actors::{ActorSystem, Caller, Delivery, Error, Handles, Subscription, SystemClock};
use arbiter_core::agent::Agent;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::Provider;
use arbiter_core::provider::edit::NewProvider;
use arbiter_store::{DirectoryLock, StoreError};
use secrecy::SecretString;
use std::path::Path;
use std::sync::Arc;

/// A running Arbiter without HTTP. It lives on the tokio runtime (of several threads) that it was opened on.
///
/// Dropping it does not stop the actors in order; call [`Arbiter::close`].
///
/// ```
/// use arbiter::prelude::*;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let data_dir = home.path().join("data");
/// let arbiter = Arbiter::open(&data_dir, SecretString::from("a long password")).await?;
/// let mut events = arbiter.subscribe(|event| event.kind.as_str() == "agent.spawned").await?;
///
/// let mut provider =
///     NewProvider::named("OpenAI GPT-4", ProviderType::OpenAi, "https://api.openai.com/v1");
/// provider.id = Some("openai-gpt4".into());
/// provider.description = "OpenAI GPT-4 API".into();
/// provider.requires_key = Some(true);
/// provider.status = InitialStatus::Active;
/// arbiter.create_provider(provider, Some(SecretString::from("sk-..."))).await?;
///
/// let agent = NewAgent {
///     id: Some("coding-agent".into()),
///     name: "Coding Assistant".into(),
///     description: "AI coding assistant".into(),
///     provider_id: Some("openai-gpt4".into()),
///     status: InitialStatus::Active,
///     config: AgentConfig::read(&r#"{"model": "gpt-4", "temperature": 0.7}"#.into())?,
///     ..NewAgent::default()
/// };
/// arbiter.create_agent(agent).await?;
/// let spawned = events.next().await.and_then(EventItem::into_event).ok_or("the server stopped")?;
/// assert_eq!(spawned.subject, "coding-agent");
///
/// let (agent, provider, api_key) = arbiter.get_agent_with_provider("coding-agent").await?;
/// assert_eq!(agent.config.model.as_deref(), Some("gpt-4"));
/// assert_eq!(provider.name, "OpenAI GPT-4");
/// // The key is decrypted and ready to use; the event log has a `key.used` event for it.
/// assert_eq!(api_key.ok_or("no key")?.expose_secret(), "sk-...");
/// arbiter.close().await;
/// # Ok(()) }
/// ```
pub struct Arbiter {
    actor_system: ActorSystem,
    pub(crate) caller: Caller,
    #[cfg(feature = "temporal")]
    pub(crate) bridge: Option<(crate::bridge::Bridge, crate::bridge::RunningBridge)>,
}

impl Arbiter {
    /// Opens a data directory with the built-in settings and unlocks its vault.
    ///
    /// A directory that does not exist is created with mode 0700. The first password given to a new vault
    /// becomes its password. Deriving the key from it takes about a second of one core.
    ///
    /// # Errors
    /// - [`StartError::is_held`]: another process has the directory open.
    /// - [`StartError::WrongPassword`]: nothing was changed.
    /// - [`StartError::Directory`]: it cannot be created, or others may read or write it.
    /// - [`StartError::Vault`] and [`StartError::ActorSystem`]: a file is damaged, was written by a newer
    ///   version, or cannot be read.
    /// - [`StartError::Unlock`]: the vault's file was replaced by an older one, or too many wrong passwords
    ///   were given.
    pub async fn open(data_dir: &Path, password: SecretString) -> Result<Self, StartError> {
        Self::open_with(data_dir, password, &Settings::default()).await
    }

    /// Opens a data directory as [`Arbiter::open`] does, with other settings. Those of the HTTP
    /// server and of the log have no effect.
    ///
    /// # Errors
    /// As [`Arbiter::open`]; besides [`StartError::Catalog`] if `settings.providers.catalogue` names a
    /// file that is no model catalog, and `StartError::Temporal` if `settings.temporal` contradicts itself
    /// or names a file that cannot be read.
    pub async fn open_with(
        data_dir: &Path,
        password: SecretString,
        settings: &Settings,
    ) -> Result<Self, StartError> {
        let lock = DirectoryLock::take(data_dir)?;
        let on_failure = |error: &StoreError| tracing::error!(%error, "the store has failed");
        let catalogue = load_catalog(data_dir, &settings.providers.catalogue)?;
        #[cfg(feature = "temporal")]
        let (temporal, all) = (crate::bridge::load(&settings.temporal)?, settings);
        let settings =
            arbiter_actors::Settings { catalogue: Arc::new(catalogue), ..actor_settings(settings) };
        let actor_system =
            arbiter_actors::start(lock, settings.clone(), Arc::new(SystemClock), Box::new(on_failure))
                .await?;
        let caller = Caller::named("library");
        if let Err(fault) = actor_system.handles.vault.unlock(&caller, password).await {
            actor_system.stop().await;
            return Err(StartError::from_unlock_error(fault));
        }
        #[cfg(feature = "temporal")]
        let bridge = temporal.map(|address| {
            let bridge = crate::bridge::Bridge::new(actor_system.handles.clone(), all, settings, address);
            let running = bridge.run();
            (bridge, running)
        });
        Ok(Self {
            actor_system,
            caller,
            #[cfg(feature = "temporal")]
            bridge,
        })
    }

    /// Registers a provider and returns it as stored. `api_key` is stored in the vault and nowhere else.
    ///
    /// Without [`NewProvider::id`] an id is made from random bytes. The first health check follows at once and
    /// is not waited for.
    ///
    /// # Errors
    /// - [`Error::Refused`]: a field breaks a rule, the id is taken, or the endpoint may not be called.
    /// - [`Error::Vault`]: the vault is locked and a key was given.
    /// - [`Error::Store`], [`Error::ShuttingDown`]: nothing was registered.
    pub async fn create_provider(
        &self,
        provider: NewProvider,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        self.actor_system.handles.providers.register(&self.caller, provider, api_key).await
    }

    /// Creates an agent, starts it unless [`NewAgent::status`] is `Inactive`, and returns it as stored.
    ///
    /// Without [`NewAgent::id`] an id is made from random bytes. [`NewAgent::kind`] defaults to `llm`: the
    /// server does the agent's work by calling its provider.
    ///
    /// # Errors
    /// - [`Error::Refused`]: a field breaks a rule, the id is taken, or the provider, project or persona does
    ///   not exist.
    /// - [`Error::Store`], [`Error::ShuttingDown`]: nothing was created.
    pub async fn create_agent(&self, agent: NewAgent) -> Result<Agent, Error> {
        self.actor_system.handles.agents.create(&self.caller, agent).await
    }

    /// Returns an agent, its provider and the decrypted key of that provider, `None` if it needs none.
    ///
    /// The event `key.used`, with the agent as its actor, is in the log before this returns.
    ///
    /// # Errors
    /// - [`Error::Refused`]: the agent does not exist or has no provider.
    /// - [`Error::Vault`]: the vault is locked.
    /// - [`Error::Store`]: the store cannot be read, or the use of the key cannot be logged.
    pub async fn get_agent_with_provider(
        &self,
        id: &str,
    ) -> Result<(Agent, Provider, Option<SecretString>), Error> {
        let handles = &self.actor_system.handles;
        let id = AgentId::from_trusted(id);
        let agent = handles.store.agent(id.to_string()).await?;
        let agent = agent.ok_or_else(|| Refusal::not_found("agent", id.as_str()))?;
        let provider_id = agent.provider_id.clone();
        let provider_id = provider_id.ok_or_else(|| Refusal::not_found("provider of agent", id.as_str()))?;
        let provider = handles.store.provider(provider_id.to_string()).await?;
        let provider = provider.ok_or_else(|| Refusal::not_found("provider", provider_id.as_str()))?;
        let key = handles.providers.key(&Caller::named(id.as_str()), &provider_id).await?;
        Ok((agent, provider, key))
    }

    /// Subscribes to the events for which `filter` returns true, from now on.
    ///
    /// ```
    /// use arbiter::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = tempfile::tempdir()?;
    /// # let arbiter = Arbiter::open(&home.path().join("data"), SecretString::from("password")).await?;
    /// let by_project = |event: &Event| event.project_id.as_deref() == Some("my-project");
    /// let by_type = |event: &Event| event.kind.as_str() == "agent.spawned";
    /// let combined = |event: &Event| {
    ///     event.project_id.as_deref() == Some("my-project") && event.kind.as_str().starts_with("bead.")
    /// };
    /// arbiter.subscribe(by_project).await?;
    /// arbiter.subscribe(by_type).await?;
    /// arbiter.subscribe(combined).await?;
    /// # arbiter.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`]: the log cannot be read. [`Error::ShuttingDown`]: the server stops.
    pub async fn subscribe(
        &self,
        filter: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventStream, Error> {
        self.subscribe_after(None, filter).await
    }

    /// Subscribes to the events behind the number `seq` for which `filter` returns true: first those of the log,
    /// then the new ones. A program that stores the number of the last event it has handled resumes there.
    ///
    /// Events behind `seq` that the log no longer has, or never had, come as one [`EventItem::Gap`].
    ///
    /// ```
    /// use arbiter::prelude::*;
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = tempfile::tempdir()?;
    /// # let arbiter = Arbiter::open(&home.path().join("data"), SecretString::from("password")).await?;
    /// let mut events = arbiter.subscribe_from(0, |_| true).await?;
    /// match events.next().await {
    ///     Some(EventItem::Event(event)) => assert_eq!(event.seq, 1),
    ///     Some(EventItem::Gap { from, to, .. }) => println!("{from} to {to} are gone"),
    ///     None => println!("the server has stopped"),
    /// }
    /// # arbiter.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Arbiter::subscribe`].
    pub async fn subscribe_from(
        &self,
        seq: u64,
        filter: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventStream, Error> {
        self.subscribe_after(Some(seq), filter).await
    }

    async fn subscribe_after(
        &self,
        seq: Option<u64>,
        filter: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventStream, Error> {
        let subscription = self.actor_system.handles.bus.subscribe(EventFilter::default(), seq).await?;
        Ok(EventStream { subscription, filter: Box::new(filter) })
    }

    /// Returns the handles of the actors, one per entity: everything that the HTTP API does goes through them.
    pub fn handles(&self) -> &Handles {
        &self.actor_system.handles
    }

    /// Stops the Temporal bridge, the actors and the store, in this order, and waits for each.
    ///
    /// Runs of agents are aborted and their beads released; the vault is locked.
    pub async fn close(self) {
        #[cfg(feature = "temporal")]
        if let Some((_, running)) = self.bridge {
            running.stop().await;
        }
        self.actor_system.stop().await;
    }
}

/// The events that pass the filter of [`Arbiter::subscribe`], in the order of the log.
///
/// A slow reader delays nothing: events that no longer fit into memory are read from the log.
pub struct EventStream {
    subscription: Subscription,
    filter: Box<dyn Fn(&Event) -> bool + Send>,
}

/// An item of an [`EventStream`].
#[derive(Clone, Debug, PartialEq)]
pub enum EventItem {
    /// An event that passes the filter.
    Event(Arc<Event>),
    /// Events that cannot be delivered, of any kind: retention deleted them, or the log never had them.
    Gap {
        /// The number of the first of them.
        from: u64,
        /// The number of the last of them.
        to: u64,
        /// The number of the event with which the stream goes on.
        available_from: u64,
    },
}

impl EventItem {
    /// Returns the event; `None` for a gap.
    pub fn into_event(self) -> Option<Arc<Event>> {
        match self {
            Self::Event(event) => Some(event),
            Self::Gap { .. } => None,
        }
    }
}

impl EventStream {
    /// Waits for the next event or gap; `None` after the server has stopped or if the log cannot be read.
    ///
    /// Cancel safe: an item that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Option<EventItem> {
        loop {
            match self.subscription.next().await {
                Delivery::Event(event) if (self.filter)(&event) => return Some(EventItem::Event(event)),
                Delivery::Event(_) => {}
                Delivery::Gap { from, to, available_from } => {
                    return Some(EventItem::Gap { from, to, available_from });
                }
                Delivery::Closed => return None,
            }
        }
    }
}
