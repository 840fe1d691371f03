//! Personas: identity of an agent as texts for its model, and its autonomy level.
//!
//! A persona is a directory of two files. What stands above the text between two lines of `---` (its front matter) is
//! for Arbiter and not told to the model.

use crate::agent::autonomy::Autonomy;
use crate::kernel::ids::is_valid_id;
use crate::kernel::lease::digest;
use crate::kernel::limits;
use crate::kernel::refusal::{Problems, Refusal};

/// File with the identity of the agent.
pub const PERSONA_FILE: &str = "PERSONA.md";
/// The file that says how it begins.
pub const START_FILE: &str = "AI_START_HERE.md";
/// The longest of the two texts, in bytes.
pub const MAX_TEXT: usize = 65_536;
/// The most parts of a name.
pub const MAX_PARTS: usize = 4;
/// The folder of the personas that Arbiter brings along; a name without a folder is looked for there as well.
pub const DEFAULT_FOLDER: &str = "default";

string_enum! {
    /// Whose a persona is.
    pub enum PersonaOrigin {
        /// Arbiter brings it along.
        BuiltIn = "built_in",
        User = "user",
    }
}

/// A persona.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persona {
    /// Its name, such as `default/ceo`.
    pub name: String,
    pub persona: String,
    /// Opening section; may be empty.
    pub start_here: String,
}

impl Persona {
    /// Returns the autonomy level that the persona states; the lowest when it states none.
    pub fn autonomy(&self) -> Autonomy {
        autonomy(&self.persona).unwrap_or(Autonomy::Supervised)
    }

    /// Its first heading.
    pub fn title(&self) -> &str {
        let heading = body(&self.persona).lines().find_map(|line| line.strip_prefix("# "));
        heading.unwrap_or(&self.name).trim()
    }

    /// Returns the persona as text for the system prompt.
    pub fn prompt_text(&self) -> String {
        let (persona, start) = (body(&self.persona).trim(), body(&self.start_here).trim());
        if start.is_empty() { persona.to_owned() } else { format!("{persona}\n\n{start}") }
    }

    /// A digest of its name and texts.
    pub fn digest(&self) -> String {
        let parts = [&self.name, &self.persona, &self.start_here];
        // Each with its length, so that no two have one text.
        digest(&parts.map(|part| format!("{}:{part}", part.len())).concat())
    }

    /// Returns the revision for its entity tag, a digest of its texts and origin. The digest follows from the texts
    /// because other programs may edit the directory.
    pub fn revision(&self, origin: PersonaOrigin) -> u64 {
        let digest = digest(&format!("{origin}:{}", self.digest()));
        // As many bits as every reader of JSON has for a whole number.
        digest.bytes().take(13).fold(0, |number, digit| {
            number * 16 + u64::from(char::from(digit).to_digit(16).unwrap_or_default())
        })
    }

    /// Checks name and texts; all problems at once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let mut problems = Problems::default();
        problems.require(
            is_valid_name(&self.name),
            "name",
            "must be 1 to 4 parts of lower-case letters, digits, dots, dashes and underscores with a / between them",
        );
        problems.require(!body(&self.persona).trim().is_empty(), "persona", "must not be empty");
        for (field, text) in [("persona", &self.persona), ("start_here", &self.start_here)] {
            problems.require(text.len() <= MAX_TEXT, field, limits::must_fit(MAX_TEXT));
            problems.require(!text.contains('\0'), field, "must not contain a NUL character");
        }
        let named = front_matter(&self.persona).and_then(level);
        let known = named.is_none_or(|word| Autonomy::parse(word).is_some());
        problems.require(known, "persona", "must name one of the autonomies full, semi, supervised");
        problems.finish()
    }
}

/// Returns whether a text is a valid persona name. Each part is a folder, so no part may be a parent reference or a
/// reserved file name.
pub fn is_valid_name(text: &str) -> bool {
    let mut parts = 0;
    text.split('/').all(|part| {
        parts += 1;
        parts <= MAX_PARTS && is_valid_id(part) && !part.ends_with(".md")
    })
}

/// Returns the candidate names of a persona: the name itself, then that in the default folder.
pub fn lookup_names(name: &str) -> impl Iterator<Item = String> {
    let ours = (!name.contains('/')).then(|| format!("{DEFAULT_FOLDER}/{name}"));
    std::iter::once(name.to_owned()).chain(ours).filter(|name| is_valid_name(name))
}

/// Returns the autonomy level that a persona states: `autonomy: semi` in its front matter, else the first of the three
/// words below a heading that begins with "Autonomy".
pub fn autonomy(text: &str) -> Option<Autonomy> {
    if let Some(word) = front_matter(text).and_then(level) {
        return Autonomy::parse(word);
    }
    let mut lines = body(text).lines();
    lines.find(|line| is_heading(line) && heading(line).to_lowercase().starts_with("autonomy"))?;
    let section = lines.take_while(|line| !is_heading(line));
    section.flat_map(|line| line.split(|c: char| !c.is_alphanumeric())).find_map(|word| {
        // Only the three words count, however they are written.
        Autonomy::ALL.iter().copied().find(|level| word.eq_ignore_ascii_case(level.as_str()))
    })
}

