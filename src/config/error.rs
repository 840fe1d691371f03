//! Errors in a configuration, each with its key and place.

use super::Source;
use std::{fmt, io, path::PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}", path = .path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{path} is not valid TOML", path = .path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where, and what was expected.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Values that cannot be used; all that were found, at least one.
    #[error("{}", ProblemLines(.problems))]
    Invalid {
        /// Each with its key and place.
        problems: Vec<ConfigProblem>,
    },
}

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// Nothing has this name.
    #[error("unknown key `{key}` ({found_in}); did you mean `{nearest}`?")]
    UnknownKey {
        /// The dotted key as it was given.
        key: String,
        /// Where.
        found_in: Source,
        /// The known key it most likely meant.
        nearest: String,
    },
    /// The value has the wrong type or form, is out of range, or does not fit another one.
    #[error("`{key}` ({found_in}): {detail}")]
    Unfit {
        /// The dotted key.
        key: String,
        /// Where.
        found_in: Source,
        /// The rule that it breaks.
        detail: String,
    },
}

/// One problem a line.
struct ProblemLines<'a>(&'a [ConfigProblem]);

impl fmt::Display for ProblemLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
