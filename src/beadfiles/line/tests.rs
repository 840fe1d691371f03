use super::*;
use crate::bead::KeptFields;
use crate::write::{Gate, kept_fields, write_gate, write_line};
use proptest::prelude::*;
use serde_json::json;

/// Parses a line and writes it again as an unchanged bead.
fn round_trip(text: &str) -> (FileBead, Vec<String>, String) {
    let Line::Bead { bead, fields, warnings } = read_line(text).unwrap() else { panic!("{text}") };
    let kept = kept_fields(&bead, fields);
    let line = write_line(&bead, &kept);
    (*bead, warnings, line)
}

/// Returns the JSON with sorted fields; numbers keep their form.
fn canonical(text: &str) -> String {
    fn sorted(raw: &str) -> String {
        if let Ok(fields) = RawFields::parse(raw) {
            let parts: Vec<String> =
                fields.iter().map(|(name, raw)| format!("{name:?}:{}", sorted(raw))).collect();
            return format!("{{{}}}", parts.join(","));
        }
        match serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(raw) {
            Ok(items) => items.iter().map(|item| sorted(item.get())).collect::<Vec<_>>().join(","),
            Err(_) => match serde_json::from_str::<String>(raw) {
                Ok(text) => format!("{text:?}"),
                Err(_) => raw.to_owned(),
            },
        }
    }
    sorted(text)
}

const WHOLE: &str = r#"{"_type":"issue","id":"arb-a3f8.1","title":"Wire \u00e9 vault","description":"d","design":"x",
"acceptance_criteria":"a","notes":"n","spec_id":"s","status":"hooked","priority":1,"issue_type":"feature","assignee":"ann",
"owner":"o","estimated_minutes":90,"created_at":"2026-01-18T11:16:06.123456789-08:00","created_by":"ceo",
"updated_at":"2026-11-22T10:00:00Z","started_at":"2026-11-22T10:00:00Z","due_at":"2026-12-01T00:00:00Z",
"defer_until":null,"external_ref":"","source_system":"gh","metadata":{"a":1.0,"b":1e3,"n":12345678901234567890123},
"labels":["vault","v1.0"],"timeout":172800000000000,"waiters":["x"],"pinned":false,"ephemeral":true,"wisp_type":"ping",
"bonded_from":[{"source_id":"p","bond_type":"t","bond_point":""}],"unheard_of":{"deep":[1,2.50]},
"dependencies":[{"issue_id":"arb-a3f8.1","depends_on_id":"arb-77b1","type":"waits-for","created_at":"2026-11-22T10:00:00Z",
"created_by":"ceo","metadata":"{\"gate\":\"any-children\"}","thread_id":"t-1","later":7},
{"issue_id":"arb-a3f8.1","depends_on_id":"external:x","type":"tracks","created_at":"2026-11-22T10:00:00.5+01:00","created_by":""}],
"comments":[{"id":17,"issue_id":"arb-a3f8.1","author":"ann","text":"old","created_at":"2026-11-22T10:00:00Z"},
{"id":"c-1","issue_id":"arb-a3f8.1","author":"bob","text":"new","created_at":"2026-11-22T10:00:01Z"}]}"#;

#[test]
fn line_round_trip_keeps_every_field_as_written() {
    let text = WHOLE.replace('\n', "");
    let (bead, warnings, line) = round_trip(&text);
    assert_eq!(canonical(&line), canonical(&text));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((bead.state.status.as_str(), bead.is_ephemeral, bead.edges.len()), ("in_progress", true, 2));
    assert_eq!((bead.comments[0].id.as_str(), bead.comments[1].id.as_str()), ("17", "c-1"));
    assert_eq!(bead.created_at.unwrap().to_string(), "2026-01-18T19:16:06.123Z");
}

#[test]
fn changed_field_is_rewritten_and_others_stay_as_written() {
    let text = WHOLE.replace('\n', "");
    let Line::Bead { bead, fields, .. } = read_line(&text).unwrap() else { panic!() };
    let kept = kept_fields(&bead, fields);
    let changed = FileBead {
        state: BeadState { status: arbiter_core::bead::Status::Closed, reason: None },
        assignee: None,
        ..*bead
    };
    let line = write_line(&changed, &kept);
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["status"], &value["assignee"]), (&json!("closed"), &Value::Null));
    assert!(line.contains("2026-01-18T11:16:06.123456789-08:00") && line.contains("12345678901234567890123"));
}

#[test]
fn kept_fields_are_empty_for_a_canonical_line() {
    let plain = r#"{"_type":"issue","id":"a-1","title":"t","status":"open","priority":2,"issue_type":"task","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"}"#;
    let Line::Bead { bead, fields, .. } = read_line(plain).unwrap() else { panic!() };
    assert!(kept_fields(&bead, fields).0.is_empty());
    assert_eq!(canonical(&write_line(&bead, &KeptFields::default())), canonical(plain));
}

