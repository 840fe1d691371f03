use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn rendered(error: ApiError) -> (u16, HeaderMap, Value) {
    let (status, headers, body) = error.render("req-7");
    (status.as_u16(), headers, serde_json::from_slice(&body).unwrap())
}

#[test]
fn problem_types_have_unique_codes_and_one_line_meanings() {
    let codes: BTreeSet<&str> = ProblemType::all().map(|problem| problem.code.as_str()).collect();
    assert_eq!(codes.len(), ProblemCode::ALL.len());
    for problem in ProblemType::all() {
        let well_formed = problem.code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
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
    assert_eq!(status(Refusal::conflict(ProblemCode::BudgetExhausted, "no")), 402);
}

#[test]
fn invalid_fields_are_listed_by_pointer() {
    let (status, _, body) = rendered(ApiError::field("title", "is missing"));
    assert_eq!(status, 422);
    assert_eq!(body["errors"], json!([{"pointer": "/title", "detail": "is missing"}]));
}

#[test]
fn overload_sets_retry_after_and_missing_token_challenge() {
    let (status, headers, _) = rendered(ApiError::new(ProblemCode::Busy, "x"));
    assert_eq!((status, headers[RETRY_AFTER].to_str().unwrap()), (503, "1"));
    let (_, headers, _) = rendered(ApiError::new(ProblemCode::Throttled, "x").retry_after(7));
    assert_eq!(headers[RETRY_AFTER], "7");
    let (_, headers, _) = rendered(ApiError::new(ProblemCode::Unauthorized, "x"));
    assert!(headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    let (_, headers, _) =
        rendered(ApiError::new(ProblemCode::MethodNotAllowed, "x").with_allow("GET, HEAD".into()));
    assert_eq!(headers[ALLOW], "GET, HEAD");
}

#[test]
fn every_code_is_answered_with_its_own_row() {
    for code in ProblemCode::ALL.iter().copied() {
        let wanted = ProblemType::of(code);
        let (status, _, body) = rendered(ApiError::from(Refusal::conflict(code, "no")));
        let row = (status, body["type"].as_str(), body["title"].as_str());
        assert_eq!(row, (wanted.status, Some(code.as_str()), Some(wanted.title)));
        assert_eq!(ProblemCode::parse(code.as_str()), Some(code));
    }
}
