//! From a request to its answer: one boxed filter, the checks that every request passes, and what every
//! answer carries.

use crate::http::framework::auth::{self, Identity};
use crate::http::framework::context::Context;
use crate::http::framework::cors::{self, Origins};
use crate::http::framework::endpoint::{Endpoint, OriginPolicy, Timeout};
use crate::http::framework::idempotency;
use crate::http::framework::metrics::RouteMetrics;
use crate::http::framework::origin::{self, Hosts};
use crate::http::framework::peer::Peer;
use crate::http::framework::project_scope::{self, PathRows};
use crate::http::framework::request::ApiRequest;
use crate::http::framework::request_id::{self, RequestId};
use crate::http::framework::required_role::Access;
use crate::http::framework::router::{Params, RouteMatch, Router};
use crate::http::wire::body::{self, BodyPolicy, BodyStream};
use crate::http::wire::body::{BodyLimit, Secrecy};
use crate::http::wire::openai_error::ErrorFormat;
use crate::http::wire::problem::ApiError;
use crate::http::wire::query::Query;
use crate::http::wire::reply::Reply;
use crate::http::wire::serde_fields::EmptyBody;
use arbiter_core::kernel::problem_code::ProblemCode;
use bytes::{Buf, Bytes};
use futures_util::{FutureExt, Stream, StreamExt};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warp::filters::BoxedFilter;
use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply as _};

/// Target of log lines that a client without a token can cause; none of them becomes an event.
pub const ANONYMOUS: &str = "anonymous";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Everything that a request meets on its way.
pub struct Pipeline {
    context: Context,
    router: Router,
    hosts: Hosts,
    origins: Origins,
    /// Counts what is no route, so that a client cannot make up labels.
    unrouted: RouteMetrics,
    /// The first segments of the paths that speak OpenAI's protocol: also unknown paths below them do.
    openai_roots: Vec<String>,
}

/// A request as the filter takes it apart.
struct RawRequest {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    peer: Peer,
    body: BodyStream,
}

impl Pipeline {
    /// An edge with these endpoints that listens at an address.
    pub fn new(context: Context, endpoints: Vec<Endpoint>, listening: SocketAddr) -> Self {
        let endpoints: Vec<Arc<Endpoint>> = endpoints.into_iter().map(Arc::new).collect();
        let hosts = Hosts::new(listening, &context.settings().http.allowed_hosts);
        context.set_listen_addr(listening);
        let unrouted = RouteMetrics::new(Method::GET, "none");
        let origins = Origins::new(&context.settings().http.cors_origins)
            .with_codec_page(&context.settings().temporal.ui_url);
        let openai_roots = endpoints
            .iter()
            .filter(|endpoint| endpoint.error_format == ErrorFormat::OpenAi)
            .map(|endpoint| root(endpoint.path).to_owned())
            .collect();
        Self { context, router: Router::new(&endpoints), hosts, origins, unrouted, openai_roots }
    }

    fn error_format(&self, found: &RouteMatch<'_>, path: &str) -> ErrorFormat {
        match found {
            RouteMatch::Endpoint(endpoint, _) => endpoint.error_format,
            _ if self.openai_roots.iter().any(|known| known == root(path)) => ErrorFormat::OpenAi,
            _ => ErrorFormat::Problem,
        }
    }