#[test]
fn arbiter_fields_round_trip_through_metadata() {
    let bead = FileBead {
        id: "a-1".into(),
        title: "t".into(),
        state: BeadState { status: arbiter_core::bead::Status::Blocked, reason: Some("no route".into()) },
        context: json!({"branch": "x"}).as_object().cloned().unwrap(),
        is_approved: true,
        ..FileBead::default()
    };
    let line = write_line(&bead, &KeptFields::default());
    let (again, _, _) = round_trip(&line);
    assert_eq!(again, bead);
    let mut metadata = RawFields::default();
    metadata.put("metadata", r#"{"theirs":1.50}"#.to_owned());
    let line = write_line(&bead, &KeptFields(metadata));
    assert!(line.contains("1.50"), "{line}");
    let Line::Bead { bead: again, fields, .. } = read_line(&line).unwrap() else { panic!() };
    assert_eq!((*again, fields.get("metadata")), (bead, Some(r#"{"theirs":1.50}"#)));
}

#[test]
fn line_kinds_other_than_bead_are_recognized() {
    assert_eq!(read_line("  ").unwrap(), Line::Blank);
    assert_eq!(read_line(r#"{"_schema":"beads-jsonl/1"}"#).unwrap(), Line::Schema);
    assert_eq!(
        read_line(r#"{"_type":"memory","key":"k","value":"v"}"#).unwrap(),
        Line::Other { kind: "memory".into() }
    );
    let gone = r#"{"id":"a","title":"t","status":"tombstone"}"#;
    assert_eq!(read_line(gone).unwrap(), Line::Tombstone { id: "a".into(), at: None });
    for live in [r#""""#, r#""0001-01-01T00:00:00Z""#, r#""2026-01-01T00:00:00Z""#, "null"] {
        let text = format!(r#"{{"id":"a","title":"t","deleted_at":{live}}}"#);
        assert!(matches!(read_line(&text).unwrap(), Line::Bead { .. }), "{text}");
    }
    let at = Timestamp::from_millis(0);
    let gate = Gate { id: "dec-1".into(), question: "q".into(), priority: 2, created_at: at, updated_at: at };
    assert_eq!(read_line(&write_gate(&gate)).unwrap(), Line::Gate { id: "dec-1".into() });
}

#[test]
fn invalid_line_names_its_problem_and_odd_one_gets_a_warning() {
    for (text, why) in [
        ("nonsense", "no JSON object"),
        ("[1]", "no JSON object"),
        (r#"{"title":"t"}"#, "id is missing"),
        (r#"{"id":7,"title":"t"}"#, "id is missing or no text"),
        (r#"{"id":"undefined","title":"t"}"#, "id must have 1 to 255 bytes"),
        (r#"{"id":"a"}"#, "title has 0 characters"),
        (r#"{"id":"a","title":"t","priority":7}"#, "priority is not 0 to 4"),
        (r#"{"id":"a","title":"t","priority":-1}"#, "priority is not 0 to 4"),
    ] {
        let problem = read_line(text).unwrap_err().to_string();
        assert!(problem.contains(why), "{text}: {problem}");
    }
    let odd = r#"{"id":"a","title":"t","description":7,"due_at":"soon","labels":"x","dependencies":[{"type":"blocks"}],"comments":[{"id":"c"}],"status":"Deferred","issue_type":"feat"}"#;
    let (bead, warnings, line) = round_trip(odd);
    assert_eq!((bead.priority, bead.bead_type.as_str()), (0, "feature"));
    assert_eq!(bead.state.reason.as_deref(), Some("bd:deferred"));
    assert_eq!(warnings.len(), 6, "{warnings:?}");
    for kept in
        [r#""description":7"#, r#""due_at":"soon""#, r#""status":"Deferred""#, r#""issue_type":"feat""#]
    {
        assert!(line.contains(kept), "{line}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Value::Number)),
        "[^\u{0}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_line()(
        id in "[a-z]{1,4}-[a-z0-9.]{1,8}",
        title in "[^\u{0}]{1,40}",
        status in prop::sample::select(vec!["open", "in_progress", "blocked", "closed", "deferred", "pinned", "hooked", "x-y"]),
        priority in 0..=4u8,
        known in prop::collection::hash_map(prop::sample::select(vec![
            "description", "assignee", "close_reason", "acceptance_criteria", "due_at", "defer_until", "closed_at", "pinned", "ephemeral", "issue_type",
        ]), any_json(), 0..6),
        times in prop::collection::hash_map(prop::sample::select(vec!["created_at", "updated_at", "started_at"]), 0..4_000_000_000_000i64, 0..3),
        foreign in prop::collection::hash_map("x_[a-z]{1,8}", any_json(), 0..5),
        labels in prop::collection::vec("[a-z.:]{1,10}", 0..4),
        edges in prop::collection::hash_map("[a-z]{1,4}-[a-z0-9]{1,6}", (prop::sample::select(vec!["blocks", "related", "waits-for", "own-kind"]), any_json()), 0..4),
        comments in prop::collection::vec(("[a-z0-9-]{1,8}", "[^\u{0}]{0,20}", any_json()), 0..3),
    ) -> Value {
        let mut line = json!({"_type": "issue", "id": id, "title": title, "status": status, "priority": priority, "issue_type": "bug"});
        let time = |ms: i64| Timestamp::from_millis(ms).to_string();
        for (name, value) in known.into_iter().map(|(n, v)| (n.to_owned(), v)).chain(foreign) {
            line[name] = value;
        }
        for (name, ms) in times {
            line[name] = json!(time(ms));
        }
        if !labels.is_empty() {
            line["labels"] = json!(labels);
        }
        let edges: Vec<Value> = edges.into_iter().map(|(target, (kind, extra))| json!({
            "issue_id": id, "depends_on_id": target, "type": kind, "metadata": extra,
        })).collect();
        if !edges.is_empty() {
            line["dependencies"] = json!(edges);
        }
        let comments: Vec<Value> = comments.into_iter().map(|(comment, text, extra)| json!({
            "id": comment, "issue_id": id, "author": "a", "text": text, "x": extra,
        })).collect();
        if !comments.is_empty() {
            line["comments"] = json!(comments);
        }
        line
    }
}

proptest! {
    #[test]
    fn arbitrary_line_round_trips(line in any_line()) {
        let text = line.to_string();
        let (bead, _, written) = round_trip(&text);
        prop_assert_eq!(canonical(&written), canonical(&text));
        let (again, _, third) = round_trip(&written);
        prop_assert_eq!(again, bead);
        prop_assert_eq!(third, written);
    }
}
