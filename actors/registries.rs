//! The one list of actor registries: each kind of actor, its thread and its idle policy.

use crate::actor_kind::ActorKind;
use crate::agent::actor::AgentActor;
use crate::bead::actor::BeadActor;
use crate::bead_file::actor::BeadFilesActor;
use crate::context::SharedContext;
use crate::decision::actor::DecisionActor;
use crate::dispatch::dispatcher::DispatcherActor;
use crate::dispatch::pull_actor::PullActor;
use crate::event::bus::BusActor;
use crate::event::notifier::NotifierActor;
use crate::orchestrator::OrchestratorActor;
use crate::project::actor::ProjectActor;
use crate::project::file_locks::FileLocksActor;
use crate::provider::actor::ProviderActor;
use crate::provider::heartbeat::HeartbeatActor;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry, RegistryAccess};
use crate::vault::actor::VaultActor;
use std::sync::Weak;

macro_rules! registries {
    ($($field:ident: $actor:ident on $affinity:ident, $idle:ident;)+) => {
        /// The living actors, by kind.
        pub(crate) struct Registries {
            $(pub(crate) $field: Registry<$actor>,)+
        }

        impl Registries {
            pub(crate) fn new(host: &Weak<SharedContext>) -> Self {
                Self {
                    $($field: Registry::new(Weak::clone(host), Affinity::$affinity, IdlePolicy::$idle),)+
                }
            }

            /// Lists every registry.
            pub(crate) fn all(&self) -> Vec<&dyn RegistryAccess<ActorKind>> {
                vec![$(&self.$field,)+]
            }
        }
    };
}

registries! {
    agents: AgentActor on Entities, Keep;
    bead_files: BeadFilesActor on Entities, Keep;
    beads: BeadActor on Entities, Retire;
    bus: BusActor on Root, Keep;
    decisions: DecisionActor on Entities, Retire;
    dispatcher: DispatcherActor on Root, Keep;
    file_locks: FileLocksActor on Entities, Retire;
    heartbeats: HeartbeatActor on Entities, Keep;
    notifier: NotifierActor on Root, Keep;
    orchestrator: OrchestratorActor on Root, Keep;
    projects: ProjectActor on Entities, Retire;
    providers: ProviderActor on Entities, Keep;
    pulls: PullActor on Root, Keep;
    vault: VaultActor on Root, Keep;
}
