//! Reads what a prompt tells of a bead's surroundings.

use crate::fault::Fault;
use arbiter_core::bead::{Bead, Status};
use arbiter_core::bead_change::affects_readiness;
use arbiter_core::decision;
use arbiter_core::prompt::Surroundings;
use arbiter_store::{PageRequest, Store};

/// How many comments go into a prompt.
const COMMENTS: u32 = 50;

/// Results of what the bead depended on, its comments, and answered questions about it.
pub(crate) async fn read(store: &Store, bead: &Bead) -> Result<Surroundings, Fault> {
    let mut around = Surroundings::default();
    for (target, kind) in store.edges_of(bead.id.to_string()).await? {
        if !affects_readiness(&kind) {
            continue;
        }
        if let Some(done) = store.bead(target.to_string()).await?.filter(|b| b.status == Status::Closed) {
            around.results.push((done.title, done.close_reason.unwrap_or_default()));
        }
    }
    for asked in store.decisions_of(bead.id.to_string()).await? {
        let answer = match (asked.status, asked.decision) {
            (decision::Status::Resolved, Some(answer)) => match asked.rationale {
                Some(why) => format!("{answer} ({why})"),
                None => answer,
            },
            (decision::Status::Timeout, _) => "nobody answered in time".to_owned(),
            _ => continue,
        };
        around.decisions.push((asked.question, answer));
    }
    let page = PageRequest { limit: COMMENTS, cursor: None };
    let comments = store.bead_comments(bead.id.to_string(), page).await?;
    around.comments = comments.items.into_iter().map(|c| (c.author_id, c.text)).collect();
    Ok(around)
}
