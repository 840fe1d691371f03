//! Outcomes of commits, each as one word.

use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Committed, StoreError};

/// Result of a commit.
pub type Outcome = Result<Committed, StoreError>;

/// The rule that was broken.
pub fn code(outcome: &Outcome) -> ProblemCode {
    match outcome {
        Err(StoreError::Refused(Refusal::Conflict { code, .. })) => *code,
        other => panic!("no conflict: {other:?}"),
    }
}

/// The field that was wrong.
pub fn field(outcome: &Outcome) -> String {
    match outcome {
        Err(StoreError::Refused(Refusal::Invalid(problems))) => problems[0].pointer.clone(),
        other => panic!("no field problem: {other:?}"),
    }
}

/// Returns whether the id was taken.
pub fn is_taken(outcome: &Outcome, entity: &str, id: &str) -> bool {
    matches!(outcome, Err(StoreError::Refused(Refusal::Exists { entity: e, id: i })) if *e == entity && i == id)
}

/// Returns whether the row had changed.
pub fn is_stale(outcome: &Outcome, entity: &str, id: &str) -> bool {
    matches!(outcome, Err(StoreError::Stale { entity: e, id: i }) if *e == entity && i == id)
}
