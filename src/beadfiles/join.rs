//! One bead of several lines with its id, as a merge of two clones leaves them.

use crate::bead::FileBead;
use crate::document::EntryContent;
use crate::lists::new_comments;

/// Joins the contents of several lines: the one at `winner` counts, with the lists of all lines that are beads.
pub(crate) fn join(contents: Vec<EntryContent>, winner: usize) -> EntryContent {
    let mut counts = None;
    let mut others = Vec::new();
    for (at, content) in contents.into_iter().enumerate() {
        match content {
            content if at == winner => counts = Some(content),
            EntryContent::Bead(bead, _) => others.push(*bead),
            EntryContent::Tombstone | EntryContent::Gate => {}
        }
    }
    match counts {
        Some(EntryContent::Bead(mut bead, fields)) => {
            others.iter().for_each(|other| add_lists(&mut bead, other));
            EntryContent::Bead(bead, fields)
        }
        other => other.unwrap_or(EntryContent::Tombstone),
    }
}

/// Adds what another line of the same bead has in its lists.
fn add_lists(bead: &mut FileBead, other: &FileBead) {
    for label in &other.labels {
        if !bead.labels.contains(label) {
            bead.labels.push(label.clone());
        }
    }
    for edge in &other.edges {
        if bead.edges.iter().all(|known| known.depends_on != edge.depends_on) {
            bead.edges.push(edge.clone());
        }
    }
    let new: Vec<_> = new_comments(&bead.comments, &other.comments).into_iter().cloned().collect();
    bead.comments.extend(new);
}
