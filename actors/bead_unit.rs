//! Changes of a bead that several actors write into a unit of their own.

use crate::error::Error;
use crate::runtime::random;
use arbiter_core::bead::{self, Bead, ClaimContext};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::CommentId;
use arbiter_core::kernel::record::apply_all;
use arbiter_store::{Change, Comment, Unit};
use serde_json::json;

/// Adds a comment on a bead to a unit.
pub(crate) fn comment(unit: &mut Unit, bead: &Bead, author: &str, text: String) -> Comment {
    let comment = Comment {
        id: CommentId::from_random(random::bytes16()).to_string(),
        subject: bead.id.to_string(),
        author_id: author.to_owned(),
        text,
        created_at: unit.at,
    };
    unit.emit(NewEvent {
        kind: EventType::BeadCommented,
        project_id: Some(bead.project_id.to_string()),
        subject: bead.id.to_string(),
        data: json!({"comment_id": comment.id, "author_id": comment.author_id, "comment": comment.text}),
    });
    unit.change(Change::BeadComment(comment.clone()));
    comment
}

/// Adds several commands in a row to a unit and returns the bead after the last.
pub(crate) fn apply_commands(
    bead: &Bead,
    commands: &[bead::Command],
    claim_context: &ClaimContext,
    unit: &mut Unit,
) -> Result<Bead, Error> {
    let mut row = bead.clone();
    for command in commands {
        let happenings = row.decide(command, claim_context, unit.at)?;
        let next = apply_all(&row, &happenings, unit.at);
        unit.apply(&row, &happenings, Change::Bead);
        row = next;
    }
    Ok(row)
}
