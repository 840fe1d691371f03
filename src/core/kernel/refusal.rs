//! Refusals of commands. A refusal is an answer, not a fault: it changes nothing.

use crate::kernel::problem_code::ProblemCode;
use serde::{Deserialize, Serialize};

/// One field that is wrong, by JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// JSON pointer into the body, such as `/priority`.
    pub pointer: String,
    pub detail: String,
}

impl FieldProblem {
    /// A problem with the field `name` at the top of the body.
    pub fn at(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: format!("/{name}"), detail: detail.into() }
    }
}

/// Reason why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{entity} {id} is {state}: it cannot {trigger} from there")]
    Transition { entity: &'static str, id: String, state: String, trigger: String },
    /// There is no such entity.
    #[error("no {entity} has the id {id}")]
    NotFound { entity: &'static str, id: String },
    #[error("{entity} {id} exists already or has existed; ids are never given twice")]
    Exists { entity: &'static str, id: String },
    /// The state of things forbids it; `code` names the rule.
    #[error("{detail}")]
    Conflict { code: ProblemCode, detail: String },
    #[error("{0}")]
    Forbidden(String),
    /// The client's `If-Match` does not name the revision that is stored.
    #[error("{entity} {id} has been changed since: it is at revision {revision}")]
    Precondition { entity: &'static str, id: String, revision: u64 },
    /// Fields that are unknown, missing or wrong.
    #[error("{}", describe(.0))]
    Invalid(Vec<FieldProblem>),
}

impl Refusal {
    /// A conflict under the rule `code`.
    pub fn conflict(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// One wrong field.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem::at(name, detail)])
    }

    /// Prefixes its fields with the index of a list item.
    #[must_use]
    pub fn within(self, list: &str, place: usize) -> Self {
        match self {
            Self::Invalid(problems) => Self::Invalid(
                problems
                    .into_iter()
                    .map(|problem| FieldProblem {
                        pointer: format!("/{list}/{place}{}", problem.pointer),
                        ..problem
                    })
                    .collect(),
            ),
            other => other,
        }
    }

    /// Creates the refusal for a missing entity.
    pub fn not_found(entity: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { entity, id: id.into() }
    }
}

fn describe(problems: &[FieldProblem]) -> String {
    let each: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.detail)).collect();
    format!("the request is not valid: {}", each.join("; "))
}

/// Collects problems with fields, so that a caller learns of all of them at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldProblem>);

impl Problems {
    /// Notes a problem when `holds` is false.
    pub fn require(&mut self, holds: impl Into<RuleCheck>, name: &str, detail: impl Into<String>) {
        if holds.into() == RuleCheck::No {
            self.0.push(FieldProblem::at(name, detail));
        }
    }

    /// Ends the collection: a refusal when anything was noted.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}

/// Result of checking a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleCheck {
    Yes,
    No,
}

impl From<bool> for RuleCheck {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}
