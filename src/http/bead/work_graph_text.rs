//! The work graph in the languages of Graphviz and Mermaid. Titles are escaped, so that their text stays inside
//! the label.

use crate::http::bead::work_graph::GraphView;
use arbiter_core::bead::Status;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The longest title in a drawing, in characters.
const MAX_TITLE: usize = 60;

const fn colour(status: Status) -> &'static str {
    match status {
        Status::Open => "#ffffff",
        Status::InProgress => "#cfe8ff",
        Status::Blocked => "#ffd6cc",
        Status::Closed => "#d9ead3",
    }
}

fn shortened(title: &str) -> String {
    let mut text: String = title.chars().take(MAX_TITLE).collect();
    if text.len() < title.len() {
        text.push('…');
    }
    text
}

/// A text as a quoted string of DOT.
fn dot_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as it stands within a quoted label of Mermaid: everything but letters, digits and blanks as an
/// entity.
fn mermaid_text(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | ',') => safe.push(c),
            c if c.is_control() => safe.push(' '),
            c => safe.push_str(&format!("#{};", u32::from(c))),
        }
    }
    safe
}

/// The graph for Graphviz.
pub fn dot(graph: &GraphView) -> String {
    let mut text = String::from("digraph work {\n  rankdir=LR;\n  node [shape=box, style=filled];\n");
    for (id, bead) in &graph.beads {
        let label = format!("{id}: {}", shortened(bead.title()));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {} [label={}, fillcolor={}];",
            dot_text(id),
            dot_text(&label),
            dot_text(colour(bead.status()))
        );
    }
    for edge in &graph.edges {
        let (from, to) = (dot_text(&edge.from), dot_text(&edge.to));
        let _ = writeln!(text, "  {from} -> {to} [label={}];", dot_text(&edge.relationship));
    }
    text.push_str("}\n");
    text
}

/// The graph for Mermaid.
pub fn mermaid(graph: &GraphView) -> String {
    let ends = graph.edges.iter().flat_map(|edge| [&edge.from, &edge.to]);
    let mut nodes: BTreeMap<&String, usize> = graph.beads.keys().chain(ends).map(|id| (id, 0)).collect();
    for (number, node) in nodes.values_mut().enumerate() {
        *node = number;
    }
    let mut text = String::from("flowchart LR\n");
    for (id, number) in &nodes {
        let label = match graph.beads.get(*id) {
            Some(bead) => format!("{id}: {}", shortened(bead.title())),
            None => (*id).clone(),
        };
        let _ = writeln!(text, "    n{number}[\"{}\"]", mermaid_text(&label));
    }
    for edge in &graph.edges {
        let number = |id| nodes.get(id).copied().unwrap_or_default();
        let label = mermaid_text(&edge.relationship);
        let _ = writeln!(text, "    n{} -->|\"{label}\"| n{}", number(&edge.from), number(&edge.to));
    }
    for (id, bead) in &graph.beads {
        let number = nodes.get(id).copied().unwrap_or_default();
        let _ = writeln!(text, "    style n{number} fill:{}", colour(bead.status()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::bead::dto::BeadView;
    use crate::http::bead::work_graph::EdgeView;
    use arbiter_core::bead::ClaimContext;
    use arbiter_core::bead::edit::NewBead;
    use arbiter_core::kernel::ids::BeadId;
    use arbiter_core::kernel::time::Timestamp;
    use arbiter_store::{BeadDetail, Links};

    fn graph() -> GraphView {
        let now = Timestamp::from_millis(0);
        let bead = |id: &str, title: &str| {
            let new = NewBead { title: title.into(), project_id: "p".into(), ..NewBead::default() };
            let (bead, _) = new.build(BeadId::from_trusted(id), now).unwrap();
            let detail = BeadDetail {
                bead,
                links: Links::default(),
                is_ready: true,
                claim_context: ClaimContext::default(),
            };
            BeadView::new(detail, now)
        };
        let edge = EdgeView { from: "bd-1".into(), to: "bd-2".into(), relationship: "blocks".into() };
        GraphView::new(vec![bead("bd-1", "Paint"), bead("bd-2", "a\"]; b\\ <c>\n--> d")], vec![edge])
    }

    #[test]
    fn dot_title_cannot_escape_its_label() {
        let text = dot(&graph());
        assert!(
            text.contains(r##""bd-2" [label="bd-2: a\"]; b\\ <c> --> d", fillcolor="#ffffff"];"##),
            "{text}"
        );
        assert!(text.contains(r#""bd-1" -> "bd-2" [label="blocks"];"#), "{text}");
        assert_eq!(text.lines().count(), 7);
    }

    #[test]
    fn mermaid_title_cannot_escape_its_label() {
        let text = mermaid(&graph());
        assert!(text.contains("n1[\"bd-2#58; a#34;#93;#59; b#92; #60;c#62; --#62; d\"]"), "{text}");
        assert!(text.contains("n0 -->|\"blocks\"| n1"), "{text}");
        assert_eq!(text.lines().count(), 6);
    }
}
