//! Parser of the YAML files of older trees, one bead each. Supports both dialects: documented names
//! (`project_id`) and names that a program derived from its own fields (`projectid`).

use crate::bead::{BeadState, FileBead, FileEdge};
use crate::line::{LineProblem, check_depth, check_kept};
use crate::raw::RawFields;
use crate::{reason, text_time, words};
use arbiter_core::bead::{BACKLOG, DEFAULT_PRIORITY, Status};
use arbiter_core::kernel::time::Timestamp;
use serde_json::{Map, Value};

/// Fields with a counterpart in this program, without underscores and in lower case.
const KNOWN: [&str; 19] = [
    "id",
    "type",
    "title",
    "description",
    "status",
    "priority",
    "projectid",
    "assignedto",
    "blockedby",
    "blocks",
    "relatedto",
    "parent",
    "children",
    "tags",
    "context",
    "createdat",
    "updatedat",
    "closedat",
    "acceptancecriteria",
];

/// Parses a file of one bead. `blocks` and `children` are edges of other beads; they are returned as pairs of
/// the other bead and the kind of its edge to this one.
///
/// # Errors
/// [`LineProblem`] if the file is not a mapping, or has no id or title.
pub fn read_yaml(text: &str) -> Result<YamlBead, LineProblem> {
    let read: Value =
        serde_saphyr::from_str(text).map_err(|error| LineProblem::NotAnObject(reason::yaml(&error)))?;
    check_depth(&read.to_string())?;
    let Value::Object(map) = read else {
        return Err(LineProblem::NotAnObject("it is no mapping".to_owned()));
    };
    let mut file = Fields { known: Map::new(), others: Map::new(), warnings: Vec::new() };
    for (name, value) in map {
        let plain: String = name.to_lowercase().replace('_', "");
        if KNOWN.contains(&plain.as_str()) {
            // The documented name takes precedence over the other one, in any order.
            if name.contains('_') || !file.known.contains_key(&plain) {
                file.known.insert(plain, value);
            }
        } else {
            file.others.insert(name, value);
        }
    }
    file.bead()
}

/// A bead of a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub struct YamlBead {
    pub bead: FileBead,
    /// Fields without a counterpart in this program.
    pub kept: RawFields,
    /// Edges in the file that start at other beads: the other bead, and the kind.
    pub foreign_edges: Vec<(String, &'static str)>,
    /// Irregularities that did not prevent the parse.
    pub warnings: Vec<String>,
}

struct Fields {
    known: Map<String, Value>,
    others: Map<String, Value>,
    warnings: Vec<String>,
}

