//! `arbiter completions SHELL`: a completion script for a shell.

use crate::cli::Cli;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{Output, OutputFormat};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "arbiter", &mut script);
        Output::new(OutputFormat::Table).text(&String::from_utf8_lossy(&script))
    }
}
