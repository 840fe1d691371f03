//! Edits of JSON texts in place: every byte outside of the edited value stays.

use std::ops::Range;

/// A member of an object, as positions in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Position of the name's opening quote.
    start: usize,
    /// Position behind the name's closing quote.
    name_end: usize,
    pub(crate) value: Range<usize>,
}

/// Returns the first position at or behind `at` that is no white space.
fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Returns the position behind the string that begins at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut position = at + 1;
    loop {
        match bytes.get(position)? {
            b'"' => return Some(position + 1),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

/// Returns the position behind the value that begins at `at`. The text must be valid JSON.
fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => skip_string(bytes, at),
        b'{' | b'[' => {
            let (mut depth, mut position) = (0_usize, at);
            loop {
                match bytes.get(position)? {
                    b'"' => position = skip_string(bytes, position)?,
                    b'{' | b'[' => {
                        depth += 1;
                        position += 1;
                    }
                    b'}' | b']' => {
                        depth -= 1;
                        position += 1;
                        if depth == 0 {
                            return Some(position);
                        }
                    }
                    _ => position += 1,
                }
            }
        }
        _ => {
            let rest = bytes.get(at..)?;
            let length = rest
                .iter()
                .take_while(|byte| !matches!(byte, b',' | b'}' | b']') && !byte.is_ascii_whitespace())
                .count();
            Some(at + length)
        }
    }
}

/// Returns the position of the next member or item; `None` at the closing bracket.
fn next(bytes: &[u8], mut at: usize, close: u8) -> Option<usize> {
    loop {
        at = skip_space(bytes, at);
        match *bytes.get(at)? {
            b',' => at += 1,
            byte if byte == close => return None,
            _ => return Some(at),
        }
    }
}

/// Returns the members of an object in their order; `None` if the text is no JSON object.
pub(crate) fn members(text: &str) -> Option<Vec<Member>> {
    serde_json::from_str::<crate::raw::RawFields>(text).ok()?;
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = skip_space(bytes, 0) + 1;
    while let Some(start) = next(bytes, at, b'}') {
        let name_end = skip_string(bytes, start)?;
        let value = skip_space(bytes, skip_space(bytes, name_end) + 1);
        at = skip_value(bytes, value)?;
        let name = serde_json::from_str(text.get(start..name_end)?).ok()?;
        found.push(Member { name, start, name_end, value: value..at });
    }
    Some(found)
}

/// Returns the positions of an array's items; `None` if the text is no JSON array.
pub(crate) fn items(text: &str) -> Option<Vec<Range<usize>>> {
    serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text).ok()?;
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = skip_space(bytes, 0) + 1;
    while let Some(start) = next(bytes, at, b']') {
        at = skip_value(bytes, start)?;
        found.push(start..at);
    }
    Some(found)
}

/// Returns the raw value of an object's member; the last one of that name counts.
pub(crate) fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let member = members(text)?.into_iter().rev().find(|member| member.name == name)?;
    text.get(member.value)
}

fn splice(text: &str, range: Range<usize>, new: &str) -> String {
    let (before, after) = (text.get(..range.start), text.get(range.end..));
    format!("{}{new}{}", before.unwrap_or_default(), after.unwrap_or_default())
}

/// Sets a member's value, or removes the member. A new member goes to the end, in the spacing of the others.
pub(crate) fn set_member(text: &str, name: &str, value: Option<&str>) -> String {
    let Some(all) = members(text) else { return text.to_owned() };
    let found = all.iter().rposition(|member| member.name == name);
    match (found, value) {
        (None, None) => text.to_owned(),
        (Some(at), Some(value)) => splice(text, all[at].value.clone(), value),
        (Some(at), None) => {
            let range = match (at.checked_sub(1), all.get(at + 1)) {
                (Some(before), _) => all[before].value.end..all[at].value.end,
                (None, Some(next)) => all[at].start..next.start,
                (None, None) => all[at].start..all[at].value.end,
            };
            let rest = splice(text, range, "");
            // An earlier member of the same name would count now.
            set_member(&rest, name, None)
        }
        (None, Some(value)) => {
            let quoted = serde_json::Value::from(name).to_string();
            let Some(last) = all.last() else {
                let open = skip_space(text.as_bytes(), 0) + 1;
                return splice(text, open..open, &format!("{quoted}:{value}"));
            };
            let colon = text.get(last.name_end..last.value.start).unwrap_or(":");
            let comma = match all.as_slice() {
                [first, second, ..] => text.get(first.value.end..second.start).unwrap_or(","),
                _ => ",",
            };
            splice(text, last.value.end..last.value.end, &format!("{comma}{quoted}{colon}{value}"))
        }
    }
}

