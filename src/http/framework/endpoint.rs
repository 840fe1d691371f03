//! One row of the table of endpoints: everything that is true of a route, in one place.

use crate::http::framework::metrics::RouteMetrics;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::request::ApiRequest;
use crate::http::framework::required_role::Access;
use crate::http::wire::body::{BodyLimit, Secrecy};
use crate::http::wire::openai_error::ErrorFormat;
use crate::http::wire::problem::ApiError;
use crate::http::wire::query::QueryField;
use crate::http::wire::reply::Reply;
use futures_util::future::{BoxFuture, FutureExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use warp::http::Method;

/// Function that answers a request.
pub type Handler = Box<dyn Fn(ApiRequest) -> BoxFuture<'static, Result<Reply, ApiError>> + Send + Sync>;
/// Makes a schema and files its parts under the document's components.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A body that an endpoint takes.
#[derive(Clone, Copy)]
pub struct RequestBody {
    /// Its schema.
    pub schema: SchemaOf,
    /// Presence of the body: required or optional.
    pub presence: Presence,
}

/// Presence of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The body is required.
    Required,
    /// Without one every field has its default.
    Optional,
}

/// The treatment of an `Idempotency-Key` at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// The answer to a `POST` is kept and given again; other methods need no key and ignore it.
    Kept,
    /// Ignored: nothing changes here, and the protocol of the route knows no such key.
    Ignored,
    /// Refused: a file that was read in changes nothing the second time.
    RefusedForFiles,
    /// Refused: the answers concern secrets and are not kept.
    RefusedForSecrets,
}

/// The pages that may call an endpoint from another origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Pages of the configured origins, each with a token of its own.
    Configured,
    /// Besides, the page of Temporal, for the user who signed in here.
    CodecPage,
}

/// Time limit of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The configured time.
    Limited,
    /// As long as the client wants.
    Unlimited,
}

/// A route with all that is known of it.
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// Path; `{name}` matches any one segment.
    pub path: &'static str,
    /// Required access.
    pub access: Access,
    /// Summary, in a few words.
    pub summary: &'static str,
    /// The query parameters it knows.
    pub query: Vec<QueryField>,
    /// The body it takes.
    pub body: Option<RequestBody>,
    /// Its successful answers: status and schema; no schema means no JSON.
    pub answers: Vec<(u16, Option<SchemaOf>)>,
    /// Content types besides JSON of its answers: status and type.
    pub other_types: Vec<(u16, &'static str)>,
    /// The part of a request that says to which project it belongs.
    pub scope: ProjectScope,
    /// The treatment of an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// The form of its error answers.
    pub error_format: ErrorFormat,
    /// The pages that may call it from another origin.
    pub origin_policy: OriginPolicy,
    /// How careful it is with its body.
    pub secrecy: Secrecy,
    /// Size limit of the body.
    pub body_limit: BodyLimit,
    /// Time limit of the answer.
    pub timeout: Timeout,
    /// Handler of the requests.
    pub handler: Handler,
    /// Metrics of the route.
    pub metrics: RouteMetrics,
}

