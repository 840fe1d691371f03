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
fn what_is_no_json_is_malformed() {
    for text in ["", "{", "title", r#"{"title": "a"} x"#, r#"{"title": 'a'}"#, "\u{feff}{}"] {
        assert_eq!(problem(text).0, 400, "{text:?}");
    }
}

#[test]
fn unknown_missing_and_wrong_fields_are_named_by_pointer() {
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
fn details_speak_of_the_field_and_not_of_the_text() {
    assert_eq!(problem("{}").1[0].1, "is required");
    let unknown = &problem(r#"{"title": "a", "colour": 1}"#).1[0].1;
    assert!(unknown.starts_with("is not a field that can be set here; expected"), "{unknown}");
    assert!(!problem(r#"{"title": 3}"#).1[0].1.contains("line"));
}

#[test]
fn what_is_wrong_with_a_secret_body_is_said_without_its_values() {
    let detail = |text: &str| problem_of(text, Secrecy::Secret).1[0].1.clone();
    assert_eq!(detail(r#"{"title": "a", "priority": "sk-1"}"#), "does not fit; expected u8");
    assert_eq!(detail(r#""sk-1, expected x""#), "does not fit; expected struct Wanted");
    assert_eq!(detail(r#"{"title": "a", "tags": "sk-1"}"#), "does not fit; expected a sequence");
    assert_eq!(detail("{}"), "is required");
    assert!(problem(r#"{"title": "a", "tags": "sk-1"}"#).1[0].1.contains("sk-1"), "others may be quoted");
}

#[test]
fn a_connection_ends_with_the_answer_to_a_secret() {
    for (secrecy, wanted) in [(Secrecy::Plain, None), (Secrecy::Secret, Some("close"))] {
        let mut headers = HeaderMap::new();
        let_go(&mut headers, secrecy);
        assert_eq!(headers.get(CONNECTION).map(|value| value.to_str().unwrap()), wanted);
    }
}

#[test]
fn a_body_calls_itself_json_or_is_refused() {
    let check = |value: &'static str| {
        check_content_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
    };
    assert!(check("application/json").is_ok());
    assert!(check("Application/JSON; charset=utf-8").is_ok());
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_eq!(check(wrong).unwrap_err().code(), "media-type", "{wrong}");
    }
    assert!(check_content_type(&HeaderMap::new()).is_err());
}

fn limit(max_body_bytes: u64, secrecy: Secrecy) -> Limit {
    Limit::new(&config::Http { max_body_bytes, ..config::Http::default() }, secrecy, Volume::Usual)
}

fn stream(pieces: &'static [&'static str]) -> BodyStream {
    Box::pin(futures_util::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())))))
}

#[test]
fn a_list_is_not_taken_for_the_fields_of_an_object_in_order() {
    for text in ["[1]", " \n[\"x\"]", "[]"] {
        let (status, problems) = problem_of(text, Secrecy::Plain);
        assert_eq!((status, problems[0].0.as_str()), (422, ""), "{text}");
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_however_it_arrives() {
    let none = HeaderMap::new();
    let six = limit(6, Secrecy::Plain);
    assert_eq!(read(stream(&["abc", "def"]), &none, six).await.unwrap().as_slice(), b"abcdef");
    let over = read(stream(&["abc", "defg"]), &none, six).await.unwrap_err();
    assert_eq!(over.status().as_u16(), 413);
    let announced = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("7"))]);
    assert_eq!(read(stream(&[]), &announced, six).await.unwrap_err().status().as_u16(), 413);
}

#[tokio::test]
async fn the_buffer_of_a_secret_never_moves() {
    let secret = limit(1_000_000, Secrecy::Secret);
    let read = read(stream(&["abc", "def"]), &HeaderMap::new(), secret).await.unwrap();
    assert_eq!(read.capacity(), 65_536);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    for slow in [
        Limit { idle: Duration::ZERO, ..limit(6, Secrecy::Plain) },
        Limit { whole: Duration::ZERO, ..limit(6, Secrecy::Plain) },
    ] {
        let silent: BodyStream = Box::pin(futures_util::stream::pending());
        let error = read(silent, &HeaderMap::new(), slow).await.unwrap_err();
        assert_eq!(error.status().as_u16(), 408);
    }
}
