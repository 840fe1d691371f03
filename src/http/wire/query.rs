//! Query parameters: known ones only, each of them once, and each of what it has to be.

use crate::http::wire::problem::ApiError;
use std::fmt::Display;
use std::str::FromStr;

/// The values that a query parameter takes.
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
    pub name: &'static str,
    pub kind: Kind,
    /// The effect, as the OpenAPI document describes it.
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

/// The decoded pairs of a query.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query and refuses parameters that the endpoint does not know.
    pub fn parse(raw: &str, known: &[QueryField]) -> Result<Self, ApiError> {
        if raw.is_empty() {
            return Ok(Self::default());
        }
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        for (name, value) in &pairs {
            let Some(field) = known.iter().find(|field| field.name == name) else {
                let names: Vec<&str> = known.iter().map(|field| field.name).collect();
                let hint = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(ApiError::query(format!("unknown parameter {name:?}; known here: {hint}")));
            };
            check(field, value)?;
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter that may be given once.
    pub fn text<'a>(&'a self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(ApiError::query(format!("parameter {name:?} is given more than once"))),
            None => Ok(first),
        }
    }

    /// The value of a parameter as text of one's own.
    pub fn owned(&self, name: &str) -> Result<Option<String>, ApiError> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// The value of a parameter, parsed.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: Display,
    {
        let parse = |text: &str| {
            text.parse().map_err(|error| ApiError::query(format!("parameter {name:?} is {text:?}: {error}")))
        };
        self.text(name)?.map(parse).transpose()
    }

    /// The value of a parameter that is one of a few words; `parse` reads it.
    pub fn word<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
        let known = |text: &str| {
            parse(text).ok_or_else(|| ApiError::query(format!("parameter {name:?} cannot be {text:?}")))
        };
        self.text(name)?.map(known).transpose()
    }

    /// Returns whether a flag is set.
    pub fn flag(&self, name: &str) -> Result<Flag, ApiError> {
        Ok(match self.text(name)? {
            None => Flag::Absent,
            Some("true") => Flag::True,
            Some(_) => Flag::False,
        })
    }

    /// Every value of a parameter that may be repeated.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the query string with one parameter replaced, escaped for a URL.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for (key, old) in self.0.iter().filter(|(key, _)| key != name) {
            text.append_pair(key, old);
        }
        text.append_pair(name, value).finish()
    }
}

/// The value of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Not given.
    Absent,
    /// `true`.
    True,
    /// `false`.
    False,
}

fn check(field: &QueryField, value: &str) -> Result<(), ApiError> {
    let expected = match field.kind {
        Kind::Text => return Ok(()),
        Kind::Number if value.parse::<u64>().is_ok() => return Ok(()),
        Kind::Number => "a whole number, 0 or more".to_owned(),
        Kind::Flag if matches!(value, "true" | "false") => return Ok(()),
        Kind::Flag => "true or false".to_owned(),
        Kind::Word(words) if words.contains(&value) => return Ok(()),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
    };
    Err(ApiError::query(format!("parameter {:?} is {value:?}, not {expected}", field.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::kernel::problem_code::ProblemCode;

    const KNOWN: &[QueryField] =
        &[text("q", ""), number("limit", ""), flag("ready", ""), word("sort", &["age", "bd"], "")];

    fn parse(raw: &str) -> Result<Query, ApiError> {
        Query::parse(raw, KNOWN)
    }

    #[test]
    fn known_parameters_are_decoded() {
        let query = parse("q=red+paint%21&limit=5&ready=true&sort=bd").unwrap();
        assert_eq!(query.text("q").unwrap(), Some("red paint!"));
        assert_eq!(query.parsed::<u32>("limit").unwrap(), Some(5));
        assert_eq!(query.flag("ready").unwrap(), Flag::True);
        assert_eq!(parse("").unwrap().flag("ready").unwrap(), Flag::Absent);
    }

    #[test]
    fn unknown_and_invalid_parameters_are_refused() {
        for raw in ["colour=red", "limit=-1", "limit=ten", "ready=yes", "sort=up", "Q=a"] {
            assert_eq!(parse(raw).unwrap_err().status().as_u16(), 400, "{raw}");
        }
        let query = parse("q=a&q=b").unwrap();
        assert_eq!(query.text("q").unwrap_err().code(), ProblemCode::BadQuery);
        assert_eq!(query.all("q").count(), 2);
        assert_eq!(
            parse("limit=99999999999").unwrap().parsed::<u32>("limit").unwrap_err().code(),
            ProblemCode::BadQuery
        );
    }

    #[test]
    fn replaced_parameter_keeps_the_others() {
        let query = parse("q=a%26b&limit=5").unwrap();
        assert_eq!(query.with("cursor", "x~y"), "q=a%26b&limit=5&cursor=x%7Ey");
        assert_eq!(query.with("limit", "6"), "q=a%26b&limit=6");
    }
}
