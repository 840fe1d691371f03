//! Names of temporary files, and detection of abandoned ones.
//!
//! Owns the pattern `.<file>.<pid>.<kind>.tmp`. Must not touch the disk.

use rustix::{
    io::Errno,
    process::{self, Pid},
};

/// Returns the name of this process's temporary file for replacing `file`.
pub(crate) fn name(file: &str, kind: &str) -> String {
    format!(".{file}.{}.{kind}.tmp", std::process::id())
}

/// Returns whether `name` is an abandoned temporary file for `file`. A file with this process's id comes from a
/// dead process with the same id, because nothing is written while a vault is opened.
pub(crate) fn is_stale(file: &str, name: &str) -> bool {
    let middle = name.strip_prefix('.').and_then(|name| name.strip_prefix(file));
    let middle = middle.and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp"));
    let Some(middle) = middle else { return false };
    let maker = middle.split('.').next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0);
    let other = maker.and_then(Pid::from_raw).filter(|pid| *pid != process::getpid());
    other.is_none_or(|pid| process::test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn temporary_file_is_stale_when_its_process_is_dead() {
        // No process has the id 2^22, the kernel's limit. The parent of the tests is alive.
        let parent = process::getppid().unwrap().as_raw_pid();
        for stale in [".keys.json.4194304.new.tmp", ".keys.json.new.tmp", &name("keys.json", "bak")] {
            assert!(is_stale("keys.json", stale), "{stale}");
        }
        let living = format!(".keys.json.{parent}.new.tmp");
        for kept in [&living, "keys.json", "keys.json.bak", ".other.json.4194304.new.tmp", ".keys.json"] {
            assert!(!is_stale("keys.json", kept), "{kept}");
        }
    }
}