impl Endpoint {
    /// An endpoint that takes no body, for the role `viewer` and closed to tokens that are limited to projects.
    pub fn new<F, Fut>(method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(ApiRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        let metrics = RouteMetrics::new(method.clone(), path);
        Self {
            method,
            path,
            access: Access::Viewer,
            summary: "",
            query: Vec::new(),
            body: None,
            answers: Vec::new(),
            other_types: Vec::new(),
            scope: ProjectScope::Closed,
            idempotency: Idempotency::Kept,
            error_format: ErrorFormat::Problem,
            origin_policy: OriginPolicy::Configured,
            secrecy: Secrecy::Plain,
            body_limit: BodyLimit::Standard,
            timeout: Timeout::Limited,
            handler: Box::new(move |call| handler(call).boxed()),
            metrics,
        }
    }

    /// Reads.
    pub fn get<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(ApiRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        Self::new(Method::GET, path, handler)
    }

    /// Does something that needs no telling.
    pub fn post<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(ApiRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        Self::new(Method::POST, path, handler)
    }

    /// Deletes.
    pub fn delete<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(ApiRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        Self::new(Method::DELETE, path, handler)
    }

    /// An endpoint that takes a JSON body of type `T`.
    pub fn with_body<T, F, Fut>(method: Method, path: &'static str, handler: F) -> Self
    where
        T: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(ApiRequest, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        let mut endpoint = Self::new(method, path, move |mut call: ApiRequest| {
            let handler = handler.clone();
            async move {
                let body = call.json::<T>().await?;
                handler(call, body).await
            }
        });
        endpoint.body = Some(RequestBody { schema: subschema::<T>, presence: Presence::Required });
        endpoint
    }

    /// An endpoint that takes a JSON body of type `T`, or none.
    pub fn with_optional_body<T, F, Fut>(method: Method, path: &'static str, handler: F) -> Self
    where
        T: DeserializeOwned + JsonSchema + Default + Send + 'static,
        F: Fn(ApiRequest, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        let mut endpoint = Self::new(method, path, move |mut call: ApiRequest| {
            let handler = handler.clone();
            async move {
                let body = call.json_or_default::<T>().await?;
                handler(call, body).await
            }
        });
        endpoint.body = Some(RequestBody { schema: subschema::<T>, presence: Presence::Optional });
        endpoint
    }

    /// Sets the required access.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets how the project of a request is found.
    #[must_use]
    pub fn scope(mut self, scope: ProjectScope) -> Self {
        self.scope = scope;
        self
    }

    /// Refuses an `Idempotency-Key`, since the answers concern secrets.
    #[must_use]
    pub fn without_kept_answers(mut self) -> Self {
        self.idempotency = Idempotency::RefusedForSecrets;
        self
    }

    /// Speaks the protocol of OpenAI: its error format, and no `Idempotency-Key`.
    #[must_use]
    pub fn openai(mut self) -> Self {
        self.error_format = ErrorFormat::OpenAi;
        self.idempotency = Idempotency::Ignored;
        self
    }

    /// Admits the page of Temporal.
    #[must_use]
    pub fn codec_page(mut self) -> Self {
        self.origin_policy = OriginPolicy::CodecPage;
        self
    }

    /// Sets the summary.
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Query parameters it knows, beside those named before.
    #[must_use]
    pub fn query(mut self, fields: &[QueryField]) -> Self {
        self.query.extend_from_slice(fields);
        self
    }

    /// A successful answer with JSON of type `T`.
    #[must_use]
    pub fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, Some(subschema::<T>)));
        self
    }

    /// A successful answer without JSON.
    #[must_use]
    pub fn answers_without_json(mut self, status: u16) -> Self {
        self.answers.push((status, None));
        self
    }

    /// A successful answer of another content type than JSON, or of that as well.
    #[must_use]
    pub fn answers_as(mut self, status: u16, content_type: &'static str) -> Self {
        if !self.answers.iter().any(|(known, _)| *known == status) {
            self.answers.push((status, None));
        }
        self.other_types.push((status, content_type));
        self
    }

    /// Its body may hold a secret.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }

    /// Its body holds a secret beside a whole document.
    #[must_use]
    pub fn secret_document(mut self) -> Self {
        self.secrecy = Secrecy::SecretDocument;
        self
    }

    /// Its body holds a whole conversation.
    #[must_use]
    pub fn conversation(mut self) -> Self {
        self.body_limit = BodyLimit::Conversation;
        self
    }

    /// Its body is a file, which the handler reads.
    #[must_use]
    pub fn file(mut self) -> Self {
        self.body_limit = BodyLimit::File;
        self.idempotency = Idempotency::RefusedForFiles;
        self
    }

    /// Its answer may take as long as it wants.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.timeout = Timeout::Unlimited;
        self
    }
}

fn subschema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
