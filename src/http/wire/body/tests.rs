use super::*;
use serde::Deserialize;
use warp::http::HeaderValue;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Wanted {
    title: String,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    inner: Option<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Inner {
    #[serde(rename = "a/b")]
    slashed: u8,
}

fn problem(text: &str) -> (u16, Vec<(String, String)>) {
    problem_of(text, Secrecy::Plain)
}

fn problem_of(text: &str, secrecy: Secrecy) -> (u16, Vec<(String, String)>) {
    let error = limit(100, secrecy).parse::<Wanted>(text.as_bytes()).unwrap_err();
    let errors = error.errors().iter().map(|e| (e.pointer.clone(), e.detail.clone())).collect();
    (error.status().as_u16(), errors)
}

fn pointer_of(text: &str) -> String {
    let (status, errors) = problem(text);
    assert_eq!((status, errors.len()), (422, 1), "{text}");
    errors[0].0.clone()
}

#[test]
fn non_json_body_is_malformed() {
    for text in ["", "{", "title", r#"{"title": "a"} x"#, r#"{"title": 'a'}"#, "\u{feff}{}"] {
        assert_eq!(problem(text).0, 400, "{text:?}");
    }
}

#[test]
fn invalid_fields_are_named_by_json_pointer() {
    assert_eq!(pointer_of(r#"{"title": "a", "colour": 1}"#), "/colour");
    assert_eq!(pointer_of(r#"{"priority": 1}"#), "/title");
    assert_eq!(pointer_of(r#"{"title": 3}"#), "/title");
    assert_eq!(pointer_of(r#"{"title": "a", "priority": "high"}"#), "/priority");
    assert_eq!(pointer_of(r#"{"title": "a", "priority": 256}"#), "/priority");
    assert_eq!(pointer_of(r#"{"title": "a", "priority": -1}"#), "/priority");
    assert_eq!(pointer_of(r#"{"title": "a", "tags": ["x", 2]}"#), "/tags/1");
    assert_eq!(pointer_of(r#"{"title": "a", "inner": {}}"#), "/inner/a~1b");
    assert_eq!(pointer_of(r#"{"title": "a", "inner": {"a/b": []}}"#), "/inner/a~1b");
    assert_eq!(pointer_of("[]"), "");
}

#[test]
fn field_error_names_field_not_text_position() {
    assert_eq!(problem("{}").1[0].1, "must be given");
    let unknown = &problem(r#"{"title": "a", "colour": 1}"#).1[0].1;
    assert!(unknown.starts_with("is not a field that can be set here; expected"), "{unknown}");
    assert!(!problem(r#"{"title": 3}"#).1[0].1.contains("line"));
}

#[test]
fn secret_body_error_omits_its_values() {
    let detail = |text: &str| problem_of(text, Secrecy::Secret).1[0].1.clone();
    assert_eq!(detail(r#"{"title": "a", "priority": "sk-1"}"#), "does not fit; expected u8");
    assert_eq!(detail(r#""sk-1, expected x""#), "does not fit; expected struct Wanted");
    assert_eq!(detail(r#"{"title": "a", "tags": "sk-1"}"#), "does not fit; expected a sequence");
    assert_eq!(detail("{}"), "must be given");
    assert!(problem(r#"{"title": "a", "tags": "sk-1"}"#).1[0].1.contains("sk-1"), "others may be quoted");
}

#[test]
fn secret_request_closes_its_connection() {
    for (secrecy, wanted) in [(Secrecy::Plain, None), (Secrecy::Secret, Some("close"))] {
        let mut headers = HeaderMap::new();
        close_after_secret(&mut headers, secrecy);
        assert_eq!(headers.get(CONNECTION).map(|value| value.to_str().unwrap()), wanted);
    }
}

#[test]
fn body_without_json_content_type_is_refused() {
    let check = |value: &'static str| {
        check_content_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
    };
    assert!(check("application/json").is_ok());
    assert!(check("Application/JSON; charset=utf-8").is_ok());
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_eq!(check(wrong).unwrap_err().code(), ProblemCode::MediaType, "{wrong}");
    }
    assert!(check_content_type(&HeaderMap::new()).is_err());
}

fn limit(max_body_bytes: u64, secrecy: Secrecy) -> BodyPolicy {
    BodyPolicy::new(&config::Http { max_body_bytes, ..config::Http::default() }, secrecy, BodyLimit::Standard)
}

fn stream(pieces: &'static [&'static str]) -> BodyStream {
    Box::pin(futures_util::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())))))
}

#[test]
fn json_list_is_not_read_as_object_fields() {
    for text in ["[1]", " \n[\"x\"]", "[]"] {
        let (status, problems) = problem_of(text, Secrecy::Plain);
        assert_eq!((status, problems[0].0.as_str()), (422, ""), "{text}");
    }
}

#[tokio::test]
async fn body_over_limit_is_refused_chunked_or_announced() {
    let none = HeaderMap::new();
    let six = limit(6, Secrecy::Plain);
    assert_eq!(read(stream(&["abc", "def"]), &none, six).await.unwrap().as_slice(), b"abcdef");
    let over = read(stream(&["abc", "defg"]), &none, six).await.unwrap_err();
    assert_eq!(over.status().as_u16(), 413);
    let announced = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("7"))]);
    assert_eq!(read(stream(&[]), &announced, six).await.unwrap_err().status().as_u16(), 413);
}

#[tokio::test]
async fn secret_buffer_is_never_reallocated() {
    let secret = limit(1_000_000, Secrecy::Secret);
    let read = read(stream(&["abc", "def"]), &HeaderMap::new(), secret).await.unwrap();
    assert_eq!(read.capacity(), 65_536);
}

#[tokio::test]
async fn stalled_body_times_out() {
    for slow in [
        BodyPolicy { idle: Duration::ZERO, ..limit(6, Secrecy::Plain) },
        BodyPolicy { total: Duration::ZERO, ..limit(6, Secrecy::Plain) },
    ] {
        let silent: BodyStream = Box::pin(futures_util::stream::pending());
        let error = read(silent, &HeaderMap::new(), slow).await.unwrap_err();
        assert_eq!(error.status().as_u16(), 408);
    }
}
