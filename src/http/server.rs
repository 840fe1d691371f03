//! The accept loop: connections in, requests to the filter, and an orderly end.

pub(crate) mod openapi;
pub(crate) mod pipeline;
pub(crate) mod routes;
pub(crate) mod run_counts;
pub(crate) mod tls;

use crate::config;
use crate::http::framework::bead_cache;
use crate::http::framework::context::Context;
use crate::http::framework::endpoint::Endpoint;
use crate::http::framework::peer::Peer;
use crate::http::server::pipeline::{ANONYMOUS, Pipeline};
use crate::http::server::tls::Tls;
use futures_util::FutureExt;
use futures_util::future::ready;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tower::{Service, ServiceExt};
use warp::http::header::{HOST, HeaderValue, STRICT_TRANSPORT_SECURITY};
use warp::http::{HeaderMap, Method, Request};
use warp::reply::Response;

/// The most bytes that wait to be written to, or were read from, one connection.
const MAX_BUFFER: usize = 65_536;
/// Time in which a client over the limit of connections has to show a valid token.
const PROBATION: Duration = Duration::from_secs(2);
/// Pause after a failed accept, usually caused by a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time allowed for requests in flight at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between the upkeep runs of the metrics recorder.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// HSTS header for TLS connections: one year.
const HSTS_ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A listening socket.
pub struct Listener {
    /// The port.
    pub listener: TcpListener,
    /// TLS settings; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }
}

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The longest time a client may take for a TLS handshake, and again for a request's head.
    pub header_read: Duration,
    /// The largest request head, in bytes.
    pub header_bytes: usize,
    /// The most headers of a request.
    pub headers: usize,
    /// The most connections at one time. Some more are taken for callers with a token.
    pub connections: usize,
    /// The time after which a peer that takes nothing is given up.
    pub stall: Duration,
    /// Time allowed for requests in flight at shutdown.
    pub drain: Duration,
}

impl ConnectionLimits {
    /// Returns the number of connections over the limit that may wait for a token at one time.
    fn kept(self) -> usize {
        (self.connections / 8).clamp(16, 64)
    }

    /// Returns the number of connections with those that are kept for callers with a token. Connections that made
    /// room for others count until their tasks have ended.
    fn hard(self) -> usize {
        self.connections.saturating_add(8 * self.kept())
    }
}

impl From<&config::Http> for ConnectionLimits {
    fn from(settings: &config::Http) -> Self {
        Self {
            header_read: Duration::from_millis(settings.header_read_timeout_ms),
            header_bytes: settings.max_header_bytes,
            headers: settings.max_headers,
            connections: settings.max_connections,
            stall: Duration::from_millis(settings.stream_stall_ms),
            drain: DRAIN_TIMEOUT,
        }
    }
}

/// Serves the API until `shutdown` ends; then ends streams, lets requests finish, and returns.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    context: Context,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_endpoints(context, routes::endpoints(), listener, shutdown).await
}

/// Serves these endpoints in the place of the built-in ones.
///
/// # Errors
/// When the listener has no address.
pub async fn serve_endpoints(
    context: Context,
    endpoints: Vec<Endpoint>,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = listener.into();
    let pipeline = Pipeline::new(context.clone(), endpoints, listener.listener.local_addr()?);
    let limits = ConnectionLimits::from(&context.settings().http);
    let counting = tokio::spawn(run_counts::count(context.clone()));
    let listening = tokio::spawn(bead_cache::track_events(context.clone()));
    run(context, listener, warp::service(pipeline.into_filter()), limits, shutdown).await;
    counting.abort();
    listening.abort();
    Ok(())
}

/// The accept loop alone, in front of any service.
pub async fn run<S>(
    context: Context,
    listener: impl Into<Listener>,
    service: S,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let Listener { listener, tls } = listener.into();
    let mut shutdown = pin!(shutdown);
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    let (mut connections, mut probations) = (JoinSet::new(), Probations::default());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let peer = Peer::at(from.ip());
                    let guard = context.metrics().connection(limits.connections);
                    let is_ordinary = guard.is_some();
                    let guard = guard.or_else(|| context.metrics().connection(limits.hard()));
                    let Some(guard) = guard.zip(context.quotas().connection(&peer)) else {
                        metrics::counter!("arbiter_http_connections_refused_total").increment(1);
                        continue;
                    };
                    let known = peer.clone();
                    let served = connection(context.clone(), stream, tls.clone(), peer, service.clone(), limits);
                    if is_ordinary {
                        connections.spawn(async move {
                            served.await;
                            drop(guard);
                        });
                        continue;
                    }
                    let probation = known.clone();
                    let task = connections.spawn(async move {
                        until_probation_ends(served, &probation).await;
                        drop(guard);
                    });
                    probations.add(known, task, limits.kept());
                }
                Err(error) => {
                    tracing::warn!(target: ANONYMOUS, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => log_task_failure(ended),
            _ = upkeep.tick() => {
                context.metrics().upkeep();
                context.quotas().upkeep();
            }
        }
    }
    drop(listener);
    context.close();
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            log_task_failure(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
}

