//! Which of the wire formats a provider speaks.

/// A provider's wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenAI's chat completions; vLLM, Ollama, llama.cpp, LM Studio, OpenRouter and others speak it as well.
    #[default]
    OpenAi,
    Anthropic,
}
