//! Typed settings: what can be configured, its defaults, and where each value came from.
//!
//! Owns the layers (built-in defaults, then `arbiter.toml`, then `ARBITER_SECTION__KEY` of the
//! environment, then flags), the refusal of unknown keys and the ranges. Knows nothing of what the
//! settings are used for, and holds no secret: a password or a token is never configuration.

mod defaults;
mod error;
mod file;
mod layers;
mod load;
mod nearest;
mod ranges;
mod settings;
mod source;

pub use error::{ConfigError, ConfigProblem};
pub use layers::Flag;
pub use load::{Entry, Loaded};
pub use settings::{
    Actors, Authentication, BeadFiles, ConditionalBlocks, Decisions, Dispatch, Events, Http, Log, LogFormat,
    LogLevel, LogTargets, Providers, Settings, Store, Temporal, TlsFiles, Vault,
};
pub use source::Source;
