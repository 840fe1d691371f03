//! The personas that Arbiter brings along, as files of `config/personas` in the program itself.

use arbiter_core::agent::persona::Persona;

macro_rules! personas {
    ($($name:literal),+ $(,)?) => {
        /// Name, `PERSONA.md` and `AI_START_HERE.md` of each.
        const ALL: &[(&str, &str, &str)] = &[$((
            concat!("default/", $name),
            include_str!(concat!("../../config/personas/default/", $name, "/PERSONA.md")),
            include_str!(concat!("../../config/personas/default/", $name, "/AI_START_HERE.md")),
        )),+];
    };
}

personas![
    "ceo",
    "code-reviewer",
    "decision-maker",
    "devops-engineer",
    "documentation-manager",
    "engineering-manager",
    "housekeeping-bot",
    "product-manager",
    "project-manager",
    "qa-engineer",
    "security-engineer",
    "web-designer",
];

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _, _)| *name)
}

/// One of them.
pub(crate) fn get(name: &str) -> Option<Persona> {
    let (name, persona, start_here) = ALL.iter().find(|(known, _, _)| *known == name)?;
    Some(Persona {
        name: (*name).to_owned(),
        persona: (*persona).to_owned(),
        start_here: (*start_here).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::agent::persona::autonomy;
    use arbiter_core::kernel::ids::ProjectId;
    use arbiter_core::kernel::time::Timestamp;
    use arbiter_core::project::edit::NewProject;
    use arbiter_core::project::org_chart::OrgChart;
    use arbiter_core::prompt::tools;

    #[test]
    fn builtin_personas_have_all_sections_and_an_autonomy() {
        for name in names() {
            let persona = get(name).unwrap();
            persona.check().unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            let level = autonomy(&persona.persona).unwrap_or_else(|| panic!("{name} names no autonomy"));
            // The section that people read says the same as the line that Arbiter reads.
            assert!(persona.persona.contains(&format!("\n## Autonomy: {level}\n")), "{name}");
            for section in
                ["# ", "## Mission", "## Focus", "## How you work", "## What you hand on", "## Limits"]
            {
                assert!(persona.persona.contains(&format!("\n{section}")), "{name} has no {section}");
            }
            let lines = persona.persona.lines().count();
            assert!((40..=80).contains(&lines), "{name} has {lines} lines");
            assert!(persona.start_here.starts_with("## First steps\n"), "{name}");
        }
    }

    #[test]
    fn builtin_personas_name_only_existing_roles_and_tools() {
        let tools: Vec<&str> = tools::tools().into_iter().map(|tool| tool.name).collect();
        let words = ["role", "wait"];
        for name in names() {
            let persona = get(name).unwrap();
            for quoted in persona.persona.split('`').skip(1).step_by(2) {
                let is_role = get(&format!("default/{quoted}")).is_some();
                let known = is_role || tools.contains(&quoted) || words.contains(&quoted);
                assert!(known, "{name} speaks of {quoted:?}");
            }
            for tool in ["finish", "ask_decision", "create_bead", "comment", "block"] {
                assert!(persona.persona.contains(&format!("`{tool}`")), "{name} does not know {tool}");
            }
        }
    }

    #[test]
    fn first_org_chart_uses_every_builtin_persona() {
        let new = NewProject { name: "P".into(), ..NewProject::default() };
        let project = new.build(ProjectId::from_trusted("p"), Timestamp::from_millis(0)).unwrap();
        let mut paths: Vec<String> = OrgChart::default_for(&project)
            .positions
            .into_iter()
            .filter_map(|position| position.persona_path)
            .collect();
        paths.sort();
        assert_eq!(paths, names().map(str::to_owned).collect::<Vec<_>>());
    }
}
