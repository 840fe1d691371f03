//! Tests that need a process to harm: the test binary runs one of its own tests again, as a child.

use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: &str = "ARBITER_STORE_TEST_DIRECTORY";

/// The directory to work in, when this process is the child.
pub fn child_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// The words that run this test again: the binary and its arguments.
pub fn test_command(test: &str) -> Vec<std::ffi::OsString> {
    let binary = std::env::current_exe().unwrap();
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
    std::iter::once(binary.into()).chain(arguments.map(Into::into)).collect()
}

/// A command that runs `prefix` and behind it the test, as a child that works in `directory`.
pub fn command_behind(prefix: &[&str], test: &str, directory: &Path) -> Command {
    let mut all: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
    all.extend(test_command(test));
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).env(DIRECTORY, directory);
    command
}

/// Writes a line to the parent process; ends the child when the parent has closed the pipe.
pub fn print_line(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // The harness has begun a line of its own, so each line here begins with a line break.
    if out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