fn log_task_failure(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(target: ANONYMOUS, %error, "a connection's task failed");
    }
}

/// Connections over the limit whose clients have not shown a token yet, oldest first.
#[derive(Default)]
struct Probations(VecDeque<(Peer, AbortHandle)>);

impl Probations {
    /// Adds a connection; the oldest one makes room when there are `max` already.
    fn add(&mut self, peer: Peer, task: AbortHandle, max: usize) {
        self.0.retain(|(peer, task)| !peer.is_known() && !task.is_finished());
        if self.0.len() >= max
            && let Some((_, oldest)) = self.0.pop_front()
        {
            metrics::counter!("arbiter_http_connections_refused_total").increment(1);
            oldest.abort();
        }
        self.0.push_back((peer, task));
    }
}

/// Serves a connection over the limit: it is closed unless a request with a valid token comes soon.
async fn until_probation_ends(served: impl Future<Output = ()>, peer: &Peer) {
    let mut served = pin!(served);
    if tokio::time::timeout(PROBATION, served.as_mut()).await.is_ok() {
        return;
    }
    if peer.is_known() {
        served.await;
    } else {
        metrics::counter!("arbiter_http_connections_refused_total").increment(1);
    }
}

async fn connection<S>(
    context: Context,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    peer: Peer,
    service: S,
    limits: ConnectionLimits,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    set_socket_options(&stream, limits);
    let Some(tls) = tls else {
        return serve_connection(context, stream, peer, service, limits).await;
    };
    let mut closing = context.closing();
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(limits.header_read, tls.accept(stream)) => handshake,
        () = closing.triggered() => return,
    };
    match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok((stream, certificate)) => {
            let service = tower::service_fn(move |request| serve_over_tls(service.clone(), request));
            serve_connection(context, stream, peer.with_certificate(certificate), service, limits).await;
        }
        Err(error) => {
            metrics::counter!("arbiter_http_tls_failures_total").increment(1);
            tracing::debug!(%error, peer = %peer.address, "a TLS handshake failed");
        }
    }
}

/// Answers a request over TLS, and adds the HSTS header.
async fn serve_over_tls<S>(service: S, request: Request<Incoming>) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    // The word would hold for every port of that name, and other servers of this machine are called so too.
    let is_localhost = is_addressed_to_localhost(request.headers());
    let mut response = service.oneshot(request).await?;
    if !is_localhost {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS_ONE_YEAR);
    }
    Ok(response)
}

fn is_addressed_to_localhost(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Requests and answers over one connection, until either end closes it.
async fn serve_connection<S>(
    context: Context,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    service: S,
    limits: ConnectionLimits,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(MAX_BUFFER);
    let refusing = context.clone();
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        if *request.method() == Method::CONNECT || request.uri().path().is_empty() {
            let refused = pipeline::refuse_method(&refusing, request.method(), request.headers(), &peer);
            return ready(Ok(refused)).right_future();
        }
        request.extensions_mut().insert(peer.clone());
        // A target that names a host counts before the Host header.
        if let Some(authority) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        service.clone().oneshot(request).left_future()
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = pin!(served);
    let mut closing = context.closing();
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = closing.triggered() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // A client that went away, sent no HTTP, or took too long.
        tracing::debug!(%error, "a connection ended early");
    }
}

fn set_socket_options(stream: &TcpStream, limits: ConnectionLimits) {
    let stall_ms = u32::try_from(limits.stall.as_millis()).unwrap_or(u32::MAX);
    // Neither is needed to be right, only to be quick and to notice a dead peer.
    let noticed = rustix::net::sockopt::set_tcp_user_timeout(stream, stall_ms);
    if let Err(error) = stream.set_nodelay(true).and(noticed.map_err(io::Error::from)) {
        tracing::debug!(%error, "a connection's options could not be set");
    }
}
