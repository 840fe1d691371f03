//! Estimate of a call before it is made: tokens and cost, and the limit that keeps the estimate true.

use crate::call::CallContext;
use crate::call::execute::CallCandidate;
use crate::call::ledger_entry::Attribution;
use arbiter_core::budget::BudgetScope;
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::money::cost_usd;

/// Tokens that an answer may have when the request does not say. Where a budget applies, the provider is told so:
/// money is set aside for no more.
pub(crate) const ANSWER_TOKENS: u32 = 8_192;
/// Tokens that such an answer has as a rule: what the pace of a provider counts.
const USUAL_ANSWER_TOKENS: u64 = 512;
/// Characters of a prompt that are at least a token.
const CHARS_PER_TOKEN: u64 = 3;

/// Returns the limit of answer tokens that is sent with a call whose request names none; `None` where no budget
/// applies.
pub(crate) fn own_limit(shared: &CallContext, attribution: &Attribution) -> Option<u32> {
    let scopes = BudgetScope::of(attribution.project_id.as_ref(), attribution.agent_id.as_ref());
    shared.budget_guard.has_budget(&scopes).then_some(ANSWER_TOKENS)
}

/// Estimate of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallEstimate {
    /// Characters that are asked.
    pub(crate) prompt_chars: u64,
    pub(crate) answer_tokens: Option<u64>,
}

impl CallEstimate {
    fn prompt_tokens(self) -> u64 {
        self.prompt_chars / CHARS_PER_TOKEN + 1
    }

    /// About how many tokens it takes; corrected when that is known.
    pub(crate) fn tokens(self) -> u64 {
        self.prompt_tokens().saturating_add(self.answer_tokens.unwrap_or(USUAL_ANSWER_TOKENS))
    }

    /// Returns the highest possible cost: one token per three characters, the longest answer, the most
    /// expensive provider.
    pub(crate) fn cost(self, candidates: &[CallCandidate]) -> Usd {
        let (input, output) = (self.prompt_tokens(), self.answer_tokens.unwrap_or(ANSWER_TOKENS.into()));
        let costs = candidates.iter().map(|candidate| {
            let provider = &candidate.provider;
            cost_usd(input, output, provider.price_input(), provider.price_output())
        });
        Usd::from_dollars(costs.fold(0.0, f64::max))
    }
}
