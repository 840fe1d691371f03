//! A provider on loopback that speaks OpenAI's and Anthropic's HTTP APIs and follows a [`Script`].
//!
//! Runs on a thread of its own, so a test or an actor system that blocks does not stop it.

use crate::provider_faults::{CountedBody, DisconnectCounter};
use crate::provider_wire::{chat_answer, response};
use crate::script::{ChatInput, Reply, Script, WireProtocol};
use crate::script_fault::Fault;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use rustls::ServerConfig;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// A request the provider received.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedRequest {
    /// The path, such as `/v1/chat/completions`.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    pub headers: HeaderMap,
    /// The JSON body; `null` when there was none.
    pub body: Value,
}

impl RecordedRequest {
    /// A header's text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

struct State {
    script: Mutex<Script>,
    requests: Mutex<Vec<RecordedRequest>>,
    chats: watch::Sender<usize>,
    cancelled: watch::Sender<usize>,
    connections: AtomicUsize,
    /// Chats that have no answer yet, and the most of them at any time.
    running: AtomicUsize,
    most_running: AtomicUsize,
}

/// A chat that has no answer yet.
struct RunningChat(Arc<State>);

impl RunningChat {
    fn begin(state: &Arc<State>) -> Self {
        let running = state.running.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_running.fetch_max(running, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for RunningChat {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running scripted provider; it ends when dropped.
pub struct ScriptedProvider {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedProvider {
    /// Starts to listen on a free port of loopback; requests are taken from now on.
    ///
    /// # Panics
    /// When the machine gives no port or no thread.
    pub fn start(script: Script) -> Self {
        Self::start_with(script, None)
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_tls(script: Script, tls: Arc<ServerConfig>) -> Self {
        Self::start_with(script, Some(tls))
    }

    fn start_with(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(State {
            script: Mutex::new(script),
            requests: Mutex::default(),
            chats: watch::Sender::new(0),
            cancelled: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let served = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("scripted-provider".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, served, tls) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread can be started");
        Self { address, scheme, state, stop: Some(stop), thread: Some(thread) }
    }

    /// The base of its API: `http://127.0.0.1:PORT/v1`, or the same with `https`.
    pub fn url(&self) -> String {
        format!("{}://{}/v1", self.scheme, self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in the order in which they were read.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state.requests).clone()
    }

    /// How many chats were asked so far, answered or not.
    pub fn chat_count(&self) -> usize {
        *self.state.chats.borrow()
    }

    /// Returns the most chats that had no answer at the same time so far.
    pub fn max_concurrent_chats(&self) -> usize {
        self.state.most_running.load(Ordering::SeqCst)
    }

    /// Waits until this many chats have been asked since the start.
    ///
    /// # Panics
    /// When they have not come after 60 s.
    pub async fn wait_for_chats(&self, count: usize) {
        assert!(
            wait_for_count(&self.state.chats, count).await,
            "only {} of {count} chats were asked",
            self.chat_count()
        );
    }

    /// How many connections were made to it so far.
    pub fn connection_count(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many answers their clients did not wait to the end of.
    pub fn cancelled(&self) -> usize {
        *self.state.cancelled.borrow()
    }

    /// Waits until this many answers were cancelled since the start.
    ///
    /// # Panics
    /// When they have not been after 60 s.
    pub async fn wait_for_cancellations(&self, count: usize) {
        assert!(
            wait_for_count(&self.state.cancelled, count).await,
            "only {} of {count} were cancelled",
            self.cancelled()
        );
    }

    /// Follows another script from the next request on; counts go on.
    pub fn set_script(&self, script: Script) {
        *lock(&self.state.script) = script;
    }

    /// Closes the port and all connections; what hangs is cut off.
    pub fn shutdown(mut self) {
        self.stop_thread();
    }

    fn stop_thread(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

async fn wait_for_count(counter: &watch::Sender<usize>, count: usize) -> bool {
    let mut counter = counter.subscribe();
    let waiting = counter.wait_for(|now| *now >= count);
    tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok()
}

/// A closure of a script that panicked poisons nothing: the test sees a lost connection.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&state)));
        let tls = tls.clone();
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // A client that breaks off is none of the provider's business.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(connection), service).await),
                Some(tls) => {
                    if let Ok(connection) = tls.accept(connection).await {
                        drop(http.serve_connection(TokioIo::new(connection), service).await);
                    }
                }
            }
        });
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<CountedBody>, Infallible> {
    // The future is dropped when the client goes away before there is an answer.
    let counter = DisconnectCounter::new(state.cancelled.clone());
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let text = |name: &str| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned());
    let authorization = text(AUTHORIZATION.as_str());
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    lock(&state.requests).push(RecordedRequest {
        path: path.clone(),
        authorization: authorization.clone(),
        headers: headers.clone(),
        body: body.clone(),
    });
    let script = lock(&state.script).clone();
    let given = text("x-api-key").or(authorization.clone());
    let is_welcome = script.required_key.as_ref().is_none_or(|key| {
        given.as_deref().is_some_and(|given| given.strip_prefix("Bearer ").unwrap_or(given) == key)
    });
    let protocol = match path.as_str() {
        "/v1/messages" => WireProtocol::Anthropic,
        _ => WireProtocol::OpenAi,
    };

    let is_chat = matches!(path.as_str(), "/v1/chat/completions" | "/v1/messages");
    let _running = is_chat.then(|| RunningChat::begin(&state));
    let (reply, (content_type, text)) = match path.as_str() {
        "/v1/chat/completions" | "/v1/messages" => {
            let mut number = 0;
            state.chats.send_modify(|count| {
                *count += 1;
                number = *count;
            });
            let chat = ChatInput { protocol, body, authorization, number };
            let reply = if is_welcome { (script.answer)(&chat) } else { unauthorized(given.as_deref()) };
            let answer = chat_answer(&reply, &chat);
            (reply, answer)
        }
        _ if !is_welcome => raw(unauthorized(given.as_deref())),
        "/v1/models" => raw(script.models_reply.unwrap_or_else(|| {
            Reply::raw(json!({"object": "list", "data": script.models, "has_more": false}).to_string())
        })),
        _ => {
            raw(Reply::error(404, json!({"error": {"message": format!("no such path: {path}")}}).to_string()))
        }
    };
    tokio::time::sleep(reply.delay).await;
    if reply.fault == Some(Fault::Hang) {
        std::future::pending::<()>().await;
    }
    Ok(response(&reply, content_type, text).map(|body| CountedBody::new(body, counter)))
}

fn raw(reply: Reply) -> (Reply, (&'static str, String)) {
    let text = reply.body.clone().unwrap_or_else(|| reply.text.clone());
    (reply, ("application/json", text))
}

fn unauthorized(given: Option<&str>) -> Reply {
    let message = format!("Incorrect API key provided: {}", given.unwrap_or("none"));
    let error = json!({"type": "authentication_error", "message": message, "code": "invalid_api_key"});
    Reply::error(401, json!({"type": "error", "error": error}).to_string())
}

#[cfg(test)]
mod tests;
