use super::*;
use crate::http::wire::openai_error::ErrorFormat;
use std::collections::BTreeSet;

fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                into.insert(target.clone());
            }
            fields.values().for_each(|field| references(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

#[test]
fn document_lists_exactly_the_endpoints() {
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let endpoints = routes::endpoints();
    let built: BTreeSet<(String, String)> =
        endpoints.iter().map(|e| (e.path.replace("{*", "{"), e.method.to_string())).collect();
    assert_eq!(built.len(), endpoints.len(), "an endpoint is in the table twice");
    assert_eq!(described, built);
}

#[test]
fn every_endpoint_has_summary_answers_and_unique_id() {
    let mut ids = BTreeSet::new();
    for endpoint in routes::endpoints() {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        assert!(!endpoint.summary.is_empty() && !endpoint.summary.ends_with('.'), "{name}");
        assert!(!endpoint.answers.is_empty(), "{name}");
        assert!(ids.insert(operation_id(&endpoint)), "{name} shares its operation id");
        let names: BTreeSet<&str> = endpoint.query.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), endpoint.query.len(), "{name} knows a parameter twice");
        let signs_in = endpoint.path == "/api/v1/session";
        let reads = endpoint.method == warp::http::Method::GET;
        let unsafe_public = endpoint.access == Access::Public && !reads && !signs_in;
        assert!(!unsafe_public, "{name} changes something without a token");
    }
}

#[test]
fn only_openai_routes_use_openai_error_format() {
    for endpoint in routes::endpoints() {
        let expected =
            if endpoint.path.starts_with("/v1/") { ErrorFormat::OpenAi } else { ErrorFormat::Problem };
        assert_eq!(endpoint.error_format, expected, "{} {}", endpoint.method, endpoint.path);
    }
}

#[test]
fn every_schema_reference_resolves() {
    let document = document();
    let mut targets = BTreeSet::new();
    references(&document, &mut targets);
    assert!(targets.len() > 20);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

#[test]
fn secrets_are_write_only_and_bodies_refuse_unknown_fields() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["NewKeyBody"]["properties"]["value"]["writeOnly"], true);
    assert_eq!(schemas["KeyView"]["properties"]["value"], Value::Null);
    assert_eq!(schemas["ProviderView"]["properties"]["api_key"], Value::Null);
    for (name, schema) in schemas.as_object().unwrap() {
        if name.ends_with("Body") {
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}

#[test]
fn required_fields_match_the_specification() {
    let document = document();
    let required = |name: &str| document["components"]["schemas"][name]["required"].clone();
    assert_eq!(required("NewProviderBody"), json!(["name", "type", "endpoint"]));
    assert_eq!(required("NewAgentBody"), json!(["name"]));
    assert_eq!(required("NewProjectBody"), json!(["name"]));
    assert_eq!(required("NewBeadBody"), json!(["title", "project_id"]));
    assert_eq!(required("NewDecisionBody"), json!(["project_id", "question"]));
    assert_eq!(required("BeadPatchBody"), Value::Null);
}
