//! A large tracker: made-up beads written straight through the store, many in one unit, as an import would.

use arbiter::core::bead::{Approval, Bead, Status};
use arbiter::core::bead_change::Edge;
use arbiter::core::ids::{BeadId, ProjectId};
use arbiter::core::project::Project;
use arbiter::core::project_change::NewProject;
use arbiter::core::time::Timestamp;
use arbiter_store::{Change, Options, Store, Unit};
use arbiter_testkit::{GeneratedBead, GeneratedStatus, generated_beads};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// Beads in one unit.
const TOGETHER: usize = 1000;
/// How long deferred beads stay so: a hundred years.
const LONG_MS: i64 = 3_155_760_000_000;
/// The seed of the generator.
const SEED: u64 = 7;

/// Fills the database of a server that does not run; returns how long that took.
pub async fn fill(
    directory: &Path,
    project: &str,
    count: usize,
) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let started = Instant::now();
    let now = Timestamp::from_millis(1_780_000_000_000);
    let store = Store::open(Options {
        directory: directory.to_owned(),
        readers: 1,
        group_max: 1,
        queue_max: 4,
        now,
        publish: Box::new(|_| ()),
        on_failure: Box::new(|_| ()),
    })?;
    let mut unit = Unit::new(now, "bench", "import");
    let new =
        NewProject { id: Some(project.into()), name: "A large tracker".into(), ..NewProject::default() };
    let row: Project = new.build(ProjectId::known(project), now)?;
    unit.create(&row, Change::Project);
    for (number, made) in generated_beads(count, SEED).enumerate() {
        let edges = made.depends_on.clone();
        let bead = bead(made, project);
        unit.create(&bead, Change::Bead);
        for (target, kind) in edges {
            let edge = Edge::new(bead.id.clone(), BeadId::known(target), kind);
            unit.change(Change::AddEdge(edge));
        }
        if number % TOGETHER == TOGETHER - 1 {
            store.commit(std::mem::replace(&mut unit, Unit::new(now, "bench", "import"))).await?;
        }
    }
    if !unit.is_empty() {
        store.commit(unit).await?;
    }
    store.close();
    Ok(started.elapsed())
}

fn bead(made: GeneratedBead, project: &str) -> Bead {
    let at = Timestamp::from_millis(made.created_ms);
    let closed = made.status == GeneratedStatus::Closed;
    Bead {
        id: BeadId::known(made.id),
        bead_type: made.kind.into(),
        title: made.title,
        description: made.description,
        status: match made.status {
            GeneratedStatus::Open | GeneratedStatus::Deferred => Status::Open,
            GeneratedStatus::InProgress => Status::InProgress,
            GeneratedStatus::Closed => Status::Closed,
        },
        priority: made.priority,
        project_id: ProjectId::known(project),
        assigned_to: made.assignee,
        tags: vec![made.label],
        context: serde_json::Map::new(),
        acceptance_criteria: String::new(),
        due_at: None,
        defer_until: (made.status == GeneratedStatus::Deferred)
            .then(|| Timestamp::from_millis(made.created_ms + LONG_MS)),
        close_reason: closed.then(|| "done".into()),
        block_reason: None,
        approval: Approval::Missing,
        attempts: 0,
        next_attempt_at: None,
        last_error: None,
        last_answer: None,
        handed_on_by: Vec::new(),
        shelved: None,
        created_at: at,
        updated_at: at,
        closed_at: closed.then_some(at),
        revision: 1,
    }
}
