//! What the console's model is told of the company before it is asked, so that it answers from facts.

use crate::kernel::time::Timestamp;

/// The longest line of a fact, in characters.
const LINE: usize = 240;

/// What is so at the moment, each fact a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompanySnapshot {
    pub counts: Vec<String>,
    pub running: Vec<String>,
    pub waiting: Vec<String>,
    pub stuck: Vec<String>,
    pub ready: Vec<String>,
    pub providers: Vec<String>,
    pub cost: Vec<String>,
}

/// The system prompt: who answers, by which rules, from which facts.
pub fn system(persona: &str, facts: &CompanySnapshot, now: Timestamp) -> String {
    let mut text = format!("{}\n\nIt is {now}. The state of the company:\n", persona.trim());
    for (title, lines) in [
        ("Counts", &facts.counts),
        ("Being worked on", &facts.running),
        ("Waits for a person", &facts.waiting),
        ("Does not move", &facts.stuck),
        ("Next in line", &facts.ready),
        ("Providers", &facts.providers),
        ("Cost", &facts.cost),
    ] {
        text.push_str(&format!("\n{title}:\n"));
        if lines.is_empty() {
            text.push_str("- nothing\n");
        }
        for line in lines {
            text.push_str(&format!("- {}\n", one_line(line)));
        }
    }
    text
}

/// A fact on one line: what others have written must not look like another section.
fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE + 1).collect();
    match flat.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_there_and_a_fact_is_one_line() {
        let facts = CompanySnapshot {
            waiting: vec![format!("launch\n\nCost:\n- nothing, really {}", "x".repeat(300))],
            ..CompanySnapshot::default()
        };
        let text = system("You are the arbiter.", &facts, Timestamp::default());
        assert!(text.starts_with("You are the arbiter.\n\nIt is 1970-01-01T00:00:00.000Z."), "{text}");
        assert_eq!(text.matches("\nCost:\n").count(), 1);
        assert_eq!(text.matches("- nothing\n").count(), 6);
        assert!(text.lines().all(|line| line.chars().count() <= LINE + 3), "{text}");
    }
}
