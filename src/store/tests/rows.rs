//! Rows as tests need them.

use arbiter_core::agent::config::AgentConfig;
use arbiter_core::agent::{self, Agent};
use arbiter_core::bead::Bead;
use arbiter_core::bead::edit::{Edge, NewBead};
use arbiter_core::decision::deadline::OnTimeout;
use arbiter_core::decision::{self, Decision, Purpose};
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId, KeyId, ProjectId, ProviderId, RunId};
use arbiter_core::kernel::lease::{Lease, digest};
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::{self, Project};
use arbiter_core::provider::{self, Provider, ProviderType};
use arbiter_store::{Change, Comment, Unit};
use serde_json::{Map, json};

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub fn unit() -> Unit {
    Unit::new(at(1_000), "ann", "test")
}

/// A unit that makes the project `p`.
pub fn with_project() -> Unit {
    let mut unit = unit();
    unit.create(&project("p"), Change::Project);
    unit
}

/// A unit that makes a bead.
pub fn with_bead(row: &Bead) -> Unit {
    let mut unit = unit();
    unit.create(row, Change::Bead);
    unit
}

/// A unit that only tells.
pub fn event_unit(subject: &str) -> Unit {
    let mut unit = unit();
    unit.emit(NewEvent::of(EventType::LogMessage, subject, json!({"message": subject})));
    unit
}

pub fn project(id: &str) -> Project {
    Project {
        id: ProjectId::from_trusted(id),
        name: "P".into(),
        git_repo: None,
        branch: None,
        beads_path: None,
        bead_prefix: None,
        max_parallel: None,
        parked: None,
        context: Map::new(),
        status: project::Status::Open,
        is_perpetual: false,
        is_sticky: false,
        created_at: at(0),
        updated_at: at(0),
        closed_at: None,
        revision: 1,
    }
}

/// A bead of project `p`.
pub fn bead(id: &str) -> Bead {
    let wanted = NewBead { title: format!("bead {id}"), project_id: "p".into(), ..NewBead::default() };
    wanted.build(BeadId::from_trusted(id), at(0)).unwrap().0
}

pub fn edge(from: &str, to: &str, kind: &str) -> Edge {
    Edge::new(BeadId::from_trusted(from), BeadId::from_trusted(to), kind)
}

pub fn decision(id: &str, bead: Option<&str>) -> Decision {
    Decision {
        id: DecisionId::from_trusted(id),
        project_id: ProjectId::from_trusted("p"),
        bead_id: bead.map(BeadId::from_trusted),
        purpose: Purpose::Question,
        question: "Which?".into(),
        options: vec![],
        recommendation: None,
        requester_id: None,
        decider_id: None,
        decision: None,
        rationale: None,
        priority: 2,
        status: decision::Status::Pending,
        deadline: Some(at(100)),
        on_timeout: OnTimeout::Expire,
        escalated_at: None,
        reminded: 0,
        subject_digest: None,
        created_at: at(0),
        updated_at: at(0),
        decided_at: None,
        revision: 1,
    }
}

/// An external agent, which needs no provider.
pub fn agent(id: &str) -> Agent {
    Agent {
        id: AgentId::from_trusted(id),
        name: "A".into(),
        description: String::new(),
        provider_id: None,
        persona_name: None,
        role: None,
        project_id: None,
        kind: agent::Kind::External,
        status: agent::Status::Inactive,
        status_reason: None,
        current_bead: None,
        config: AgentConfig::default(),
        created_at: at(0),
        updated_at: at(0),
        last_active: None,
        revision: 1,
    }
}

pub fn provider(id: &str) -> Provider {
    Provider {
        id: ProviderId::from_trusted(id),
        name: "V".into(),
        provider_type: ProviderType::OpenAi,
        endpoint: "http://127.0.0.1:1".into(),
        configured_model: None,
        selected_model: None,
        selection_reason: None,
        model_score: None,
        selected_gpu: None,
        selected_context_window: None,
        selected_price_input: None,
        selected_price_output: None,
        description: String::new(),
        requires_key: false,
        key_id: None,
        client_cert: Some("-----BEGIN CERTIFICATE-----".into()),
        client_key_id: Some(KeyId::from_trusted("tls")),
        ca_cert: Some("ca".into()),
        pool: Some("gpu".into()),
        priority: 7,
        weight: 2,
        max_concurrency: None,
        requests_per_minute: Some(60),
        tokens_per_minute: None,
        context_window: None,
        price_input_per_mtok: None,
        price_output_per_mtok: None,
        tags: vec![],
        status: provider::Status::Pending,
        status_reason: None,
        last_heartbeat_at: None,
        last_heartbeat_latency_ms: None,
        last_heartbeat_error: None,
        latency_ewma_ms: None,
        failures: 0,
        created_at: at(0),
        updated_at: at(0),
        revision: 1,
    }
}

pub fn comment(id: &str, subject: &str) -> Comment {
    Comment {
        id: id.into(),
        subject: subject.into(),
        author_id: "ann".into(),
        text: "hm".into(),
        created_at: at(0),
    }
}

pub fn lease(bead: &str, token: &str) -> Lease {
    Lease {
        bead_id: BeadId::from_trusted(bead),
        agent_id: AgentId::from_trusted("a"),
        token_digest: digest(token),
        ttl_sec: 300,
        expires_at: at(300_000),
    }
}

pub fn run(id: &str, bead: &str) -> Run {
    Run {
        bead_id: Some(BeadId::from_trusted(bead)),
        agent_id: Some(AgentId::from_trusted("a")),
        project_id: Some(ProjectId::from_trusted("p")),
        prompt: "do it".into(),
        ..Run::new(RunId::from_trusted(id), Kind::Run, at(0))
    }
}