impl Fields {
    fn text(&mut self, name: &str) -> Option<String> {
        match self.known.remove(name)? {
            Value::Null => None,
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            // YAML parses a bare 7 or a bare yes as another type than text.
            other => Some(other.to_string()),
        }
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        // Go's zero time stands for a missing one.
        if text.starts_with("0001-01-01") {
            return None;
        }
        let at = text_time::read(&text);
        if at.is_none() {
            self.warnings.push(format!("{name} is no time and counts as missing"));
        }
        at
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        match self.known.remove(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => text,
                    other => other.to_string(),
                })
                .collect(),
            Some(Value::String(text)) => vec![text],
            Some(_) => {
                self.warnings.push(format!("{name} is no list and counts as empty"));
                Vec::new()
            }
        }
    }

    fn bead(mut self) -> Result<YamlBead, LineProblem> {
        let missing = |field| LineProblem::Field { field, problem: "is missing".to_owned() };
        let id = self.text("id").ok_or_else(|| missing("id"))?;
        let title = self.text("title").ok_or_else(|| missing("title"))?;
        let priority = match self.known.remove("priority") {
            None | Some(Value::Null) => DEFAULT_PRIORITY,
            Some(value) => {
                let number =
                    value.as_u64().or_else(|| value.as_str()?.trim_start_matches(['P', 'p']).parse().ok());
                let number =
                    number.and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= BACKLOG);
                let problem = "is not 0 to 4".to_owned();
                number.ok_or(LineProblem::Field { field: "priority", problem })?
            }
        };
        let state = words::state_from_word(&self.text("status").unwrap_or_default());
        let mut edges: Vec<FileEdge> = Vec::new();
        let parent = self.text("parent").map(|parent| (parent, "parent-child"));
        let blockers = self.texts("blockedby").into_iter().map(|id| (id, "blocks"));
        let blockers: Vec<_> = blockers.collect();
        let related: Vec<_> = self.texts("relatedto").into_iter().map(|id| (id, "related")).collect();
        for (depends_on, kind) in parent.into_iter().chain(blockers).chain(related) {
            if edges.iter().all(|edge| edge.depends_on != depends_on) {
                let kind = kind.to_owned();
                let kept = RawFields::default();
                edges.push(FileEdge { depends_on, kind, created_at: None, created_by: None, kept });
            }
        }
        let mut foreign_edges: Vec<(String, &'static str)> =
            self.texts("blocks").into_iter().map(|id| (id, "blocks")).collect();
        foreign_edges.extend(self.texts("children").into_iter().map(|id| (id, "parent-child")));
        let closed_at = self.time("closedat");
        let bead = FileBead {
            bead_type: words::canonical_type(&self.text("type").unwrap_or_default()).to_owned(),
            description: self.text("description").unwrap_or_default(),
            acceptance_criteria: self.text("acceptancecriteria").unwrap_or_default(),
            project_id: self.text("projectid"),
            assignee: self.text("assignedto"),
            labels: self.texts("tags"),
            created_at: self.time("createdat"),
            updated_at: self.time("updatedat"),
            closed_at: closed_at.filter(|_| state.status == Status::Closed),
            context: match self.known.remove("context") {
                Some(Value::Object(map)) => map,
                None | Some(Value::Null) => Map::new(),
                Some(other) => Map::from_iter([("context".to_owned(), other)]),
            },
            state: BeadState { ..state },
            id,
            title,
            priority,
            edges,
            ..FileBead::default()
        };
        bead.check_limits()?;
        let mut kept = RawFields::default();
        for (name, value) in &self.others {
            kept.put(name, value.to_string());
        }
        check_kept(kept.iter().map(|(name, raw)| name.len() + raw.len()).sum())?;
        Ok(YamlBead { bead, kept, foreign_edges, warnings: self.warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = "id: bd-9\ntype: task\ntitle: Do it\ndescription: |\n  Two\n  lines\nstatus: closed\npriority: 1\nproject_id: shop\nassigned_to: ann\nblocked_by:\n  - bd-1\n  - bd-2\nblocks: [bd-10]\nparent: bd-3\nchildren: [bd-11]\ntags:\n  - ux\ncreated_at: 2026-01-18T19:16:06Z\nupdated_at: 2026-01-18T21:49:00Z\nclosed_at: 2026-01-18T21:49:00Z\ncontext:\n  branch: x\nmilestone: \"q3\"\n";

    #[test]
    fn yaml_dialects_parse_to_the_same_bead() {
        let documented = read_yaml(DOCUMENTED).unwrap();
        let squeezed = ["project_id", "assigned_to", "blocked_by", "created_at", "updated_at", "closed_at"]
            .iter()
            .fold(DOCUMENTED.to_owned(), |text, name| {
                text.replace(&format!("{name}:"), &format!("{}:", name.replace('_', "")))
            });
        assert_ne!(squeezed, DOCUMENTED);
        assert_eq!(read_yaml(&squeezed).unwrap(), documented);
        let bead = &documented.bead;
        assert_eq!(
            (bead.project_id.as_deref(), bead.assignee.as_deref(), bead.priority),
            (Some("shop"), Some("ann"), 1)
        );
        let edges: Vec<(&str, &str)> =
            bead.edges.iter().map(|edge| (edge.depends_on.as_str(), edge.kind.as_str())).collect();
        assert_eq!(edges, [("bd-3", "parent-child"), ("bd-1", "blocks"), ("bd-2", "blocks")]);
        assert_eq!(
            documented.foreign_edges,
            [("bd-10".to_owned(), "blocks"), ("bd-11".to_owned(), "parent-child")]
        );
        assert_eq!(bead.closed_at.unwrap().to_string(), "2026-01-18T21:49:00.000Z");
        assert_eq!(
            (bead.description.as_str(), documented.kept.get("milestone")),
            ("Two\nlines\n", Some("\"q3\""))
        );
        assert_eq!(bead.context["branch"], "x");
    }

    #[test]
    fn yaml_empty_values_count_as_absent() {
        let text = "id: bd-1\ntitle: t\nstatus: in_progress\nprojectid: \"\"\nassignedto: \"\"\nblockedby: []\nparent: \"\"\ntags: null\ncreatedat: 2026-01-18T19:16:06.5Z\nupdatedat: 0001-01-01T00:00:00Z\nclosedat: null\ncontext: {}\n";
        let read = read_yaml(text).unwrap();
        assert_eq!((&read.bead.project_id, &read.bead.assignee, read.bead.updated_at), (&None, &None, None));
        assert_eq!((read.bead.priority, read.bead.edges.len(), read.warnings.len()), (2, 0, 0));
    }

    #[test]
    fn yaml_without_a_bead_is_refused_with_the_reason() {
        for (text, why) in [
            ("- a\n", "no mapping"),
            ("title: t\n", "id is missing"),
            ("id: x\n", "title is missing"),
            ("id: x\ntitle: t\npriority: 9\n", "priority is not 0 to 4"),
            ("id: [", "no JSON object"),
        ] {
            let problem = read_yaml(text).unwrap_err().to_string();
            assert!(problem.contains(why), "{text}: {problem}");
        }
        let odd = read_yaml("id: 7\ntitle: 8\npriority: P3\ncreated_at: soon\ntags: {}\n").unwrap();
        assert_eq!((odd.bead.id.as_str(), odd.bead.title.as_str(), odd.bead.priority), ("7", "8", 3));
        assert_eq!(odd.warnings.len(), 2);
    }
}
