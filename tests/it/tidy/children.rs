//! No other program is started, so none inherits the password of the environment.

use crate::tidy::{code, files, is_test};

#[test]
fn product_code_spawns_no_process() {
    // A child would inherit the environment, and with it the password.
    let starts = |line: &str| {
        let of_std = line.contains("process::") && line.contains("Command");
        of_std
            || ["tokio::process", "CommandExt", "posix_spawn", "execve", "fork("]
                .iter()
                .any(|w| line.contains(w))
    };
    assert!(starts("use std::process::{Child, Command};") && !starts("use clap::Command;"));
    let mut wrong = Vec::new();
    for folder in ["src", "actors"] {
        for (path, text) in files(folder, &[".rs"]) {
            if !is_test(&path) && !path.starts_with("src/testkit") {
                let lines = code(&text).filter(|(_, line)| starts(line));
                wrong.extend(lines.map(|(number, _)| format!("{}:{number}", path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
