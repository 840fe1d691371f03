//! Report for a person who decides about a bead that keeps failing.

use crate::error::Error;
use arbiter_core::bead::Bead;
use arbiter_core::kernel::run::Run;
use arbiter_core::prompt::excerpt;
use arbiter_store::{PageRequest, RunFilter, Store};

/// Most runs in a report.
const MAX_RUNS: u32 = 3;
/// The longest question, in characters.
const MAX_QUESTION_CHARS: usize = 10_000;
/// The longest piece of what an agent said, in characters.
const MAX_EXCERPT_CHARS: usize = 800;

/// Reason against another attempt.
pub(crate) enum FailureCause<'a> {
    /// Too many attempts failed; holds the last error.
    Attempts(&'a str),
    /// Two attempts in a row failed with the same answer; holds the last error.
    Repeated(&'a str),
    /// Agents hand the bead to each other; holds their chain.
    HandoffLoop(&'a str),
}

impl FailureCause<'_> {
    /// In a few words, for the reason of the block.
    pub(crate) fn short_text(&self, attempts: u32) -> String {
        match self {
            Self::Attempts(_) => format!("{attempts} attempts failed"),
            Self::Repeated(_) => "two attempts failed with the same answer".to_owned(),
            Self::HandoffLoop(circle) => (*circle).to_owned(),
        }
    }
}

/// The newest runs at a bead.
pub(crate) async fn newest_runs(store: &Store, bead: &Bead) -> Result<Vec<Run>, Error> {
    let filter = RunFilter { bead_id: Some(bead.id.to_string()), ..RunFilter::default() };
    Ok(store.runs(filter, PageRequest { limit: MAX_RUNS, cursor: None }).await?.items)
}

/// Builds the text of the question.
pub(crate) fn question(bead: &Bead, why: &FailureCause<'_>, agent: &str, runs: &[Run]) -> String {
    let mut text = match why {
        FailureCause::Attempts(error) => format!(
            "Bead {} ({}) failed {} times without progress; the last attempt by {agent} said: {error}.",
            bead.id, bead.title, bead.attempts
        ),
        FailureCause::Repeated(error) => format!(
            "Bead {} ({}) makes no progress: {agent} failed with the same answer as the attempt before; it said: {error}.",
            bead.id, bead.title
        ),
        FailureCause::HandoffLoop(circle) => {
            format!("Bead {} ({}) makes no progress: {circle}.", bead.id, bead.title)
        }
    };
    text.push_str(" What should happen with it?");
    for run in runs {
        let agent_id = run.agent_id.as_ref().map_or("?", |id| id.as_str());
        let said = run.error.as_deref().or(run.answer.as_deref()).unwrap_or("nothing");
        let how = run.outcome.as_deref().unwrap_or(run.status.as_str());
        let said: String = excerpt(said).chars().take(MAX_EXCERPT_CHARS).collect();
        text.push_str(&format!("\n- run {} by {agent_id}: {how}: {said}", run.id));
    }
    text.chars().take(MAX_QUESTION_CHARS).collect()
}