    /// The edge as a filter that answers everything.
    pub fn into_filter(self) -> BoxedFilter<(Response,)> {
        let pipeline = Arc::new(self);
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        warp::method()
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<Peer>())
            .and(warp::body::stream())
            .then(move |method, path: FullPath, query, headers, peer: Option<Peer>, body| {
                let path = path.as_str().to_owned();
                let peer = peer.unwrap_or_default();
                let request = RawRequest { method, path, query, headers, peer, body: byte_stream(body) };
                let pipeline = Arc::clone(&pipeline);
                async move { pipeline.answer(request).await }
            })
            .boxed()
    }

    async fn answer(&self, mut request: RawRequest) -> Response {
        let started = Instant::now();
        let id = RequestId::of(&request.headers);
        let asked_by = self.origins.allowed_origin(&request.headers).cloned();
        let found = self.router.find(&request.method, &request.path);
        let error_format = self.error_format(&found, &request.path);
        let is_for_codec = admits_codec_page(&found) && self.origins.is_codec_page(&request.headers);
        let page = is_for_codec.then(|| request.headers.clone());
        if page.is_some() && request.method != Method::OPTIONS {
            // From here on it is as if the page were ours: who signed in here counts.
            origin::strip_cross_origin(&mut request.headers);
        }
        let (mut secrecy, peer) = (Secrecy::Plain, request.peer.clone());
        let (metrics, outcome) = match found {
            RouteMatch::Endpoint(endpoint, params) => {
                secrecy = endpoint.secrecy;
                let served = self.serve(endpoint, params, request, id.clone());
                let outcome = AssertUnwindSafe(served).catch_unwind().await;
                (&endpoint.metrics, outcome.unwrap_or_else(|_| Err(panicked())))
            }
            RouteMatch::MethodNotAllowed(others) => (
                &self.unrouted,
                self.count_for_address(&request).and_then(|()| self.method_not_allowed(&request, others)),
            ),
            RouteMatch::NotFound => {
                let admitted =
                    self.count_for_address(&request).and_then(|()| self.check_host_and_site(&request));
                (&self.unrouted, admitted.and_then(|()| Err(ApiError::no_route())))
            }
        };
        let mut response = outcome
            .map_or_else(|error| render(error, &id, secrecy, error_format, &peer), Reply::into_response);
        match page {
            Some(headers) => Origins::add_codec_headers(&headers, response.headers_mut()),
            None => self.origins.add_headers(asked_by.as_ref(), response.headers_mut()),
        }
        body::close_after_secret(response.headers_mut(), secrecy);
        metrics.record(response.status(), started.elapsed());
        add_common_headers(response, id)
    }

    /// Counts an unmatched request against the limit of its address.
    fn count_for_address(&self, request: &RawRequest) -> Result<(), ApiError> {
        self.context.quotas().request(None, &request.peer)
    }

    /// Checks the host and the site of a request, independent of the route.
    fn check_host_and_site(&self, request: &RawRequest) -> Result<(), ApiError> {
        self.hosts.check(&request.headers)?;
        origin::check_site(&request.method, &request.headers, &self.origins)
    }

    fn method_not_allowed(&self, request: &RawRequest, others: &[Arc<Endpoint>]) -> Result<Reply, ApiError> {
        self.check_host_and_site(request)?;
        let mut methods: Vec<&str> = others.iter().map(|endpoint| endpoint.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        let methods = methods.join(", ");
        if request.method == Method::OPTIONS {
            let mut reply = Reply::no_content().with_header(ALLOW, &methods);
            if cors::is_preflight(&request.method, &request.headers)
                && self.origins.allowed_origin(&request.headers).is_some()
            {
                cors::add_preflight_headers(&methods, reply.headers_mut());
            }
            return Ok(reply);
        }
        let detail = format!("{} is not one of {methods}", request.method);
        Err(ApiError::new(ProblemCode::MethodNotAllowed, detail).with_allow(methods))
    }

    /// Identifies the sender. The request counts against its token, or against its address without a valid
    /// token.
    fn identify(&self, endpoint: &Endpoint, request: &RawRequest) -> Result<Identity, ApiError> {
        let identity = auth::identify(&self.context, &request.headers, &request.peer, endpoint.access);
        self.context.quotas().request(identity.as_ref().ok(), &request.peer)?;
        if identity.as_ref().is_ok_and(|identity| identity.token().is_some()) {
            request.peer.set_known();
        }
        identity
    }

    async fn serve(
        &self,
        endpoint: &Endpoint,
        params: Params,
        request: RawRequest,
        request_id: RequestId,
    ) -> Result<Reply, ApiError> {
        self.check_host_and_site(&request)?;
        let settings = &self.context.settings().http;
        let identity = self.identify(endpoint, &request)?;
        let mut call = ApiRequest {
            identity,
            query: Query::parse(&request.query, &endpoint.query)?,
            context: self.context.clone(),
            headers: request.headers,
            peer: request.peer,
            path: request.path,
            body: Some(request.body),
            limit: BodyPolicy::new(settings, endpoint.secrecy, endpoint.body_limit),
            params,
            request_id,
            read: None,
            keep: None,
            rows: PathRows::default(),
        };
        if self.context.is_shutting_down() && endpoint.access != Access::Public {
            return Err(ApiError::new(ProblemCode::ShuttingDown, "the server is shutting down"));
        }
        let answered = async {
            project_scope::check(&call, endpoint).await?;
            let takes_none = endpoint.body.is_none() && endpoint.body_limit != BodyLimit::File;
            if takes_none && !matches!(endpoint.method, Method::GET) {
                call.json_or_default::<EmptyBody>().await?;
            }
            idempotency::answer(endpoint, call).await
        };
        if endpoint.timeout == Timeout::Unlimited {
            return answered.await;
        }
        let limit = Duration::from_millis(settings.request_timeout_ms);
        let late = |_| ApiError::new(ProblemCode::Deadline, "the request took too long and was given up");
        tokio::time::timeout(limit, answered).await.map_err(late)?
    }
}

