//! One HTTP request over one connection, with nothing of its own in between: no pool, no redirect,
//! no retry, no TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
pub type HttpError = Box<dyn std::error::Error + Send + Sync>;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpResponse {
    /// The body as JSON; as a JSON string when it is no JSON, `null` when it is empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// A header's text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends one request to an `http://HOST:PORT/…` URL and reads the answer.
///
/// # Errors
/// When there is no connection, no HTTP answer, or none within 30 s.
pub async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    json: Option<&Value>,
) -> Result<HttpResponse, HttpError> {
    let mut headers = headers.to_vec();
    if json.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("content-type", "application/json"));
    }
    let body = json.map(Value::to_string).unwrap_or_default();
    send_text(method, url, &headers, body).await
}

/// Sends one request with just this body and these headers, and reads the answer.
///
/// # Errors
/// As [`send`].
pub async fn send_text(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<HttpResponse, HttpError> {
    tokio::time::timeout(REQUEST_TIMEOUT, async {
        let response = send_request(method, url, headers, body).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(HttpResponse { status: head.status.as_u16(), headers: head.headers, body })
    })
    .await?
}

/// An answer whose body is read as it comes. Dropping it closes the connection.
#[derive(Debug)]
pub struct HttpBodyStream {
    pub status: u16,
    pub headers: HeaderMap,
    body: Incoming,
}

impl HttpBodyStream {
    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// When the connection breaks, or nothing comes within 30 s.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = tokio::time::timeout(REQUEST_TIMEOUT, self.body.frame()).await?;
            let Some(frame) = frame.transpose()? else { return Ok(None) };
            // Anything else are trailers.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// Sends one request with a JSON body and returns when the head of the answer is there.
///
/// # Errors
/// As [`send`].
pub async fn send_streaming(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    json: &Value,
) -> Result<HttpBodyStream, HttpError> {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let response =
        tokio::time::timeout(REQUEST_TIMEOUT, send_request(method, url, &headers, json.to_string()))
            .await??;
    let (head, body) = response.into_parts();
    Ok(HttpBodyStream { status: head.status.as_u16(), headers: head.headers, body })
}

/// Sends one request and returns when the head of the answer is there.
pub(crate) async fn send_request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Response<Incoming>, HttpError> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().ok_or("the url has no host")?.clone();
    let connection = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    // Ends by itself when the answer is read or dropped.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(HOST, authority.as_str());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?)
}
