//! Reads the context of a bead for its prompt.

use crate::error::Error;
use arbiter_core::bead::edit::affects_readiness;
use arbiter_core::bead::{Bead, Status};
use arbiter_core::decision;
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::prompt::PromptContext;
use arbiter_store::{PageRequest, Store};

/// Most comments in a prompt.
const COMMENTS: u32 = 50;

/// Reads the results of the bead's dependencies, its comments, its answered decisions, and the outcome of the
/// agent's other decisions.
pub(crate) async fn read(store: &Store, bead: &Bead, worker: &AgentId) -> Result<PromptContext, Error> {
    let mut context = PromptContext::default();
    for (target, kind) in store.edges_of(bead.id.to_string()).await? {
        if !affects_readiness(&kind) {
            continue;
        }
        if let Some(done) = store.bead(target.to_string()).await?.filter(|b| b.status == Status::Closed) {
            context.results.push((done.title, done.close_reason.unwrap_or_default()));
        }
    }
    let (id, project) = (bead.id.to_string(), bead.project_id.to_string());
    let others = store.ended_decisions_for(worker.to_string(), project, id.clone()).await?;
    for asked in store.decisions_of(id).await?.into_iter().chain(others) {
        let answer = match (asked.status, asked.decision) {
            (decision::Status::Resolved, Some(answer)) => match asked.rationale {
                Some(why) => format!("{answer} ({why})"),
                None => answer,
            },
            (decision::Status::Timeout, _) => "no answer came before the deadline".to_owned(),
            (decision::Status::Cancelled, _) => match asked.rationale {
                Some(why) => format!("it was withdrawn: {why}"),
                None => "it was withdrawn".to_owned(),
            },
            _ => continue,
        };
        context.decisions.push((asked.question, answer));
    }
    let page = PageRequest { limit: COMMENTS, cursor: None };
    let comments = store.bead_comments(bead.id.to_string(), page).await?;
    context.comments = comments.items.into_iter().map(|c| (c.author_id, c.text)).collect();
    Ok(context)
}
