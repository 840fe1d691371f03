//! Problem documents: for the requests of `refusals.txt`, and for every body field and query parameter of the OpenAPI
//! document with a value that does not fit.

use super::freeze_said;
use crate::harness::Harness;
use arbiter::http::document;
use arbiter_testkit::{HttpResponse, send_text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The request's id in the messages of the gateway.
const REQUEST: &[(&str, &str)] = &[(r"\(request [^)]+\)", "(request ID)")];

/// Formats status, code, detail and field errors of an answer.
fn said(answer: &HttpResponse) -> String {
    let body = answer.json();
    let mut text = format!("    {}", answer.status);
    if answer.status < 400 {
        return text;
    }
    let detail = body["detail"].as_str();
    let Some(detail) = detail else {
        // The gateway speaks OpenAI's format.
        write!(text, " {body}").unwrap();
        return text;
    };
    write!(text, " {}: {detail}", body["type"].as_str().unwrap()).unwrap();
    for error in body["errors"].as_array().into_iter().flatten() {
        let error = format!("{}: {}", error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap());
        if error != detail {
            write!(text, "\n        {error}").unwrap();
        }
    }
    text
}

/// Sends requests to one server and keeps a transcript of the answers.
struct Requests {
    harness: Harness,
    tokens: BTreeMap<String, String>,
    lease: String,
    text: String,
}

impl Requests {
    async fn new() -> Self {
        let harness = Harness::new().await;
        let admin = harness.server.token().unwrap().to_owned();
        let tokens =
            BTreeMap::from([("admin".to_owned(), admin), ("wrong".to_owned(), "arb_wrong".to_owned())]);
        Self { harness, tokens, lease: String::new(), text: String::new() }
    }

    /// Sends a request and appends it with its answer.
    async fn make(&mut self, token: &str, method: &str, path: &str, body: &str) {
        let place = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/{path}") };
        let bearer = self.tokens.get(token).map(|token| format!("Bearer {token}"));
        let mut headers: Vec<(&str, &str)> =
            bearer.iter().map(|one| ("authorization", one.as_str())).collect();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let url = format!("{}{place}", self.harness.server.url());
        let answer = send_text(method, &url, &headers, self.filled(body)).await.unwrap();
        let told = answer.json();
        if let (Some(name), Some(token)) = (told["name"].as_str(), told["token"].as_str()) {
            self.tokens.insert(name.to_owned(), token.to_owned());
        }
        if let Some(token) = told["lease"]["token"].as_str() {
            token.clone_into(&mut self.lease);
        }
        let token = if token == "admin" { String::new() } else { format!("@{token} ") };
        let line = format!("{token}{method} {path} {body}");
        writeln!(self.text, "{}\n{}", line.trim_end(), said(&answer)).unwrap();
    }

    /// Expands the placeholders of a body.
    fn filled(&self, body: &str) -> String {
        let mut filled = body.replace("<lease>", &self.lease);
        for (placeholder, make) in [("<long:", long as fn(usize) -> String), ("<many:", many)] {
            while let Some((before, rest)) = filled.split_once(placeholder) {
                let (count, after) = rest.split_once('>').unwrap();
                filled = format!("{before}{}{after}", make(count.parse().unwrap()));
            }
        }
        filled
    }
}

fn long(count: usize) -> String {
    "x".repeat(count)
}

fn many(count: usize) -> String {
    json!((0..count).map(|at| format!("w{at}")).collect::<Vec<_>>()).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_single_requests_are_as_frozen() {
    let mut requests = Requests::new().await;
    for line in include_str!("refusals.txt").lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let (token, line) = match line.strip_prefix('@') {
            Some(rest) => rest.split_once(' ').unwrap(),
            None => ("admin", line),
        };
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_default();
        let (method, path, body) = (part(), part(), part());
        requests.make(token, method, path, body).await;
    }
    freeze_said("refusals", &requests.text, REQUEST);
}

/// Follows a reference to its schema.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Tells whether a schema accepts a number.
fn takes_numbers(schema: &Value) -> bool {
    let kind = &schema["type"];
    ["integer", "number"].iter().any(|number| kind == number || kind.to_string().contains(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_bodies_that_do_not_fit_are_as_frozen() {
    let document = document();
    let mut requests = Requests::new().await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let schema = resolved(&document, body);
            let Some(fields) = schema["properties"].as_object() else { continue };
            for body in ["[]", "{}", "{\"no_such_field\": 7}", "{\"broken"] {
                requests.make("admin", &method, &path, body).await;
            }
            for (name, schema) in fields {
                let wrong = if takes_numbers(schema) { json!({name: "seven"}) } else { json!({name: 7}) };
                requests.make("admin", &method, &path, &wrong.to_string()).await;
            }
        }
    }
    freeze_said("refusals_of_bodies", &requests.text, REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_queries_that_do_not_fit_are_as_frozen() {
    let document = document();
    let mut requests = Requests::new().await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        // The answer to a valid query of a stream never ends.
        for (method, operation) in operations.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let names = parameters.filter(|one| one["in"] == "query").map(|one| &one["name"]);
            let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
            let unknown = [String::from("no_such_parameter=7")];
            let wrong = names.iter().filter(|_| !path.ends_with("/stream")).map(|name| format!("{name}=-7"));
            for query in unknown.into_iter().chain(wrong) {
                requests.make("admin", &method.to_uppercase(), &format!("{path}?{query}"), "").await;
            }
        }
    }
    freeze_said("refusals_of_queries", &requests.text, REQUEST);
}
