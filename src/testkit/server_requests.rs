//! Requests to a server process over HTTP, one line each.

use crate::http_client::{HttpResponse, send};
use crate::server_process::ServerProcess;
use serde_json::Value;

impl ServerProcess {
    /// `GET path`: status and JSON body.
    ///
    /// # Panics
    /// This and the other requests panic without an HTTP answer; the message holds the server's stderr.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, None).await
    }

    /// `POST path` with a JSON body: status and JSON body.
    pub async fn post(&self, path: &str, json: &Value) -> (u16, Value) {
        self.request("POST", path, Some(json)).await
    }

    /// `PUT path` with a JSON body: status and JSON body.
    pub async fn put(&self, path: &str, json: &Value) -> (u16, Value) {
        self.request("PUT", path, Some(json)).await
    }

    /// `PATCH path` with a JSON body: status and JSON body.
    pub async fn patch(&self, path: &str, json: &Value) -> (u16, Value) {
        self.request("PATCH", path, Some(json)).await
    }

    /// `DELETE path`: status and JSON body.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.request("DELETE", path, None).await
    }

    /// Any request with the administrator's token: status and JSON body.
    pub async fn request(&self, method: &str, path: &str, json: Option<&Value>) -> (u16, Value) {
        let answer = self.ask(method, path, &[], json).await;
        (answer.status, answer.json())
    }

    /// Any request with the administrator's token and these headers: the whole answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<&Value>,
    ) -> HttpResponse {
        let bearer = self.token().map(|token| format!("Bearer {token}"));
        let bearer = bearer.iter().map(|bearer| ("authorization", bearer.as_str()));
        let headers: Vec<_> = bearer.chain(headers.iter().copied()).collect();
        self.send(method, path, &headers, json).await
    }

    /// Any request with just these headers and no token: the whole answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<&Value>,
    ) -> HttpResponse {
        let url = format!("{}{path}", self.url());
        match send(method, &url, headers, json).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}; the server wrote:\n{}", self.stderr_text()),
        }
    }
}
