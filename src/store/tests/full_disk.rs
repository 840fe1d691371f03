//! A full disk: said so, nothing half written, reading goes on, and space that comes back is used.

use crate::again::{child_directory, command_behind, print_line};
use crate::home::{Recorder, options};
use crate::kill::{prepare, whole, whole_beads};
use arbiter_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::path::Path;

const TEST: &str = "full_disk::full_disk_refuses_units_until_there_is_space";
/// Environment variable with the size of the child's beads, in bytes.
const SIZE: &str = "ARBITER_STORE_TEST_SIZE";
/// The exit code that says that the small disk could not be made.
const EXIT_NO_DISK: i32 = 97;
const MOUNT: &str = "mount -t tmpfs -o size=8m,mode=0700 tmpfs \"$0\" || exit 97; exec \"$@\"";

/// Fills the disk with beads of one size, then makes room, and checks everything at each step.
async fn fill_and_free(directory: &Path, size: usize) {
    prepare(directory).await;
    let ballast = ["first", "second"].map(|name| directory.join(name));
    for part in &ballast {
        std::fs::write(part, vec![7_u8; 1_500_000]).unwrap();
    }
    let recorder = Recorder::default();
    let store = Store::open(options(directory, &recorder)).unwrap();
    let description = "x".repeat(size);
    let (mut answered, mut number) = (BTreeSet::new(), 0);
    let mut refused_in_all = 0;
    for round in 0..3 {
        let mut refused = 0;
        while refused < 5 {
            // Several at a time, so that a whole group meets the full disk.
            let mut group = tokio::task::JoinSet::new();
            for _ in 0..3 {
                number += 1;
                let (id, store) = (format!("b{number}"), store.clone());
                let unit = whole(&id, &description);
                group.spawn(async move { (id, store.commit(unit).await) });
            }
            while let Some(done) = group.join_next().await {
                match done.unwrap() {
                    (id, Ok(_)) => assert!(answered.insert(id)),
                    (_, Err(StoreError::Full)) => refused += 1,
                    (id, Err(other)) => panic!("{id} of {size} bytes: {other:?}"),
                }
            }
        }
        refused_in_all += refused;
        assert_eq!(whole_beads(&store).await, answered, "full, {size} bytes, round {round}");
        assert_eq!(recorder.events().len(), answered.len() * 3, "published is what was committed");
        if let Some(part) = ballast.get(round) {
            std::fs::remove_file(part).unwrap();
            number += 1;
            let id = format!("b{number}");
            store.commit(whole(&id, &description)).await.unwrap_or_else(|e| panic!("with space: {e:?}"));
            answered.insert(id);
            assert_eq!(whole_beads(&store).await, answered, "freed, {size} bytes, round {round}");
            // From here to the next filling, other files fill the disk to the last byte.
            fill_disk(&directory.join(format!("padding{round}")));
        }
    }
    assert!(refused_in_all >= 15 && !answered.is_empty());
    assert_eq!(recorder.failures(), Vec::<String>::new(), "a full disk is no failure");
    store.close();
    std::fs::remove_file(directory.join("padding1")).unwrap();
    let store = Store::open(options(directory, &Recorder::default())).unwrap();
    assert_eq!(whole_beads(&store).await, answered, "after reopening");
    store.close();
}

/// Takes all the space that is left.
fn fill_disk(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 512]).is_ok() {}
}

#[test]
fn full_disk_refuses_units_until_there_is_space() {
    if let Some(disk) = child_directory() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let size = std::env::var(SIZE).unwrap().parse().unwrap();
        runtime.block_on(fill_and_free(&disk, size));
        return print_line("filled and freed");
    }
    for size in [0, 900, 5_000, 60_000, 300_000] {
        on_small_disk(size);
    }
}

/// Runs the child on a new disk of 8 MiB.
fn on_small_disk(size: usize) {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().to_str().unwrap();
    // A mount namespace of its own: the small disk goes away with the child in every case.
    for unshare in [&["unshare", "-m"][..], &["unshare", "-rm"]] {
        let prefix = [unshare, &["sh", "-c", MOUNT, place]].concat();
        let Ok(output) = command_behind(&prefix, TEST, home.path()).env(SIZE, size.to_string()).output()
        else {
            continue;
        };
        let (said, complaint) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let no_disk = output.status.code() == Some(EXIT_NO_DISK) || complaint.starts_with("unshare:");
        if !no_disk {
            assert!(output.status.success(), "{said}\n{complaint}");
            assert!(said.contains("filled and freed"), "{said}\n{complaint}");
            return;
        }
    }
    panic!(
        "no small disk could be mounted: run this test as root with CAP_SYS_ADMIN, or allow user namespaces \
         (sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
    );
}
