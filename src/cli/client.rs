//! The HTTP client of the API.
//!
//! Owns escaping, the token's header, time limits and what an unreachable server is called. Follows
//! no redirect: a token goes to the server it was given for.

pub(crate) mod connection;
pub(crate) mod data_directory;
pub(crate) mod problem;
pub(crate) mod request;
#[cfg(test)]
pub(crate) mod scripted_server;
pub(crate) mod session;
pub(crate) mod sse;
pub(crate) mod trust;

use crate::cli::client::connection::Target;
use crate::cli::client::problem::ServerProblem;
use crate::cli::client::request::{AnswerLimit, Request};
use crate::cli::ui::failure::Failure;
use reqwest::{
    Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::{error::Error, time::Duration};
use url::Url;

/// The longest time to reach the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for a whole answer, streams excepted; more than the server itself allows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// The entries asked for in one page.
const PAGE: usize = 1000;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client of `target`.
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &target.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Failure::Usage("the token holds characters no token has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("arbiter/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers);
        if is_loopback(&target.url) {
            // A proxy of the environment is meant for the world, not for this machine.
            builder = builder.no_proxy();
        }
        if target.url.scheme() == "https" {
            builder = target.trust.apply(builder)?;
        }
        let http =
            builder.build().map_err(|error| Failure::Failed(format!("cannot start the client: {error}")))?;
        Ok(Self { http, base: target.url.clone() })
    }

    /// Sends and returns the JSON of the answer; null when it has none.
    pub async fn json(&self, request: &Request) -> Result<Value, Failure> {
        let response = self.send(request).await?;
        read(response).await
    }

    /// Sends and returns the answer's text.
    pub async fn text(&self, request: &Request) -> Result<String, Failure> {
        let response = self.send(request).await?;
        response.text().await.map_err(|error| connection_lost(&error))
    }

    /// The first `limit` entries of a list, page by page, and whether there are more.
    pub async fn list(&self, request: &Request, limit: usize) -> Result<(Vec<Value>, Remainder), Failure> {
        let mut entries = Vec::new();
        let mut cursor = None;
        loop {
            let page = request
                .clone()
                .filter("limit", Some((limit - entries.len()).min(PAGE)))
                .filter("cursor", cursor.take());
            let response = self.send(&page).await?;
            let next = next_cursor(response.headers());
            match read(response).await? {
                Value::Array(rows) if rows.is_empty() => return Ok((entries, Remainder::None)),
                Value::Array(rows) => entries.extend(rows),
                _ => return Err(Failure::Failed("the server's answer is no list".to_owned())),
            }
            match next {
                None => return Ok((entries, Remainder::None)),
                Some(_) if entries.len() >= limit => return Ok((entries, Remainder::More)),
                next => cursor = next,
            }
        }
    }

    /// Sends a file as the body and returns the JSON of the answer.
    pub async fn upload(
        &self,
        request: &Request,
        content_type: &'static str,
        body: reqwest::Body,
    ) -> Result<Value, Failure> {
        let builder = self.http.request(request.method.clone(), self.address(request)?);
        let builder = builder.header(CONTENT_TYPE, content_type).body(body);
        read(self.check_status(builder.send().await).await?).await
    }

    /// Sends and hands the answer's body on as it comes.
    pub async fn download(
        &self,
        request: &Request,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut response = self.send(request).await?;
        while let Some(piece) = response.chunk().await.map_err(|error| connection_lost(&error))? {
            take(&piece)?;
        }
        Ok(())
    }

    /// Opens an event stream; `last` is the last event that was seen.
    pub async fn stream(&self, request: &Request, last: Option<&str>) -> Result<Response, Failure> {
        let mut builder = self.http.get(self.address(request)?).header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            builder = builder.header("Last-Event-ID", last);
        }
        self.check_status(builder.send().await).await
    }

    /// Sends; an answer that is no success is a failure.
    async fn send(&self, request: &Request) -> Result<Response, Failure> {
        let mut builder = self.http.request(request.method.clone(), self.address(request)?);
        if request.answer_limit == AnswerLimit::Default {
            builder = builder.timeout(ANSWER_TIMEOUT);
        }
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        self.check_status(builder.send().await).await
    }

    async fn check_status(&self, sent: Result<Response, reqwest::Error>) -> Result<Response, Failure> {
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let request_id =
            response.headers().get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.unwrap_or_default();
        let problem = ServerProblem::from_answer(status.as_u16(), &body, request_id.as_deref());
        Err(Failure::Server(Box::new(problem)))
    }

    fn address(&self, request: &Request) -> Result<Url, Failure> {
        let segments = request.segments.iter().map(String::as_str);
        let segments: Vec<&str> = ["api", "v1"].into_iter().chain(segments).collect();
        let mut url = self.below(&segments)?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }

    /// The address with these segments below the server's own.
    fn below(&self, segments: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.set_query(None);
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("{} cannot have a path", self.base)))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let host = self.base.host_str().unwrap_or_default();
        let why = trust::explain(error, host).unwrap_or_else(|| root_cause(error));
        let text = if error.is_timeout() && !error.is_connect() {
            format!("the server at {} did not answer in time", self.base)
        } else if self.base.scheme() == "http" && why.contains("invalid HTTP version") {
            // The alert of a TLS server after a greeting that it does not understand.
            format!("{} is no HTTP server; is its address https://…?", self.base)
        } else {
            format!("cannot reach a server at {}: {why}", self.base)
        };
        Failure::Unreachable(text)
    }
}

/// The rest of a list after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remainder {
    /// The page was the last one.
    None,
    /// Another page follows.
    More,
}

async fn read(response: Response) -> Result<Value, Failure> {
    let body = response.bytes().await.map_err(|error| connection_lost(&error))?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .map_err(|error| Failure::Failed(format!("the server's answer is no JSON: {error}")))
}

fn connection_lost(error: &reqwest::Error) -> Failure {
    Failure::Unreachable(format!("the server's answer broke off: {}", root_cause(error)))
}

/// Returns the last cause of a chain: the error of the operating system.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The cursor of `Link: <…>; rel="next"`. Only the cursor is taken: where the link points to is the
/// server's word, and the token stays with the address that was given.
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links
        .flat_map(|value| value.split(", <"))
        .find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let target = next.trim_start_matches('<').split('>').next()?;
    let query = target.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "cursor")
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
