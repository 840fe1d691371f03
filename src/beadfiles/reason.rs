//! Reasons why a text cannot be read. They tell where it fails and never quote it: a message reaches readers that the
//! file does not.

use serde_json::error::Category;

/// Returns why a text is not the JSON that it should be.
pub(crate) fn json(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "it ends within a value".to_owned(),
        Category::Data => "it is a value of another type".to_owned(),
        Category::Syntax | Category::Io => format!("it is not JSON from column {} on", error.column()),
    }
}

/// Returns why a text is not the YAML that it should be.
pub(crate) fn yaml(error: &serde_saphyr::Error) -> String {
    match error.location() {
        Some(location) => format!("it is not YAML from line {} on", location.line()),
        None => "it is not YAML".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Line, read_line, read_yaml};

    #[test]
    fn reason_tells_the_place_and_quotes_nothing() {
        let secret = "canary-3c";
        for text in [
            secret.to_owned(),
            format!("\"{secret}\""),
            format!("[\"{secret}\"]"),
            format!("{{\"id\": \"{secret}"),
            format!("{{\"id\": [\"{secret}\"], \"title\": \"t\"}}"),
            format!("{{\"id\": \"a-1\", \"title\": \"t\", \"priority\": \"{secret}\"}}"),
            format!(
                "{{\"id\": \"a-1\", \"title\": \"t\", \"labels\": \"{secret}\", \"due_at\": \"{secret}\"}}"
            ),
        ] {
            let told = match read_line(&text) {
                Ok(Line::Bead { warnings, .. }) => warnings.join("\n"),
                Ok(other) => panic!("{other:?}"),
                Err(problem) => problem.to_string(),
            };
            assert!(!told.is_empty() && !told.contains(secret), "{told}");
        }
        for text in [
            format!("id: [{secret}"),
            secret.to_owned(),
            format!("- {secret}"),
            format!("id: a-1\ntitle: t\npriority: {secret}"),
            format!("id: a-1\ntitle: t\ncreated_at: {secret}\ntags: {{a: {secret}}}"),
        ] {
            let told = match read_yaml(&text) {
                Ok(read) => read.warnings.join("\n"),
                Err(problem) => problem.to_string(),
            };
            assert!(!told.is_empty() && !told.contains(secret), "{told}");
        }
        assert!(read_yaml("id: a\nid: [").unwrap_err().to_string().contains("from line 2 on"));
    }
}
