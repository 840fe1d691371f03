use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

fn rendered(error: ApiError) -> (u16, HeaderMap, Value) {
    let (status, headers, body) = error.render("req-7");
    (status.as_u16(), headers, serde_json::from_slice(&body).unwrap())
}

#[test]
fn problem_types_have_unique_codes_and_one_line_meanings() {
    let codes: BTreeSet<&str> = PROBLEMS.iter().map(|problem| problem.code).collect();
    assert_eq!(codes.len(), PROBLEMS.len());
    for problem in PROBLEMS {
        let well_formed = problem.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        assert!(well_formed && (400..600).contains(&problem.status), "{}", problem.code);
        let line = problem.meaning;
        assert!(line.ends_with('.') && line.len() <= 110 && !line.contains('\n'), "{}", problem.code);
        assert!(!problem.title.is_empty() && !problem.title.ends_with('.'), "{}", problem.code);
    }
}

#[test]
fn refusal_maps_to_its_problem_document() {
    let held = Refusal::Transition {
        entity: "bead",
        id: "bd-1".into(),
        state: "closed".into(),
        trigger: "complete".into(),
    };
    let (status, _, body) = rendered(held.into());
    assert_eq!(status, 409);
    assert_eq!(
        body,
        json!({
            "type": "transition", "title": "Not from this state", "status": 409,
            "detail": "bead bd-1 is closed: it cannot complete from there", "request_id": "req-7",
        })
    );
    let status = |refusal: Refusal| ApiError::from(refusal).status().as_u16();
    assert_eq!(status(Refusal::not_found("bead", "x")), 404);
    assert_eq!(status(Refusal::Exists { entity: "bead", id: "x".into() }), 409);
    assert_eq!(status(Refusal::Forbidden("no".into())), 403);
    assert_eq!(status(Refusal::Precondition { entity: "bead", id: "x".into(), revision: 2 }), 412);
    assert_eq!(status(Refusal::conflict("a-rule-nobody-listed", "no")), 409);
}

#[test]
fn invalid_fields_are_listed_by_pointer() {
    let (status, _, body) = rendered(ApiError::field("title", "is missing"));
    assert_eq!(status, 422);
    assert_eq!(body["errors"], json!([{"pointer": "/title", "detail": "is missing"}]));
}

#[test]
fn overload_sets_retry_after_and_missing_token_challenge() {
    let (status, headers, _) = rendered(ApiError::new("busy", "x"));
    assert_eq!((status, headers[RETRY_AFTER].to_str().unwrap()), (503, "1"));
    let (_, headers, _) = rendered(ApiError::new("throttled", "x").retry_after(7));
    assert_eq!(headers[RETRY_AFTER], "7");
    let (_, headers, _) = rendered(ApiError::new("unauthorized", "x"));
    assert!(headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    let (_, headers, _) = rendered(ApiError::new("method-not-allowed", "x").with_allow("GET, HEAD".into()));
    assert_eq!(headers[ALLOW], "GET, HEAD");
}

/// Codes are given as the first argument of `conflict(` and of `ApiError::new(`.
fn codes_in(source: &str) -> Vec<String> {
    let calls = ["conflict(", "ApiError::new("];
    let rests = calls.iter().flat_map(|call| source.split(call).skip(1));
    rests
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned))
        .collect()
}

fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("problem/tests.rs") {
            into.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_code_in_sources_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in ["src/core", "src/store", "src/vault", "src/providers", "src/http", "actors"] {
        sources(&root.join(folder), &mut texts);
    }
    let given: Vec<String> = texts.iter().flat_map(|text| codes_in(text)).collect();
    assert!(given.len() > 20, "the search finds no codes");
    for code in given {
        assert!(PROBLEMS.iter().any(|problem| problem.code == code), "{code} is not in the table");
    }
}
