//! Parts of a request that providers refused, per provider and model, so that later calls leave them out.
//!
//! Kept in memory and for a limited time: a server may be restarted with other options.

use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::prompt::tools;
use arbiter_providers::{Capability, ChatRequest, Message, Speaker};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Time after which a refused part is sent again.
const KEPT: Duration = Duration::from_secs(3_600);

/// The refused parts of all providers and models.
#[derive(Debug, Default)]
pub(crate) struct Capabilities(Mutex<HashMap<(ProviderId, String), HashMap<Capability, Timestamp>>>);

impl Capabilities {
    /// Records that a provider refused a part of a request for this model.
    pub(crate) fn record(&self, provider: &ProviderId, model: &str, lacking: Capability, now: Timestamp) {
        let mut known = self.0.lock();
        known.entry((provider.clone(), model.to_owned())).or_default().insert(lacking, now);
    }

    /// Returns what the provider refuses with this model.
    pub(crate) fn lacking(&self, provider: &ProviderId, model: &str, now: Timestamp) -> BTreeSet<Capability> {
        let known = self.0.lock();
        let refused = known.get(&(provider.clone(), model.to_owned()));
        let fresh = refused.into_iter().flatten().filter(|(_, at)| now.since(**at) < KEPT);
        fresh.map(|(capability, _)| *capability).collect()
    }
}

/// Says what a provider lacks with a model, for a person.
pub(crate) fn describe(provider: &ProviderId, model: &str, lacking: Capability) -> String {
    format!("provider {provider} with model {model} {}", lacking.lack())
}

/// Returns whether a request has the part.
pub(crate) fn uses(request: &ChatRequest, capability: Capability) -> bool {
    match capability {
        Capability::Tools => !request.tools.is_empty(),
        Capability::Temperature => request.temperature.is_some(),
        Capability::MaxTokens => request.max_tokens.is_some() && !request.uses_completion_limit,
    }
}

/// Leaves a part out of a request.
pub(crate) fn leave_out(request: &mut ChatRequest, capability: Capability) {
    match capability {
        Capability::Tools => write_tools_as_text(request),
        Capability::Temperature => request.temperature = None,
        Capability::MaxTokens => request.uses_completion_limit = true,
    }
}

/// Replaces tools by instructions, and earlier calls and their results by texts.
fn write_tools_as_text(request: &mut ChatRequest) {
    request.tools.clear();
    for message in &mut request.messages {
        for call in std::mem::take(&mut message.tool_calls) {
            let block = tools::fenced_call(&call.name, &call.arguments);
            message.content = format!("{}\n{block}", message.content).trim_start().to_owned();
        }
        if message.role == Speaker::Tool {
            *message = Message::new(Speaker::User, std::mem::take(&mut message.content));
        }
    }
    let instructions = tools::fenced_instructions();
    match request.messages.first_mut().filter(|first| first.role == Speaker::System) {
        Some(system) => system.content = format!("{}\n\n{instructions}", system.content),
        None => request.messages.insert(0, Message::new(Speaker::System, instructions)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_part_is_known_until_it_expires() {
        let (provider, known) = (ProviderId::from_trusted("p"), Capabilities::default());
        let now = Timestamp::from_millis(0);
        known.record(&provider, "m", Capability::Tools, now);
        assert_eq!(known.lacking(&provider, "m", now), BTreeSet::from([Capability::Tools]));
        assert!(known.lacking(&provider, "other", now).is_empty());
        assert!(known.lacking(&provider, "m", now.plus(KEPT)).is_empty());
    }
}
