//! A running cast over a temporary directory.

use arbiter_actors::{ActorSystem, Caller, Handles, ManualClock, Settings, SharedClock, SystemClock};
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::Status;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::kernel::event::{EventFilter, TypePattern};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::project::edit::NewProject;
use arbiter_core::provider::ProviderType;
use arbiter_core::provider::edit::NewProvider;
use arbiter_store::DirectoryLock;
use arbiter_testkit::{Script, ScriptedProvider};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

pub const KEY: &str = "sk-stage-key";

pub struct Stage {
    pub home: tempfile::TempDir,
    pub settings: Settings,
    pub clock: SharedClock,
    cast: Option<ActorSystem>,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Settings { kdf_iterations: 100_000, ..Settings::default() }, Arc::new(SystemClock)).await
    }

    pub async fn with(settings: Settings, clock: SharedClock) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut stage = Self { home, settings, clock, cast: None };
        stage.start().await;
        stage.h().vault.unlock(&me(), SecretString::from("password")).await.unwrap();
        stage
    }

    pub async fn start(&mut self) {
        let lock = DirectoryLock::take(&self.home.path().join("data")).unwrap();
        let failed = Box::new(|error: &arbiter_store::StoreError| panic!("store failed: {error}"));
        let cast = arbiter_actors::start(lock, self.settings.clone(), Arc::clone(&self.clock), failed);
        self.cast = Some(cast.await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.cast.take().unwrap().stop().await;
    }

    pub fn h(&self) -> &Handles {
        &self.cast.as_ref().unwrap().handles
    }

    /// A project, a keyed provider that follows the script, and agents with these ids.
    #[must_use = "the provider ends when it is dropped"]
    pub async fn setup(&self, script: Script, agents: &[&str]) -> ScriptedProvider {
        let h = self.h();
        let provider = ScriptedProvider::start(script.requiring_key(KEY));
        let project = NewProject { id: Some("p".into()), name: "P".into(), ..NewProject::default() };
        h.projects.create(&me(), project).await.unwrap();
        let mut new = NewProvider::named("Scripted", ProviderType::Custom, provider.url());
        new.id = Some("scripted".into());
        h.providers.register(&me(), new, Some(SecretString::from(KEY))).await.unwrap();
        h.providers.heartbeat(&"scripted".parse_id()).await.unwrap();
        for id in agents {
            let new = NewAgent {
                id: Some((*id).to_owned()),
                name: (*id).to_owned(),
                provider_id: Some("scripted".into()),
                ..NewAgent::default()
            };
            h.agents.create(&me(), new).await.unwrap();
        }
        provider
    }

    pub async fn bead(&self, id: &str, priority: u8, blocked_by: &[&str]) {
        let new = NewBead {
            id: Some(id.into()),
            title: format!("Bead {id}"),
            project_id: "p".into(),
            priority: Some(priority),
            blocked_by: blocked_by.iter().map(|b| (*b).to_owned()).collect(),
            ..NewBead::default()
        };
        self.h().beads.create(&me(), new).await.unwrap();
    }

    /// Waits until a bead has a status, by its events.
    pub async fn until(&self, id: &str, status: Status) {
        let filter = EventFilter {
            types: TypePattern::parse_list("bead.*").unwrap(),
            subject: Some(id.to_owned()),
            ..EventFilter::default()
        };
        let mut events = self.h().bus.subscribe(filter, None).await.unwrap();
        let wait = async {
            while self.h().store.bead(id.to_owned()).await.unwrap().unwrap().status != status {
                events.next().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), wait).await.is_err() {
            let bead = self.h().store.bead(id.to_owned()).await.unwrap();
            let why = self.h().dispatcher.why(&BeadId::from_trusted(id), None).await;
            panic!("bead {id} is not {status}: {bead:?} {why:?}");
        }
    }
}

pub fn me() -> Caller {
    Caller::named("ann")
}

pub trait ParseId {
    fn parse_id(&self) -> arbiter_core::kernel::ids::ProviderId;
}

impl ParseId for str {
    fn parse_id(&self) -> arbiter_core::kernel::ids::ProviderId {
        arbiter_core::kernel::ids::ProviderId::from_trusted(self)
    }
}

#[allow(dead_code)]
pub fn manual_clock() -> ManualClock {
    ManualClock::at(arbiter_core::kernel::time::Timestamp::from_millis(1_800_000_000_000))
}
