use super::*;

fn persona(name: &str, text: &str) -> Persona {
    Persona { name: name.into(), persona: text.into(), start_here: "Begin.".into() }
}

fn shelf() -> (tempfile::TempDir, Shelf) {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(home.path());
    (home, shelf)
}

fn put(shelf: &Shelf, persona: &Persona) {
    shelf.finish(&shelf.draft(Deed::Put, persona, 0).unwrap()).unwrap();
}

/// What lies beside the personas.
fn aside(shelf: &Shelf) -> usize {
    let names = fs::read_dir(shelf.root()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with('.')).count()
}

#[test]
fn a_draft_is_found_again_as_it_was_and_changes_nothing_before_it_is_finished() {
    let (_home, shelf) = shelf();
    put(&shelf, &persona("a/b", "one"));
    let second = shelf.draft(Deed::Put, &persona("a/b", "two"), 9).unwrap();
    let first = shelf.draft(Deed::Take, &persona("a/b", "one"), 7).unwrap();
    assert_eq!(shelf.drafts().unwrap(), [first.clone(), second.clone()]);
    assert_eq!(shelf.read("a/b").unwrap(), Some(persona("a/b", "one")));
    shelf.discard(&first);
    shelf.discard(&second);
    assert_eq!((shelf.drafts().unwrap(), aside(&shelf)), (vec![], 0));
    assert_eq!(shelf.read("a/b").unwrap(), Some(persona("a/b", "one")));
}

#[test]
fn finishing_twice_is_finishing_once() {
    let (home, shelf) = shelf();
    put(&shelf, &persona("a/b", "one"));
    let kept = home.path().join("kept");
    // The kill comes before the draft is deleted: its note is there still.
    let again = |draft: &Draft| {
        let note = shelf.draft_place(draft).join(NOTE);
        fs::copy(&note, &kept).unwrap();
        shelf.finish(draft).unwrap();
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        fs::copy(&kept, &note).unwrap();
        let left = shelf.drafts().unwrap();
        assert_eq!(left.as_slice(), std::slice::from_ref(draft));
        shelf.finish(&left[0]).unwrap();
        assert_eq!(aside(&shelf), 0);
    };
    again(&shelf.draft(Deed::Put, &persona("a/b", "two"), 1).unwrap());
    assert_eq!(shelf.read("a/b").unwrap(), Some(persona("a/b", "two")));
    again(&shelf.draft(Deed::Take, &persona("a/b", "two"), 2).unwrap());
    assert_eq!((shelf.read("a/b").unwrap(), shelf.names().unwrap()), (None, vec![]));
    assert!(!shelf.root().join("a").exists(), "an empty folder stays");
}

#[test]
fn the_old_one_is_not_put_back_when_it_is_finished_a_second_time() {
    let (_home, shelf) = shelf();
    put(&shelf, &persona("x", "old"));
    let draft = shelf.draft(Deed::Put, &persona("x", "new"), 1).unwrap();
    // Killed between the exchange and everything else.
    shelf.put(&shelf.draft_place(&draft).join(NEW), &shelf.place("x")).unwrap();
    shelf.finish(&draft).unwrap();
    assert_eq!(shelf.read("x").unwrap(), Some(persona("x", "new")));
    // What somebody wrote by hand since is not what was to go.
    let draft = shelf.draft(Deed::Take, &persona("x", "new"), 2).unwrap();
    fs::write(shelf.place("x").join(PERSONA_FILE), "by hand").unwrap();
    shelf.finish(&draft).unwrap();
    assert_eq!(shelf.read("x").unwrap(), Some(persona("x", "by hand")));
}

#[test]
fn what_is_no_whole_draft_goes() {
    let (_home, shelf) = shelf();
    for note in [None, Some("{"), Some(r#"{"name": "../x", "after": 1, "deed": "take", "digest": ""}"#)] {
        let draft = shelf.draft(Deed::Put, &persona("x", "y"), 1).unwrap();
        let path = shelf.draft_place(&draft).join(NOTE);
        match note {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        assert_eq!((shelf.drafts().unwrap(), aside(&shelf)), (vec![], 0), "{note:?}");
    }
    let draft = shelf.draft(Deed::Put, &persona("x", "y"), 1).unwrap();
    fs::create_dir(shelf.place("x")).unwrap();
    fs::write(shelf.place("x").join("notes.md"), "mine").unwrap();
    assert!(shelf.finish(&draft).is_err());
    assert_eq!(fs::read_to_string(shelf.place("x").join("notes.md")).unwrap(), "mine");
    assert_eq!(shelf.drafts().unwrap(), [draft], "it can be finished later");
}
