//! Estimate of a call before it is made: tokens and cost.

use crate::call::execute::CallCandidate;
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::money::cost_usd;

/// Tokens that an answer may have when the request does not say: what money is set aside for.
const ANSWER_TOKENS: u64 = 4_096;
/// Tokens that such an answer has as a rule: what the pace of a provider counts.
const USUAL_ANSWER_TOKENS: u64 = 512;
/// Characters of a prompt that are at least a token.
const CHARS_PER_TOKEN: u64 = 3;

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
        let (input, output) = (self.prompt_tokens(), self.answer_tokens.unwrap_or(ANSWER_TOKENS));
        let costs = candidates.iter().map(|candidate| {
            let provider = &candidate.provider;
            cost_usd(input, output, provider.price_input(), provider.price_output())
        });
        Usd::from_dollars(costs.fold(0.0, f64::max))
    }
}
