//! Tests that need a disk of their own: the test binary runs one of its tests again, as a child in a mount
//! namespace where a small or read-only disk is mounted. The disk ends with the child in every case.

use std::path::PathBuf;
use std::process::Command;

const DISK_VARIABLE: &str = "ARBITER_IT_DISK";
/// The exit code that says that the disk could not be made.
const MOUNT_FAILED: i32 = 97;

/// The disk to work on, when this process is the child.
pub fn mounted_disk() -> Option<PathBuf> {
    std::env::var_os(DISK_VARIABLE).map(PathBuf::from)
}

/// Runs the test called `test` again on a disk mounted with these options, and panics when it fails.
pub fn run_on_disk(test: &str, options: &str) {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().to_str().unwrap();
    let mount = format!("mount -t tmpfs -o {options} tmpfs \"$0\" || exit {MOUNT_FAILED}; exec \"$@\"");
    for unshare in [&["-m"][..], &["-rm"]] {
        let output = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &mount, place])
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(DISK_VARIABLE, place)
            .env("TMPDIR", place)
            .output();
        let Ok(output) = output else { continue };
        let (said, error_line) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let no_disk = output.status.code() == Some(MOUNT_FAILED) || error_line.starts_with("unshare:");
        if !no_disk {
            assert!(output.status.success() && said.contains("1 passed"), "{said}\n{error_line}");
            return;
        }
    }
    panic!(
        "no disk could be mounted: run this test as root with CAP_SYS_ADMIN, or allow user namespaces \
         (sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
    );
}
