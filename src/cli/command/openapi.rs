//! `arbiter openapi`: the API's description, which this program knows without a server.

use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{Output, OutputFormat};
use clap::Args;

/// The arguments of `openapi`.
#[derive(Debug, Args)]
pub struct Openapi {
    /// Print it as YAML
    #[arg(long)]
    yaml: bool,
}

impl Openapi {
    /// Prints the OpenAPI document.
    pub fn run(self) -> Result<(), Failure> {
        let output = Output::new(OutputFormat::Json);
        if self.yaml {
            return output.text(crate::http::openapi_yaml().trim_end());
        }
        output.json(&crate::http::document())
    }
}
