//! The accept loop: connections in, requests to the filter, and an orderly end.

use crate::config;
use crate::http::context::Context;
use crate::http::dispatch::Edge;
use crate::http::endpoint::Endpoint;
use crate::http::peer::Peer;
use crate::http::table;
use crate::http::{bead_cache, run_counts};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use warp::http::Request;
use warp::reply::Response;

/// The most bytes that wait to be written to, or were read from, one connection.
const MAX_BUFFER: usize = 65_536;
/// The pause after a connection could not be accepted, which is usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long requests in flight may take when the server ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How often what was measured is sorted into its buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time a client may take for a request's head.
    pub header_read: Duration,
    /// The largest request head, in bytes.
    pub header_bytes: usize,
    /// The most headers of a request.
    pub headers: usize,
    /// The most connections at one time.
    pub connections: usize,
    /// The time after which a peer that takes nothing is given up.
    pub stall: Duration,
    /// How long requests in flight may take at the end.
    pub drain: Duration,
}

impl From<&config::Http> for Limits {
    fn from(settings: &config::Http) -> Self {
        Self {
            header_read: Duration::from_millis(settings.header_read_timeout_ms),
            header_bytes: settings.max_header_bytes,
            headers: settings.max_headers,
            connections: settings.max_connections,
            stall: Duration::from_millis(settings.stream_stall_ms),
            drain: DRAIN,
        }
    }
}

/// Serves the API until `shutdown` ends; then ends streams, lets requests finish, and returns.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    context: Context,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_endpoints(context, table::endpoints(), listener, shutdown).await
}

/// Serves these endpoints instead of all of ours.
///
/// # Errors
/// When the listener has no address.
pub async fn serve_endpoints(
    context: Context,
    endpoints: Vec<Endpoint>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let edge = Edge::new(context.clone(), endpoints, listener.local_addr()?);
    let limits = Limits::from(&context.settings().http);
    let counting = tokio::spawn(run_counts::count(context.clone()));
    let listening = tokio::spawn(bead_cache::follow(context.clone()));
    run(context, listener, warp::service(edge.into_filter()), limits, shutdown).await;
    counting.abort();
    listening.abort();
    Ok(())
}

/// The accept loop alone, in front of any service.
pub async fn run<S>(
    context: Context,
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut shutdown = pin!(shutdown);
    let mut upkeep = tokio::time::interval(UPKEEP);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let peer = Peer::at(from.ip());
                    let guard = context.metrics().connection(limits.connections);
                    let Some(guard) = guard.zip(context.shares().connection(&peer)) else {
                        metrics::counter!("arbiter_http_connections_refused_total").increment(1);
                        continue;
                    };
                    let served = connection(context.clone(), stream, peer, service.clone(), limits);
                    connections.spawn(async move {
                        served.await;
                        drop(guard);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            _ = upkeep.tick() => {
                context.metrics().upkeep();
                context.shares().upkeep();
            }
        }
    }
    drop(listener);
    context.close();
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

async fn connection<S>(context: Context, stream: TcpStream, peer: Peer, service: S, limits: Limits)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    prepare(&stream, limits);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(MAX_BUFFER);
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = pin!(served);
    let mut closing = context.closing();
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = closing.begun() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // A client that went away, sent no HTTP, or took too long.
        tracing::debug!(%error, "a connection ended early");
    }
}

fn prepare(stream: &TcpStream, limits: Limits) {
    let stall_ms = u32::try_from(limits.stall.as_millis()).unwrap_or(u32::MAX);
    // Neither is needed to be right, only to be quick and to notice a dead peer.
    let noticed = rustix::net::sockopt::set_tcp_user_timeout(stream, stall_ms);
    if let Err(error) = stream.set_nodelay(true).and(noticed.map_err(io::Error::from)) {
        tracing::debug!(%error, "a connection's options could not be set");
    }
}
