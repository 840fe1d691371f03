//! Arbiter inside another program: the same cast without the HTTP edge.

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

/// A running Arbiter without its HTTP edge. It lives on the tokio runtime (of several threads) it was
/// opened on.
///
/// ```
/// use arbiter::core::agent::edit::NewAgent;
/// use arbiter::core::agent::config::AgentConfig;
/// use arbiter::core::kernel::event::Event;
/// use arbiter::core::provider::ProviderType;
/// use arbiter::core::provider::edit::NewProvider;
/// use arbiter::{Arbiter, ExposeSecret, SecretString};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let data_dir = home.path().join("data");
/// let arbiter = Arbiter::open(&data_dir, SecretString::from("a long password")).await?;
/// let mut events = arbiter.subscribe(|event: &Event| event.kind.as_str() == "agent.spawned").await?;
///
/// let mut provider =
///     NewProvider::named("OpenAI GPT-4", ProviderType::OpenAi, "https://api.openai.com/v1");
/// provider.id = Some("openai-gpt4".into());
/// provider.description = "OpenAI GPT-4 API".into();
/// provider.requires_key = Some(true);
/// arbiter.create_provider(provider, Some(SecretString::from("sk-..."))).await?;
///
/// let agent = NewAgent {
///     id: Some("coding-agent".into()),
///     name: "Coding Assistant".into(),
///     description: "AI coding assistant".into(),
///     provider_id: Some("openai-gpt4".into()),
///     config: AgentConfig::read(&r#"{"model": "gpt-4", "temperature": 0.7}"#.into())?,
///     ..NewAgent::default()
/// };
/// arbiter.create_agent(agent).await?;
/// assert_eq!(events.next().await.ok_or("the bus ended")?.subject, "coding-agent");
///
/// let (agent, provider, api_key) = arbiter.get_agent_with_provider("coding-agent").await?;
/// assert_eq!(agent.config.model.as_deref(), Some("gpt-4"));
/// assert_eq!(provider.name, "OpenAI GPT-4");
/// // The key is decrypted and ready to use; that it was used is in the event log.
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
    /// Opens (or makes) a data directory with the built-in settings and unlocks its vault; the first
    /// password given to a new vault is its password.
    ///
    /// # Errors
    /// [`StartError`]: the directory is held by another process, the password is wrong, a file is damaged.
    pub async fn open(data_dir: &Path, password: SecretString) -> Result<Self, StartError> {
        Self::open_with(data_dir, password, &Settings::default()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`Arbiter::open`].
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

    /// Registers a provider; its key goes into the vault and only there.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields or a taken id.
    pub async fn create_provider(
        &self,
        provider: NewProvider,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        self.actor_system.handles.providers.register(&self.caller, provider, api_key).await
    }

    /// Creates an agent and starts it.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields or an unknown provider.
    pub async fn create_agent(&self, agent: NewAgent) -> Result<Agent, Error> {
        self.actor_system.handles.agents.create(&self.caller, agent).await
    }

    /// An agent, its provider and that provider's key (`None` when it needs none). That the key was used
    /// is in the event log before this returns.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown agent or one without a provider; [`Error::Vault`] when the vault is
    /// locked.
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

    /// Listens to the events that a predicate picks, from now on.
    ///
    /// ```
    /// # use arbiter::{Arbiter, SecretString, core::kernel::event::Event};
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
    /// [`Error::Store`] when the log cannot be read.
    pub async fn subscribe(
        &self,
        filter: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventStream, Error> {
        let subscription = self.actor_system.handles.bus.subscribe(EventFilter::default(), None).await?;
        Ok(EventStream { subscription, filter: Box::new(filter) })
    }

    /// Everything else that can be done.
    pub fn handles(&self) -> &Handles {
        &self.actor_system.handles
    }

    /// Stops everything in order.
    pub async fn close(self) {
        #[cfg(feature = "temporal")]
        if let Some((_, running)) = self.bridge {
            running.stop().await;
        }
        self.actor_system.stop().await;
    }
}

/// Events that a predicate picks.
pub struct EventStream {
    subscription: Subscription,
    filter: Box<dyn Fn(&Event) -> bool + Send>,
}

impl EventStream {
    /// The next one; `None` when the bus has ended.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.subscription.next().await {
                Delivery::Event(event) if (self.filter)(&event) => return Some(event),
                Delivery::Event(_) | Delivery::Gap { .. } => {}
                Delivery::Closed => return None,
            }
        }
    }
}
