use super::*;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

const OLD: &str = "{\"id\":\"a-1\"}\n";
const NEW: &str = "{\"id\":\"a-1\",\"title\":\"new\"}\n";

/// A project's tree with a bead file, and its directory of beads.
fn tree() -> (tempfile::TempDir, BeadDirectory) {
    let home = tempfile::tempdir().unwrap();
    let beads = home.path().canonicalize().unwrap().join("tree/.beads");
    fs::create_dir_all(&beads).unwrap();
    fs::write(beads.join("issues.jsonl"), OLD).unwrap();
    let directory = BeadDirectory::new(&"p".parse_project(), &beads, &[]);
    (home, directory)
}

trait ParseProject {
    fn parse_project(&self) -> arbiter_core::kernel::ids::ProjectId;
}

impl ParseProject for str {
    fn parse_project(&self) -> arbiter_core::kernel::ids::ProjectId {
        arbiter_core::kernel::ids::ProjectId::from_trusted(self)
    }
}

fn present(directory: &BeadDirectory) -> FileSnapshot {
    match read_now(directory, BeadFile::Shared) {
        FileRead::Present(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn refusal(read: FileRead) -> String {
    match read {
        FileRead::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn shared(directory: &BeadDirectory) -> PathBuf {
    directory.path().join("issues.jsonl")
}

fn replace_with(
    directory: &BeadDirectory,
    expected: Option<&FileSnapshot>,
    exchange: &Exchange<'_>,
) -> ReplaceOutcome {
    replace_now(directory, BeadFile::Shared, expected, Bytes::from_static(NEW.as_bytes()), exchange).unwrap()
}

fn names(directory: &BeadDirectory) -> Vec<OsString> {
    directory.open().unwrap().names(MAX_NAMES).unwrap()
}

#[test]
fn replaced_file_keeps_its_mode_and_late_writes_are_read() {
    let (_home, directory) = tree();
    fs::set_permissions(shared(&directory), Permissions::from_mode(0o664)).unwrap();
    let mut late = OpenOptions::new().append(true).open(shared(&directory)).unwrap();
    let read = present(&directory);
    let outcome = replace_with(&directory, Some(&read), &exchange);
    let ReplaceOutcome::Replaced { now, displaced: Some(displaced) } = outcome else { panic!("{outcome:?}") };
    assert_eq!((&now, &displaced.snapshot.digest), (&present(&directory), &read.digest));
    assert_eq!(fs::metadata(shared(&directory)).unwrap().permissions().mode() & 0o777, 0o664);
    assert_eq!(names(&directory), ["issues.jsonl"]);
    late.write_all(b"{\"id\":\"a-2\"}\n").unwrap();
    let again = displaced.read_again_now().unwrap().unwrap();
    assert_eq!(again.bytes, format!("{OLD}{{\"id\":\"a-2\"}}\n"));
    let outcome = replace_with(&directory, Some(&now), &exchange);
    let ReplaceOutcome::Replaced { displaced: Some(displaced), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(displaced.read_again_now().unwrap(), None);
}

#[test]
fn file_changed_since_it_was_read_is_not_replaced() {
    let (_home, directory) = tree();
    let read = present(&directory);
    fs::write(shared(&directory), "{\"id\":\"b-1\"}\n").unwrap();
    for expected in [Some(&read), None] {
        let outcome = replace_with(&directory, expected, &exchange);
        let ReplaceOutcome::Changed(FileRead::Present(now)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(now.bytes, "{\"id\":\"b-1\"}\n");
    }
    fs::remove_file(shared(&directory)).unwrap();
    let outcome = replace_with(&directory, Some(&read), &exchange);
    assert!(matches!(outcome, ReplaceOutcome::Changed(FileRead::Absent)), "{outcome:?}");
    let outcome = replace_with(&directory, None, &exchange);
    assert!(matches!(outcome, ReplaceOutcome::Replaced { displaced: None, .. }), "{outcome:?}");
    assert_eq!(present(&directory).bytes, NEW);
    assert_eq!(names(&directory), ["issues.jsonl"]);
}

#[test]
fn edit_in_the_last_moment_comes_out_and_survives_a_restart() {
    let (_home, directory) = tree();
    let path = shared(&directory);
    let append = {
        let path = path.clone();
        move || OpenOptions::new().append(true).open(&path).unwrap().write_all(b"late\n").unwrap()
    };
    let rename = move || {
        fs::write(path.with_extension("new"), "other\n").unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
    };
    let edits: [(&dyn Fn(), &str); 2] = [(&append, "{\"id\":\"a-1\"}\nlate\n"), (&rename, "other\n")];
    for (edit, content) in edits {
        fs::write(shared(&directory), OLD).unwrap();
        let read = present(&directory);
        let late_edit = |at: &Directory, from: &OsStr, to: &OsStr, flags| {
            edit();
            exchange(at, from, to, flags)
        };
        let outcome = replace_with(&directory, Some(&read), &late_edit);
        let ReplaceOutcome::Overtaken { now, displaced } = outcome else { panic!("{outcome:?}") };
        assert_eq!(
            (displaced.snapshot.bytes.as_ref(), now.bytes.as_ref()),
            (content.as_bytes(), NEW.as_bytes())
        );
        drop(displaced);
        let mut left = leftovers_now(&directory).unwrap();
        assert_eq!((left.len(), left[0].snapshot.bytes.as_ref()), (1, content.as_bytes()));
        left.remove(0).forget_now();
        assert_eq!(names(&directory), ["issues.jsonl"]);
    }
}

#[test]
fn file_system_without_exchange_is_left_as_it_is() {
    let (_home, directory) = tree();
    let read = present(&directory);
    for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
        let outcome = replace_with(&directory, Some(&read), &move |_, _, _, _| Err(errno));
        assert!(matches!(outcome, ReplaceOutcome::NotSupported), "{outcome:?}");
    }
    let full =
        replace_now(&directory, BeadFile::Shared, Some(&read), Bytes::new(), &|_, _, _, _| Err(Errno::NOSPC));
    assert!(full.unwrap_err().contains("issues.jsonl cannot be used: "));
    assert_eq!((present(&directory), names(&directory)), (read, vec!["issues.jsonl".into()]));
}

#[test]
fn link_put_in_place_in_the_last_moment_gets_it_back() {
    let (home, directory) = tree();
    fs::write(home.path().join("secret"), "secret").unwrap();
    let read = present(&directory);
    let path = shared(&directory);
    let links = |at: &Directory, from: &OsStr, to: &OsStr, flags| {
        if !path.is_symlink() {
            fs::remove_file(&path).unwrap();
            symlink("../../secret", &path).unwrap();
        }
        exchange(at, from, to, flags)
    };
    let outcome = replace_with(&directory, Some(&read), &links);
    let ReplaceOutcome::Changed(FileRead::Refused(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.ends_with("issues.jsonl is a symbolic link, or lies behind one"), "{reason}");
    assert!(shared(&directory).is_symlink());
    assert_eq!(names(&directory), ["issues.jsonl"]);
}

#[test]
fn leftover_drafts_are_removed_and_displaced_files_found() {
    let (_home, directory) = tree();
    let put = |name: OsString, content: &str| fs::write(directory.path().join(name), content).unwrap();
    put(".arbiter-p.tmp".into(), "begun");
    put(draft_name(&directory, &digest(NEW.as_bytes())), NEW);
    put(draft_name(&directory, &digest(b"ours")), "theirs");
    put(".arbiter-other.tmp".into(), "begun");
    let left = leftovers_now(&directory).unwrap();
    assert_eq!(left.iter().map(|file| file.snapshot.bytes.as_ref()).collect::<Vec<_>>(), [b"theirs"]);
    left.into_iter().for_each(DisplacedFile::forget_now);
    assert_eq!(names(&directory), [".arbiter-other.tmp", "issues.jsonl"]);
}

#[test]
fn linked_file_is_followed_only_to_jsonl_within_the_tree() {
    let (home, directory) = tree();
    let tree = directory.path().parent().unwrap().to_owned();
    for folder in ["data", ".git"] {
        fs::create_dir(tree.join(folder)).unwrap();
        fs::write(tree.join(folder).join("beads.jsonl"), OLD).unwrap();
    }
    fs::write(tree.join(".env"), "secret").unwrap();
    fs::write(home.path().join("out.jsonl"), "secret").unwrap();
    symlink("/etc", tree.join("way")).unwrap();
    let link = |target: &str| {
        fs::remove_file(shared(&directory)).unwrap();
        symlink(target, shared(&directory)).unwrap();
    };
    link("../data/beads.jsonl");
    let read = present(&directory);
    assert_eq!(read.path, tree.join("data/beads.jsonl"));
    let outcome = replace_with(&directory, Some(&read), &exchange);
    assert!(matches!(outcome, ReplaceOutcome::Replaced { .. }), "{outcome:?}");
    assert!(shared(&directory).is_symlink());
    assert_eq!(fs::read_to_string(tree.join("data/beads.jsonl")).unwrap(), NEW);
    for target in [
        "/dev/zero",
        "../.git/beads.jsonl",
        "../.env",
        "../../out.jsonl",
        "../way/passwd.jsonl",
        "issues.jsonl",
        "../data",
    ] {
        link(target);
        let reason = refusal(read_now(&directory, BeadFile::Shared));
        assert!(reason.contains("issues.jsonl") || reason.contains("way"), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

/// Puts one object of each hostile type in a file's place, and returns the end of the reason for each.
fn hostile(path: &Path, mut check: impl FnMut(&str)) {
    let clear = || {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    };
    clear();
    rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    check("is a pipe, not a regular file");
    clear();
    drop(UnixListener::bind(path).unwrap());
    check("is a socket, not a regular file");
    clear();
    fs::create_dir(path).unwrap();
    check("is a directory, not a regular file");
    clear();
    fs::File::create(path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    check("bytes");
    clear();
    symlink("/dev/zero", path).unwrap();
    check("");
    clear();
}

#[test]
fn hostile_type_in_place_of_any_file_is_refused() {
    let (_home, directory) = tree();
    for file in [BeadFile::Shared, BeadFile::Own] {
        hostile(&directory.path().join(file.name()), |end| {
            let reason = refusal(read_now(&directory, file));
            assert!(reason.contains(file.name()) && reason.ends_with(end), "{reason}");
            let bytes = Bytes::from_static(NEW.as_bytes());
            match replace_now(&directory, file, None, bytes, &exchange) {
                Err(_) | Ok(ReplaceOutcome::Changed(FileRead::Refused(_))) => {}
                other => panic!("{other:?}"),
            }
        });
    }
    hostile(&directory.path().join("metadata.json"), |end| {
        let reason = target_now(&directory).unwrap_err();
        assert!(reason.contains("metadata.json") && reason.ends_with(end), "{reason}");
    });
    assert_eq!(target_now(&directory), Ok(BeadFile::Shared));
    for name in ["a.yaml", "beads/b.yml"] {
        fs::create_dir_all(directory.path().join("beads")).unwrap();
        hostile(&directory.path().join(name), |end| {
            let reason = read_yaml_now(&directory).unwrap_err();
            assert!(reason.contains(name) && reason.ends_with(end), "{reason}");
        });
    }
    assert_eq!(read_yaml_now(&directory), Ok(vec![]));
}

#[test]
fn hostile_type_in_place_of_the_directory_is_refused() {
    let (home, directory) = tree();
    fs::rename(directory.path(), home.path().join("moved")).unwrap();
    assert_eq!(read_now(&directory, BeadFile::Shared), FileRead::Absent);
    let check = |_: &str| {
        let reason = refusal(read_now(&directory, BeadFile::Shared));
        assert!(reason.contains(".beads"), "{reason}");
        assert!(target_now(&directory).is_err() && read_yaml_now(&directory).is_err());
        let bytes = Bytes::from_static(NEW.as_bytes());
        assert!(replace_now(&directory, BeadFile::Shared, None, bytes, &exchange).is_err());
    };
    hostile(directory.path(), |end| {
        if !end.contains("directory") {
            check(end);
        }
    });
    symlink("../moved", directory.path()).unwrap();
    check("");
    let nowhere = BeadDirectory::new(&"p".parse_project(), Path::new("/nowhere/.beads"), &[]);
    assert!(refusal(read_now(&nowhere, BeadFile::Shared)).contains("does not exist"));
}

#[test]
fn link_above_the_directory_is_followed_only_outside_of_a_root() {
    let (home, directory) = tree();
    let root = home.path().canonicalize().unwrap();
    symlink("tree", root.join("link")).unwrap();
    let path = root.join("link/.beads");
    let project = "p".parse_project();
    assert_eq!(present(&BeadDirectory::new(&project, &path, &[])).path, shared(&directory));
    let reason = refusal(read_now(
        &BeadDirectory::new(&project, &path, std::slice::from_ref(&root)),
        BeadFile::Shared,
    ));
    assert!(reason.contains("is a symbolic link"), "{reason}");
    let below = BeadDirectory::new(&project, directory.path(), &[root]);
    assert_eq!(present(&below).bytes, OLD);
}

#[tokio::test]
async fn second_access_waits_for_none_that_hangs() {
    let (_home, directory) = tree();
    let (give, take) = std::sync::mpsc::channel::<()>();
    let hanging = directory.clone();
    let first = tokio::spawn(async move { hanging.access(move |_| take.recv().is_ok()).await });
    while !directory.is_busy() {
        tokio::task::yield_now().await;
    }
    let reason = refusal(read(&directory, BeadFile::Shared).await);
    assert!(reason.ends_with("an earlier access has not returned yet"), "{reason}");
    give.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(true));
    assert!(matches!(read(&directory, BeadFile::Shared).await, FileRead::Present(_)));
}
