//! One row of the table of endpoints: everything that is true of a route, in one place.

use crate::http::framework::metrics::RouteMetrics;
use crate::http::framework::request::ApiRequest;
use crate::http::framework::required_role::Access;
use crate::http::wire::problem::ApiError;
use crate::http::wire::reply::Reply;
use futures_util::future::{BoxFuture, FutureExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use warp::http::Method;

/// What answers a call.
pub type Handler = Box<dyn Fn(ApiRequest) -> BoxFuture<'static, Result<Reply, ApiError>> + Send + Sync>;
/// Makes a schema and files its parts under the document's components.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a query parameter holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number, 0 or more.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A query parameter that an endpoint knows; all others are refused.
#[derive(Clone, Copy, Debug)]
pub struct QueryField {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it does.
    pub summary: &'static str,
}

/// A query parameter of any text.
pub const fn text(name: &'static str, summary: &'static str) -> QueryField {
    QueryField { name, kind: Kind::Text, summary }
}

/// A query parameter that is a number.
pub const fn number(name: &'static str, summary: &'static str) -> QueryField {
    QueryField { name, kind: Kind::Number, summary }
}

/// A query parameter that is `true` or `false`.
pub const fn flag(name: &'static str, summary: &'static str) -> QueryField {
    QueryField { name, kind: Kind::Flag, summary }
}

/// A query parameter that is one of a few words.
pub const fn word(name: &'static str, words: &'static [&'static str], summary: &'static str) -> QueryField {
    QueryField { name, kind: Kind::Word(words), summary }
}

/// A body that an endpoint takes.
#[derive(Clone, Copy)]
pub struct RequestBody {
    /// Its schema.
    pub schema: SchemaOf,
    /// Whether there must be one.
    pub presence: Presence,
}

/// Whether a body must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// Without one every field has its default.
    Optional,
}

/// How careful an endpoint is with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// As usual.
    Plain,
    /// It may hold a password or a key: bounded tightly, and wiped after use.
    Secret,
    /// It holds a password beside a whole document: bounded as usual, and wiped after use.
    SecretDocument,
}

impl Secrecy {
    /// Returns whether the body may hold what nobody else may see.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretDocument)
    }
}

/// How large a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// As usual.
    Standard,
    /// It holds a whole conversation, with its images.
    Conversation,
    /// It is a file of any size, which its handler reads as it comes.
    File,
}

/// How long an answer may take.
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
    /// The path; `{name}` stands for any one segment.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// The query parameters it knows.
    pub query: Vec<QueryField>,
    /// The body it takes.
    pub body: Option<RequestBody>,
    /// Its successful answers: status and schema; no schema means no JSON.
    pub answers: Vec<(u16, Option<SchemaOf>)>,
    /// How careful it is with its body.
    pub secrecy: Secrecy,
    /// How large its body may be.
    pub body_limit: BodyLimit,
    /// How long it may take.
    pub timeout: Timeout,
    /// What answers.
    pub handler: Handler,
    /// What is counted about it.
    pub metrics: RouteMetrics,
}

impl Endpoint {
    /// An endpoint that takes no body; for everybody who may read.
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

    /// Who may use it.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What it does.
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
