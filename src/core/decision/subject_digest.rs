//! Digest of a decision's subject, so that an answer holds only for the subject that was asked about.
//!
//! Only the parts that the question is about count. Waiting, attempts and claims of a bead do not change its digest.

use crate::bead::Bead;
use crate::kernel::lease::hex;
use serde_json::json;
use sha2::{Digest, Sha256};

fn digest(value: &serde_json::Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

/// The digest of a bead's work: what is to be done, how urgent it is, and where.
pub fn of_bead(bead: &Bead) -> String {
    digest(&json!([
        bead.id,
        bead.project_id,
        bead.bead_type,
        bead.title,
        bead.description,
        bead.acceptance_criteria,
        bead.context,
        bead.priority,
    ]))
}

/// Open beads of a project for its digest: finished work does not change it, added work does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenWork {
    pub beads: u64,
    pub newest: Option<String>,
}

/// The digest of a project's work as a whole.
pub fn of_project(project: &str, holdings: &OpenWork) -> String {
    digest(&json!([project, holdings.beads, holdings.newest]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bead::Status;
    use crate::bead::edit::NewBead;
    use crate::kernel::ids::BeadId;
    use crate::kernel::time::Timestamp;

    #[test]
    fn subject_digest_covers_work_and_not_progress() {
        let new = NewBead { title: "T".into(), project_id: "p".into(), ..NewBead::default() };
        let bead = new.build(BeadId::from_trusted("b"), Timestamp::from_millis(0)).unwrap().0;
        let same =
            Bead { status: Status::Blocked, attempts: 3, assigned_to: Some("a".into()), ..bead.clone() };
        assert_eq!(of_bead(&bead), of_bead(&same));
        for other in [
            Bead { title: "U".into(), ..bead.clone() },
            Bead { description: "more".into(), ..bead.clone() },
            Bead { priority: 0, ..bead.clone() },
        ] {
            assert_ne!(of_bead(&bead), of_bead(&other));
        }
        let holdings = OpenWork { beads: 1, newest: Some("b".into()) };
        assert_ne!(of_project("p", &holdings), of_project("p", &OpenWork { beads: 2, ..holdings.clone() }));
    }
}
