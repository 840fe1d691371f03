//! `arbiter demo`: everything at work, without a key and without a trace.

use crate::app;
use crate::cli::command::serve::{Overrides, environment};
use crate::cli::ui::failure::Failure;
use crate::config::{Flag, Settings};
use clap::Args;

/// The arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    overrides: Overrides,
}

impl Demo {
    /// Runs the demonstration until a signal stops it.
    pub fn run(self) -> Result<(), Failure> {
        let mut flags = self.overrides.flags();
        if !flags.iter().any(|flag| flag.key == "http.listen") {
            // A server of one's own may be listening on the usual port.
            let value = "127.0.0.1:0".to_owned();
            flags.push(Flag { name: "--listen", key: "http.listen", value });
        }
        let loaded = Settings::load(None, environment(), &flags)?;
        Ok(app::demo(app::DemoOptions { loaded })?)
    }
}
