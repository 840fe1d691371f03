//! A request to the API, before it is sent.

use crate::cli::ui::failure::Failure;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

/// A request below `/api/v1`.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// The path's segments, not yet escaped.
    pub segments: Vec<String>,
    /// The query's pairs, not yet escaped.
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// The time-out of the whole answer.
    pub answer_limit: AnswerLimit,
}

/// The time-out of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLimit {
    /// As long as the server itself allows.
    Default,
    /// As long as it wants: every key is encrypted anew, say.
    Unlimited,
}

impl Request {
    fn new(method: Method, segments: &[&str]) -> Self {
        let segments = segments.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, segments, query: Vec::new(), body: None, answer_limit: AnswerLimit::Default }
    }

    /// Reads.
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// Creates, or does something.
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// Replaces.
    pub fn put(segments: &[&str]) -> Self {
        Self::new(Method::PUT, segments)
    }

    /// Deletes.
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// With an answer that may take as long as it wants.
    #[must_use]
    pub fn without_answer_limit(mut self) -> Self {
        self.answer_limit = AnswerLimit::Unlimited;
        self
    }

    /// With a query parameter, if there is a value for it.
    #[must_use]
    pub fn filter(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// With the fields of `value` that are set as the body; lists without entries are not.
    pub fn body(mut self, value: &impl Serialize) -> Result<Self, Failure> {
        let mut body = serde_json::to_value(value)
            .map_err(|error| Failure::Failed(format!("cannot write the request: {error}")))?;
        if let Value::Object(fields) = &mut body {
            fields.retain(|_, value| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty));
        }
        self.body = Some(body);
        Ok(self)
    }

    /// With this body as it is: an empty list replaces what there is.
    pub fn exact_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn request_sends_only_fields_that_are_set() {
        let body = json!({"title": "t", "parent": null, "tags": [], "priority": 0});
        let request = Request::post(&["beads"]).body(&body).unwrap();
        assert_eq!(request.body, Some(json!({"title": "t", "priority": 0})));
        let query = Request::get(&["beads"]).filter("q", Some(1)).filter("tag", None::<&str>).query;
        assert_eq!(query, [("q", "1".to_owned())]);
    }
}