/// A body of any kind as pieces of bytes.
fn byte_stream<B: Buf + 'static>(
    body: impl Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
) -> BodyStream {
    Box::pin(body.map(|piece| -> Result<Bytes, warp::Error> {
        piece.map(|mut piece| piece.copy_to_bytes(piece.remaining()))
    }))
}

/// The first segment of a path that has more than one, with its slashes.
fn root(path: &str) -> &str {
    path.match_indices('/').nth(1).map_or("", |(end, _)| &path[..=end])
}

fn admits_codec_page(found: &RouteMatch<'_>) -> bool {
    let admits = |endpoint: &Arc<Endpoint>| endpoint.origin_policy == OriginPolicy::CodecPage;
    match found {
        RouteMatch::Endpoint(endpoint, _) => admits(endpoint),
        RouteMatch::MethodNotAllowed(others) => others.iter().any(admits),
        RouteMatch::NotFound => false,
    }
}

fn panicked() -> ApiError {
    ApiError::new(ProblemCode::Internal, "the server failed on this request; its log says how")
}

/// Answers a request that has no path, such as `CONNECT`, before it reaches the filter.
pub(crate) fn refuse_method(
    context: &Context,
    method: &Method,
    headers: &HeaderMap,
    peer: &Peer,
) -> Response {
    let id = RequestId::of(headers);
    let error = context.quotas().request(None, peer).err().unwrap_or_else(|| {
        ApiError::new(ProblemCode::MethodNotAllowed, format!("{method} is not served here"))
            .with_allow(String::new())
    });
    add_common_headers(render(error, &id, Secrecy::Plain, ErrorFormat::Problem, peer), id)
}

fn render(
    error: ApiError,
    id: &RequestId,
    secrecy: Secrecy,
    error_format: ErrorFormat,
    peer: &Peer,
) -> Response {
    let code = error.code().as_str();
    // A client may have put a key into a wrong field: the response may quote it, the log may not.
    let detail = if secrecy.is_secret() { "left out" } else { error.detail() };
    if error.status().is_server_error() && !peer.is_known() {
        tracing::warn!(target: ANONYMOUS, request_id = id.as_str(), code, detail, "a request failed");
    } else if error.status().is_server_error() {
        tracing::warn!(request_id = id.as_str(), code, detail, "a request failed");
    } else {
        tracing::debug!(request_id = id.as_str(), code, detail, "a request was refused");
    }
    let (status, headers, body) = match error_format {
        ErrorFormat::Problem => error.render(id.as_str()),
        ErrorFormat::OpenAi => error.render_for_openai(id.as_str()),
    };
    let mut response = warp::reply::with_status(body, status).into_response();
    *response.headers_mut() = headers;
    response
}

/// Adds the headers of every response.
fn add_common_headers(mut response: Response, id: RequestId) -> Response {
    let bodiless = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, id.into_value());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'"),
    );
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if !bodiless {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}