/// Appends items to an array. A value that is no array becomes the first item. Without any, `array` stays.
pub(crate) fn push_items(array: Option<&str>, new: &[String]) -> Option<String> {
    let array = array.filter(|array| *array != "null" || new.is_empty());
    if new.is_empty() {
        return array.map(str::to_owned);
    }
    let Some(array) = array else { return Some(format!("[{}]", new.join(","))) };
    let Some(all) = items(array) else { return Some(format!("[{array},{}]", new.join(","))) };
    let Some(last) = all.last() else { return Some(format!("[{}]", new.join(","))) };
    let comma = match all.as_slice() {
        [first, second, ..] => array.get(first.end..second.start).unwrap_or(","),
        _ => ",",
    };
    Some(splice(array, last.end..last.end, &format!("{comma}{}", new.join(comma))))
}

/// Removes the items of an array for which `is_gone` returns true.
pub(crate) fn remove_items(array: &str, is_gone: impl Fn(&str) -> bool) -> String {
    let mut text = array.to_owned();
    loop {
        let Some(all) = items(&text) else { return text };
        let gone = all.iter().position(|item| text.get(item.clone()).is_some_and(&is_gone));
        let Some(at) = gone else { return text };
        let range = match (at.checked_sub(1), all.get(at + 1)) {
            (Some(before), _) => all[before].end..all[at].end,
            (None, Some(next)) => all[at].start..next.start,
            (None, None) => all[at].clone(),
        };
        text = splice(&text, range, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"b": 1, "a" : {"x":[1,"]"]} , "c": "\"}", "b": 2.50}"#;

    #[test]
    fn member_edit_leaves_every_other_byte() {
        assert_eq!(value_of(LINE, "b"), Some("2.50"));
        assert_eq!(set_member(LINE, "c", Some("7")), r#"{"b": 1, "a" : {"x":[1,"]"]} , "c": 7, "b": 2.50}"#);
        assert_eq!(set_member(LINE, "b", None), r#"{"a" : {"x":[1,"]"]} , "c": "\"}"}"#);
        assert_eq!(
            set_member(LINE, "d", Some("true")),
            r#"{"b": 1, "a" : {"x":[1,"]"]} , "c": "\"}", "b": 2.50, "d": true}"#
        );
        assert_eq!(set_member("{}", "d", Some("1")), r#"{"d":1}"#);
        assert_eq!(set_member(r#"{"d":1}"#, "d", None), "{}");
        assert_eq!(set_member(LINE, "none", None), LINE);
        assert_eq!(set_member("[1]", "d", Some("1")), "[1]");
    }

    #[test]
    fn array_edit_leaves_other_items_as_written() {
        let push = |array: Option<&str>| push_items(array, &["2".to_owned()]).unwrap();
        assert_eq!(push(Some(r#"[1, "a"]"#)), r#"[1, "a", 2]"#);
        assert_eq!(push(Some("[ ]")), "[2]");
        assert_eq!(push(Some("null")), "[2]");
        assert_eq!(push(None), "[2]");
        assert_eq!(push(Some(r#""a,b""#)), r#"["a,b",2]"#);
        assert_eq!((push_items(None, &[]), push_items(Some("[ ]"), &[]).unwrap()), (None, "[ ]".to_owned()));
        assert_eq!(remove_items(r#"[1, 2, 1 , 3]"#, |item| item == "1"), "[2 , 3]");
        assert_eq!(remove_items("[1]", |_| true), "[]");
    }
}