fn is_heading(line: &str) -> bool {
    line.starts_with('#')
}

fn heading(line: &str) -> &str {
    line.trim_start_matches('#').trim()
}

/// The word behind `autonomy:`.
fn level(front_matter: &str) -> Option<&str> {
    let value = front_matter.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        matches!(name.trim(), "autonomy" | "autonomy_level").then_some(value)
    })?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// Returns the text between two `---` lines at the beginning.
fn front_matter(text: &str) -> Option<&str> {
    split(text).map(|(front, _)| front)
}

/// The text behind its front matter.
fn body(text: &str) -> &str {
    split(text).map_or(text, |(_, rest)| rest)
}

fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
    let end = rest.match_indices("---").find(|(at, _)| {
        let begins_line = *at == 0 || rest[..*at].ends_with('\n');
        let after = &rest[at + 3..];
        begins_line && (after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n"))
    })?;
    Some((&rest[..end.0], &rest[end.0 + 3..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persona_name_rejects_traversal_and_invalid_parts() {
        for good in ["ceo", "default/ceo", "a/b/c/d", "team-1/qa_2.x"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "/ceo",
            "ceo/",
            "a//b",
            "..",
            "../x",
            "a/../b",
            ".",
            "a/.b",
            "A",
            "a b",
            "a/b/c/d/e",
            "x.md",
        ] {
            assert!(!is_valid_name(bad), "{bad}");
        }
        assert!(!is_valid_name("a\\b") && !is_valid_name("a\0b") && !is_valid_name(&"a".repeat(65)));
    }

    #[test]
    fn persona_name_without_folder_falls_back_to_default() {
        assert_eq!(lookup_names("ceo").collect::<Vec<_>>(), ["ceo", "default/ceo"]);
        assert_eq!(lookup_names("team/ceo").collect::<Vec<_>>(), ["team/ceo"]);
        assert_eq!(lookup_names("../ceo").count(), 0);
    }

    #[test]
    fn autonomy_is_read_from_front_matter_or_section() {
        assert_eq!(autonomy("---\nautonomy: semi\n---\n# X\n## Autonomy\nfull\n"), Some(Autonomy::Semi));
        assert_eq!(autonomy("---\r\nautonomy_level: \"full\"\r\n---\r\n# X"), Some(Autonomy::Full));
        assert_eq!(
            autonomy("# X\n\n## Autonomy Level\n\n**Level:** Semi-Autonomous\n"),
            Some(Autonomy::Semi)
        );
        assert_eq!(autonomy("# X\n## Autonomy\nNone yet.\n## Limits\nfull stop\n"), None);
        assert_eq!(autonomy("# X\nfully supervised\n"), None);
        assert_eq!(Persona { persona: "# X".into(), ..Persona::default() }.autonomy(), Autonomy::Supervised);
    }

    #[test]
    fn prompt_text_joins_both_texts_without_front_matter() {
        let persona = Persona {
            name: "x".into(),
            persona: "---\nautonomy: full\n---\n# The boss\n\nYou lead.\n".into(),
            start_here: "Look around first.\n".into(),
        };
        assert_eq!(persona.prompt_text(), "# The boss\n\nYou lead.\n\nLook around first.");
        assert_eq!(persona.title(), "The boss");
        assert_eq!(body("---\nno end"), "---\nno end");
    }

    #[test]
    fn persona_revision_depends_on_texts_and_origin() {
        let persona = |persona: &str, start: &str| Persona {
            name: "x".into(),
            persona: persona.into(),
            start_here: start.into(),
        };
        let one = persona("ab", "c").revision(PersonaOrigin::User);
        assert_eq!(one, persona("ab", "c").revision(PersonaOrigin::User));
        assert_ne!(one, persona("a", "bc").revision(PersonaOrigin::User));
        assert_ne!(one, persona("ab", "c").revision(PersonaOrigin::BuiltIn));
        assert!(one < 1 << 52);
    }

    #[test]
    fn invalid_persona_reports_all_problems() {
        let wrong = Persona {
            name: "../x".into(),
            persona: "---\nautonomy: total\n---\n  \n".into(),
            start_here: "x".repeat(MAX_TEXT + 1),
        };
        let Err(Refusal::Invalid(problems)) = wrong.check() else { panic!("it is refused") };
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/name", "/persona", "/start_here", "/persona"]);
        let fine = Persona { name: "x".into(), persona: "# X".into(), start_here: String::new() };
        assert!(fine.check().is_ok());
    }
}
