//! The server's refusals (RFC 9457 problem documents) as people read them.

use crate::cli::ui::table::{one_line, printable};
use arbiter_core::kernel::problem_code::ProblemCode;
use serde::Deserialize;
use std::fmt;

/// A problem document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerProblem {
    /// The type of problem, as a URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The description of this occurrence.
    pub detail: String,
    /// The request's id, by which the server's log knows it.
    pub request_id: String,
    /// Problems of single fields.
    pub errors: Vec<ServerFieldError>,
}

/// A problem of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerFieldError {
    /// The field, as a JSON pointer.
    pub pointer: String,
    /// The rule that its value breaks.
    pub detail: String,
}

impl ServerProblem {
    /// Reads the problem from the status, body and `request_id` header of an answer.
    ///
    /// Something between client and server may have answered instead; then the status has to do.
    pub fn from_answer(status: u16, body: &[u8], request_id: Option<&str>) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        if problem.request_id.is_empty() {
            problem.request_id = request_id.unwrap_or_default().to_owned();
        }
        problem
    }
}

impl ServerProblem {
    /// The command that helps, for problems that have one.
    fn remedy(&self) -> Option<&'static str> {
        match ProblemCode::parse(&self.kind)? {
            ProblemCode::VaultLocked => Some("arbiter vault unlock"),
            ProblemCode::VaultRolledBack => Some("arbiter vault accept-rollback"),
            _ => None,
        }
    }
}

impl fmt::Display for ServerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        match said {
            Some(text) => f.write_str(printable(text).trim())?,
            None => write!(f, "the server answered {} without a reason", self.status)?,
        }
        // One wrong field is the detail itself.
        for error in self.errors.iter().filter(|_| self.errors.len() > 1) {
            write!(f, "\n  {}: {}", one_line(&error.pointer), one_line(&error.detail))?;
        }
        if let Some(command) = self.remedy() {
            write!(f, "\n  run: {command}")?;
        }
        if !self.request_id.is_empty() {
            write!(f, "\n  request {}", one_line(&self.request_id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_display_has_detail_fields_and_request_id() {
        let body = br#"{"type":"invalid","title":"Invalid","status":422,"detail":"2 fields are invalid",
            "request_id":"req-1","errors":[{"pointer":"/title","detail":"is missing"},
            {"pointer":"/priority","detail":"is not within 0 to 4"}]}"#;
        assert_eq!(
            ServerProblem::from_answer(422, body, Some("ignored")).to_string(),
            "2 fields are invalid\n  /title: is missing\n  /priority: is not within 0 to 4\n  request req-1"
        );
    }

    #[test]
    fn problem_shows_single_field_once_and_a_hint_for_locked_vault() {
        let one = br#"{"type":"invalid","detail":"/title: is missing","errors":[{"pointer":"/title","detail":"is missing"}]}"#;
        assert_eq!(ServerProblem::from_answer(422, one, None).to_string(), "/title: is missing");
        let locked = br#"{"type":"vault-locked","detail":"the vault is locked"}"#;
        let said = ServerProblem::from_answer(423, locked, None).to_string();
        assert_eq!(said, "the vault is locked\n  run: arbiter vault unlock");
    }

    #[test]
    fn problem_without_detail_shows_title_or_status() {
        let titled = ServerProblem::from_answer(404, br#"{"title":"Not found"}"#, Some("req-2"));
        assert_eq!(titled.to_string(), "Not found\n  request req-2");
        let foreign = ServerProblem::from_answer(502, b"<html>", None);
        assert_eq!(foreign.to_string(), "the server answered 502 without a reason");
    }
}
