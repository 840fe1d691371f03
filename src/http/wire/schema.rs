//! Schemas of the core's words and times, which know nothing of schemas themselves.

use arbiter_core::agent::autonomy::Autonomy;
use arbiter_core::agent::{self, persona};
use arbiter_core::bead::readiness::Gate;
use arbiter_core::budget::Period;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::token::{Proof, Role};
use arbiter_core::kernel::{call, run, vault};
use arbiter_core::model::catalog::Interactivity;
use arbiter_core::{bead, decision, project, provider};
use arbiter_store::{Granularity, GroupBy};
use schemars::{Schema, SchemaGenerator, json_schema};

/// A closed set of words.
pub trait EnumValues {
    /// All of them.
    const VALUES: &'static [&'static str];
}

macro_rules! impl_enum_values {
    ($($words:ty),+ $(,)?) => {
        $(impl EnumValues for $words {
            const VALUES: &'static [&'static str] = &{
                let mut words = [""; <$words>::ALL.len()];
                let mut at = 0;
                while at < words.len() {
                    words[at] = <$words>::ALL[at].as_str();
                    at += 1;
                }
                words
            };
        })+
    };
}

impl_enum_values!(
    agent::Kind,
    Autonomy,
    persona::PersonaOrigin,
    agent::Status,
    bead::Approval,
    bead::Status,
    decision::Purpose,
    decision::Status,
    project::Status,
    provider::ProviderType,
    provider::Status,
    run::Status,
    vault::Status,
    call::Kind,
    call::Outcome,
    EventType,
    Gate,
    GroupBy,
    Interactivity,
    Granularity,
    Period,
    Proof,
    Role,
);

/// One of a set of words.
pub fn word<T: EnumValues>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": T::VALUES})
}

/// A point in time.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A point in time, or null.
pub fn maybe_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "format": "date-time"})
}

/// An object with anything in it.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_values_match_the_core_enum() {
        assert_eq!(<bead::Status as EnumValues>::VALUES, ["open", "in_progress", "blocked", "closed"]);
        let schema = word::<Role>(&mut SchemaGenerator::default());
        assert_eq!(schema.as_value()["enum"][0], "admin");
    }
}
