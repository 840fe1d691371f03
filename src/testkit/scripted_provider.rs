//! A provider on loopback that speaks OpenAI's HTTP API and follows a [`Script`].
//!
//! It runs on a thread of its own, so a test or an actor system that blocks does not silence it.

use crate::provider_wire::{Body, chat_answer, response};
use crate::script::{ChatInput, Fault, Reply, Script};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
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
    /// The JSON body; `null` when there was none.
    pub body: Value,
}

struct State {
    script: Mutex<Script>,
    requests: Mutex<Vec<RecordedRequest>>,
    chats: watch::Sender<usize>,
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

    /// Waits until this many chats have been asked since the start.
    ///
    /// # Panics
    /// When they have not come after 30 s.
    pub async fn chats_asked(&self, count: usize) {
        let mut chats = self.state.chats.subscribe();
        let reached = chats.wait_for(|asked| *asked >= count);
        let waited = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(waited.is_ok(), "only {} of {count} chats were asked", self.chat_count());
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

/// A closure of a script that panicked poisons nothing: the test sees a lost connection.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
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

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let header = request.headers().get(AUTHORIZATION);
    let authorization = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let recorded =
        RecordedRequest { path: path.clone(), authorization: authorization.clone(), body: body.clone() };
    lock(&state.requests).push(recorded);
    let script = lock(&state.script).clone();
    let wanted = script.required_key.as_ref().map(|key| format!("Bearer {key}"));
    let is_welcome = wanted.is_none() || wanted == authorization;

    let (reply, (content_type, text)) = match path.as_str() {
        "/v1/chat/completions" => {
            let mut number = 0;
            state.chats.send_modify(|count| {
                *count += 1;
                number = *count;
            });
            let chat = ChatInput { body, authorization, number };
            let reply =
                if is_welcome { (script.answer)(&chat) } else { unwelcome(chat.authorization.as_deref()) };
            let answer = chat_answer(&reply, &chat);
            (reply, answer)
        }
        _ if !is_welcome => raw(unwelcome(authorization.as_deref())),
        "/v1/models" => raw(script
            .models_reply
            .unwrap_or_else(|| Reply::raw(json!({"object": "list", "data": script.models}).to_string()))),
        _ => {
            raw(Reply::error(404, json!({"error": {"message": format!("no such path: {path}")}}).to_string()))
        }
    };
    tokio::time::sleep(reply.delay).await;
    if reply.fault == Some(Fault::Hang) {
        std::future::pending::<()>().await;
    }
    Ok(response(&reply, content_type, text))
}

fn raw(reply: Reply) -> (Reply, (&'static str, String)) {
    let text = reply.body.clone().unwrap_or_else(|| reply.text.clone());
    (reply, ("application/json", text))
}

fn unwelcome(authorization: Option<&str>) -> Reply {
    let message = format!("Incorrect API key provided: {}", authorization.unwrap_or("none"));
    Reply::error(401, json!({"error": {"message": message, "code": "invalid_api_key"}}).to_string())
}

#[cfg(test)]
mod tests;
