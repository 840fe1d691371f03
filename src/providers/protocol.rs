//! Wire formats of providers.

/// Wire format of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenAI's chat completions; also used by vLLM, Ollama, llama.cpp, LM Studio, OpenRouter and others.
    #[default]
    OpenAi,
    Anthropic,
}
