//! The OpenAPI document, made from the table of endpoints and from nothing else.

use crate::http::framework::endpoint::{Endpoint, Presence, SchemaOf};
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::server::routes;
use crate::http::wire::body::BodyLimit;
use crate::http::wire::openai_error::ErrorFormat;
use crate::http::wire::problem::{Problem, ProblemType};
use crate::http::wire::query::{Kind, QueryField};
use crate::http::wire::reply::Reply;
use crate::http::{ApiError, ApiRequest};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

const VERSION: &str = "3.1.0";
const DESCRIPTION: &str = "Runs a company of AI agents: providers, agents, projects, beads (work items that \
    depend on each other), decisions, and a durable stream of events.";

/// The route of the document itself.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/openapi.json", show)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("This document")
            .answers::<Value>(200),
        Endpoint::get("/api/openapi.yaml", show_yaml)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("This document as YAML")
            .answers_as(200, "application/yaml"),
    ]
}

async fn show(_: ApiRequest) -> Result<Reply, ApiError> {
    static DOCUMENT: OnceLock<bytes::Bytes> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| document().to_string().into());
    Ok(Reply::rendered_json(text.clone()))
}

async fn show_yaml(_: ApiRequest) -> Result<Reply, ApiError> {
    static DOCUMENT: OnceLock<bytes::Bytes> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| openapi_yaml().into());
    Ok(Reply::text("application/yaml", text.clone()))
}

/// The document of all endpoints as YAML.
pub fn openapi_yaml() -> String {
    // Maps, lists, texts and numbers always serialize.
    serde_saphyr::to_string(&document()).unwrap_or_default()
}

/// The document of all endpoints.
pub fn document() -> Value {
    describe(&routes::endpoints())
}

fn describe(endpoints: &[Endpoint]) -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.written(|generator| generator.subschema_for::<Problem>());
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let operation = operation(endpoint, &mut schemas);
        // The document has no way to say that a parameter takes all that is left of a path.
        let path = paths.entry(endpoint.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation;
    }
    let kinds: Map<String, Value> = ProblemType::all()
        .map(|kind| {
            let about = json!({"status": kind.status, "title": kind.title, "meaning": kind.meaning});
            (kind.code.to_string(), about)
        })
        .collect();
    json!({
        "openapi": VERSION,
        "info": {
            "title": "Arbiter",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "responses": {
                "Problem": {
                    "description": "What went wrong (RFC 9457); x-problem-types lists every type",
                    "content": {"application/problem+json": {"schema": problem}},
                },
                "OpenAiError": {
                    "description": "What went wrong, as OpenAI's clients expect it: `error` has `message`, `type` and `code`",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "x-problem-types": kinds,
    })
}

fn operation(endpoint: &Endpoint, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = path_parameters(endpoint.path).map(path_parameter).collect();
    parameters.extend(endpoint.query.iter().map(query_parameter));
    let mut responses = Map::new();
    for (status, schema) in &endpoint.answers {
        responses.insert(status.to_string(), answer(*status, *schema, schemas));
    }
    for (status, content_type) in &endpoint.other_types {
        responses[&status.to_string()]["content"][content_type] = json!({"schema": {"type": "string"}});
    }
    let failed = match endpoint.error_format {
        ErrorFormat::Problem => "#/components/responses/Problem",
        ErrorFormat::OpenAi => "#/components/responses/OpenAiError",
    };
    responses.insert("default".to_owned(), json!({"$ref": failed}));
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [tag(endpoint.path)],
        "x-role": endpoint.access.as_str(),
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if endpoint.access == Access::Public {
        operation["security"] = json!([]);
    }
    if endpoint.body_limit == BodyLimit::File {
        let text = json!({"schema": {"type": "string"}});
        operation["requestBody"] = json!({
            "required": false,
            "content": {"application/x-ndjson": text, "application/yaml": text},
        });
    }
    if let Some(body) = &endpoint.body {
        operation["requestBody"] = json!({
            "required": body.presence == Presence::Required,
            "content": {"application/json": {"schema": schemas.read(body.schema)}},
        });
    }
    operation
}

fn answer(status: u16, schema: Option<SchemaOf>, schemas: &mut Schemas) -> Value {
    let description = match status {
        201 => "Created",
        204 => "Done",
        503 => "Not ready",
        _ => "OK",
    };
    match schema {
        Some(schema) => json!({
            "description": description,
            "content": {"application/json": {"schema": schemas.written(schema)}},
        }),
        None => json!({"description": description}),
    }
}

fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| name.trim_start_matches('*'))
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
}

fn query_parameter(field: &QueryField) -> Value {
    let schema = match field.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Number => json!({"type": "integer", "minimum": 0}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
    };
    json!({"name": field.name, "in": "query", "description": field.summary, "schema": schema})
}

/// `get_beads_id_history`: the method and the path's words.
fn operation_id(endpoint: &Endpoint) -> String {
    let path = endpoint.path.trim_start_matches("/api").trim_start_matches("/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let method = endpoint.method.as_str().to_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

/// The resource that a path belongs to.
fn tag(path: &str) -> &str {
    let rest = path.strip_prefix("/api/v1/").unwrap_or("server");
    rest.split('/').next().unwrap_or(rest)
}

/// Schemas of what is read and of what is written, filed under the document's components.
struct Schemas {
    reading: SchemaGenerator,
    writing: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            reading: settings().for_deserialize().into_generator(),
            writing: settings().for_serialize().into_generator(),
        }
    }

    fn read(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.reading).to_value()
    }

    fn written(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.writing).to_value()
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut all = self.reading.take_definitions(true);
        all.extend(self.writing.take_definitions(true));
        all
    }
}

#[cfg(test)]
mod tests;
