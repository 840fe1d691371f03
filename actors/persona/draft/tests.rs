use super::*;

fn persona(name: &str, text: &str) -> Persona {
    Persona { name: name.into(), persona: text.into(), start_here: "Begin.".into() }
}

fn persona_dir() -> (tempfile::TempDir, PersonaDir) {
    let home = tempfile::tempdir().unwrap();
    let persona_dir = PersonaDir::new(home.path());
    (home, persona_dir)
}

fn put(persona_dir: &PersonaDir, persona: &Persona) {
    persona_dir.finish(&persona_dir.draft(DraftOp::Put, persona, 0).unwrap()).unwrap();
}

/// Counts the directories beside the personas.
fn aside(persona_dir: &PersonaDir) -> usize {
    let names = fs::read_dir(persona_dir.root()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with('.')).count()
}

#[test]
fn unfinished_draft_is_listed_and_changes_nothing() {
    let (_home, persona_dir) = persona_dir();
    put(&persona_dir, &persona("a/b", "one"));
    let second = persona_dir.draft(DraftOp::Put, &persona("a/b", "two"), 9).unwrap();
    let first = persona_dir.draft(DraftOp::Remove, &persona("a/b", "one"), 7).unwrap();
    assert_eq!(persona_dir.drafts().unwrap(), [first.clone(), second.clone()]);
    assert_eq!(persona_dir.read("a/b").unwrap(), Some(persona("a/b", "one")));
    persona_dir.discard(&first);
    persona_dir.discard(&second);
    assert_eq!((persona_dir.drafts().unwrap(), aside(&persona_dir)), (vec![], 0));
    assert_eq!(persona_dir.read("a/b").unwrap(), Some(persona("a/b", "one")));
}

#[test]
fn draft_finished_twice_has_the_effect_of_once() {
    let (home, persona_dir) = persona_dir();
    put(&persona_dir, &persona("a/b", "one"));
    let kept = home.path().join("kept");
    // The kill comes before the draft is deleted: its note is there still.
    let again = |draft: &Draft| {
        let note = persona_dir.draft_path(draft).join(NOTE);
        fs::copy(&note, &kept).unwrap();
        persona_dir.finish(draft).unwrap();
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        fs::copy(&kept, &note).unwrap();
        let left = persona_dir.drafts().unwrap();
        assert_eq!(left.as_slice(), std::slice::from_ref(draft));
        persona_dir.finish(&left[0]).unwrap();
        assert_eq!(aside(&persona_dir), 0);
    };
    again(&persona_dir.draft(DraftOp::Put, &persona("a/b", "two"), 1).unwrap());
    assert_eq!(persona_dir.read("a/b").unwrap(), Some(persona("a/b", "two")));
    again(&persona_dir.draft(DraftOp::Remove, &persona("a/b", "two"), 2).unwrap());
    assert_eq!((persona_dir.read("a/b").unwrap(), persona_dir.names().unwrap()), (None, vec![]));
    assert!(!persona_dir.root().join("a").exists(), "an empty folder stays");
}

#[test]
fn draft_finished_again_does_not_restore_the_old_persona() {
    let (_home, persona_dir) = persona_dir();
    put(&persona_dir, &persona("x", "old"));
    let draft = persona_dir.draft(DraftOp::Put, &persona("x", "new"), 1).unwrap();
    // Killed between the exchange and everything else.
    persona_dir.put(&persona_dir.draft_path(&draft).join(NEW), &persona_dir.place("x")).unwrap();
    persona_dir.finish(&draft).unwrap();
    assert_eq!(persona_dir.read("x").unwrap(), Some(persona("x", "new")));
    // A directory edited by hand since is not the one to remove.
    let draft = persona_dir.draft(DraftOp::Remove, &persona("x", "new"), 2).unwrap();
    fs::write(persona_dir.place("x").join(PERSONA_FILE), "by hand").unwrap();
    persona_dir.finish(&draft).unwrap();
    assert_eq!(persona_dir.read("x").unwrap(), Some(persona("x", "by hand")));
}

#[test]
fn incomplete_draft_is_removed_foreign_file_blocks_finish() {
    let (_home, persona_dir) = persona_dir();
    for note in [None, Some("{"), Some(r#"{"name": "../x", "after": 1, "deed": "take", "digest": ""}"#)] {
        let draft = persona_dir.draft(DraftOp::Put, &persona("x", "y"), 1).unwrap();
        let path = persona_dir.draft_path(&draft).join(NOTE);
        match note {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        assert_eq!((persona_dir.drafts().unwrap(), aside(&persona_dir)), (vec![], 0), "{note:?}");
    }
    let draft = persona_dir.draft(DraftOp::Put, &persona("x", "y"), 1).unwrap();
    fs::create_dir(persona_dir.place("x")).unwrap();
    fs::write(persona_dir.place("x").join("notes.md"), "mine").unwrap();
    assert!(persona_dir.finish(&draft).is_err());
    assert_eq!(fs::read_to_string(persona_dir.place("x").join("notes.md")).unwrap(), "mine");
    assert_eq!(persona_dir.drafts().unwrap(), [draft], "it can be finished later");
}
