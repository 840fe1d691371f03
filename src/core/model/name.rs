//! Names of models taken apart: `Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8` and `qwen3-coder:480b` name the
//! same weights, and 480 billion of them, not 35.

/// Parts of a model name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelName {
    pub vendor: Option<String>,
    /// The words of the name without sizes, dates, quantisation and words that every model has.
    pub family: Vec<String>,
    /// Parameters in billions, all experts together.
    pub total_b: Option<f64>,
    /// Parameters in billions that are in use at a time.
    pub active_b: Option<f64>,
    /// Format of the stored weights, as written in the name: `fp8`, `q4_k_m`.
    pub quantisation: Option<String>,
    pub tag: Option<String>,
}

/// Name parts that do not distinguish models; `cloud` marks models that Ollama runs remotely.
const IGNORED_WORDS: &[&str] =
    &["instruct", "chat", "it", "latest", "free", "preview", "hf", "gguf", "text", "default", "cloud"];
/// Ways of storing weights.
const QUANTISATION_WORDS: &[&str] = &[
    "fp8", "fp16", "bf16", "fp32", "f16", "f32", "int4", "int8", "awq", "gptq", "exl2", "exl3", "mlx", "bnb",
    "4bit", "8bit", "6bit", "nvfp4", "mxfp4", "fp4", "w4a16", "w8a8", "qat", "dynamic",
];

impl ModelName {
    /// Parses a name. Every text is a valid name.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().to_lowercase();
        let (vendor, rest) = match text.rsplit_once('/') {
            Some((vendor, rest)) => (Some(vendor.to_owned()), rest),
            None => (None, text.as_str()),
        };
        let (_, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag.to_owned())));
        let mut name = Self { vendor, tag, ..Self::default() };
        let rest = rest.strip_suffix(".gguf").unwrap_or(rest);
        let mut words = Vec::new();
        for piece in rest.split(['-', ':', ' ', '@', '+']).filter(|piece| !piece.is_empty()) {
            if is_quantisation(piece) {
                name.quantisation = Some(piece.to_owned());
            } else {
                words.extend(piece.split('_').filter(|word| !word.is_empty()).map(str::to_owned));
            }
        }
        name.classify_words(&words);
        name
    }

    fn classify_words(&mut self, words: &[String]) {
        let mut rest = words.iter().map(String::as_str).peekable();
        while let Some(word) = rest.next() {
            if is_quantisation(word) {
                self.quantisation = Some(word.to_owned());
            } else if let Some(total) = parse_total_params(word).filter(|_| self.total_b.is_none()) {
                self.total_b = Some(total);
            } else if let Some(active) = parse_active_params(word).filter(|_| self.total_b.is_some()) {
                self.active_b = Some(active);
            } else if is_year(word) {
                // A date: the month and the day belong to it.
                while rest.next_if(|next| next.len() == 2 && is_number(next)).is_some() {}
            } else if is_date(word) || IGNORED_WORDS.contains(&word) {
            } else {
                self.add(word);
            }
        }
        // A vendor's own name before its model's: Meta-Llama, Mistral-Nemo stays.
        if self.family.len() > 1 && self.family[0] == "meta" {
            self.family.remove(0);
        }
    }

    /// Adds a word, cut where letters and numbers meet; numbers that follow each other are one version.
    fn add(&mut self, word: &str) {
        let mut piece = String::new();
        let mut numeric = None;
        for letter in word.chars() {
            let digit = letter.is_ascii_digit() || letter == '.';
            if numeric.is_some_and(|was| was != digit) {
                self.push(std::mem::take(&mut piece));
            }
            numeric = Some(digit);
            piece.push(letter);
        }
        self.push(piece);
    }

    fn push(&mut self, piece: String) {
        let piece = piece.trim_matches('.').to_owned();
        let short = |text: &str| text.len() <= 2 && is_number(text);
        match self.family.last_mut() {
            _ if piece.is_empty() => {}
            Some(last) if short(&piece) && short(last) => *last = format!("{last}.{piece}"),
            _ => self.family.push(piece),
        }
    }

    /// Returns whether both names denote the same weights, regardless of format and vendor.
    pub fn is_same(&self, other: &Self) -> bool {
        self.family == other.family
            && same(self.total_b, other.total_b)
            && same_if_known(self.active_b, other.active_b)
    }

    /// Returns whether this is of the other's family and exactly as large: a variant of it.
    pub fn is_variant_of(&self, other: &Self) -> bool {
        !other.family.is_empty()
            && self.family.starts_with(&other.family)
            && self.total_b.is_some()
            && same(self.total_b, other.total_b)
            && same_if_known(self.active_b, other.active_b)
    }
}

fn same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 0.02 * one.max(other),
        (None, None) => true,
        _ => false,
    }
}

fn same_if_known(one: Option<f64>, other: Option<f64>) -> bool {
    one.is_none() || other.is_none() || same(one, other)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `q4_k_m`, `iq3_xxs`, `fp8` and the like.
fn is_quantisation(word: &str) -> bool {
    let digits = word.strip_prefix("iq").or_else(|| word.strip_prefix('q'));
    let quantised = digits.is_some_and(|rest| {
        let mut letters = rest.chars();
        letters.next().is_some_and(|first| first.is_ascii_digit())
            && matches!(letters.next(), None | Some('_'))
    });
    quantised || QUANTISATION_WORDS.contains(&word)
}

/// `480b`, `1.5b`, `350m`, `1t`, `8x7b`, in billions.
fn parse_total_params(word: &str) -> Option<f64> {
    if let Some((experts, each)) = word.split_once('x') {
        return Some(experts.parse::<f64>().ok().filter(|_| is_number(experts))? * parse_total_params(each)?);
    }
    let scale = match word.chars().last()? {
        't' => 1_000.0,
        'b' => 1.0,
        'm' => 0.001,
        _ => return None,
    };
    let number = &word[..word.len() - 1];
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse::<f64>().ok().filter(|value| plain && *value > 0.0).map(|value| value * scale)
}

/// `a35b`: 35 billion in use at a time.
fn parse_active_params(word: &str) -> Option<f64> {
    word.strip_prefix('a').and_then(parse_total_params)
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && is_number(word) && (word.starts_with("202") || word.starts_with("203"))
}

/// `20250514`, `0613`, `2507`.
fn is_date(word: &str) -> bool {
    is_number(word) && matches!(word.len(), 4 | 6 | 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_sizes_parse_in_every_notation() {
        for (text, total, active) in [
            ("Qwen/Qwen3-Coder-480B-A35B-Instruct", Some(480.0), Some(35.0)),
            ("qwen3:30b-a3b-q4_K_M", Some(30.0), Some(3.0)),
            ("Mixtral-8x7B-Instruct-v0.1", Some(56.0), None),
            ("mistralai/Mixtral-8x22B", Some(176.0), None),
            ("llama3.1:70b", Some(70.0), None),
            ("Qwen2.5-1.5B-Instruct-GGUF", Some(1.5), None),
            ("smollm-360m", Some(0.36), None),
            ("kimi-k2-1t-a32b", Some(1_000.0), Some(32.0)),
            ("gpt-oss-120b", Some(120.0), None),
            ("gpt-4o", None, None),
            ("claude-sonnet-4-20250514", None, None),
            ("a35b", None, None),
            ("", None, None),
        ] {
            let name = ModelName::parse(text);
            assert_eq!((name.total_b, name.active_b), (total, active), "{text}: {name:?}");
        }
    }

    #[test]
    fn names_of_the_same_weights_are_equal() {
        for (one, other) in [
            ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "qwen3-coder:480b-a35b-q8_0"),
            ("Qwen3-Coder-480B-A35B-Instruct-FP8", "qwen3-coder:480b"),
            ("meta-llama/Meta-Llama-3.1-70B-Instruct", "llama3.1:70b-instruct-q4_K_M"),
            ("claude-3-5-sonnet-20241022", "anthropic/claude-3.5-sonnet"),
            ("gpt-4o-2024-08-06", "openai/gpt-4o"),
            ("gpt-4-0613", "gpt-4"),
            ("DeepSeek-V3-0324", "deepseek_v3:latest"),
            ("gemma-2-9b-it", "gemma2:9b"),
            ("Qwen3-30B-A3B-Instruct-2507", "qwen3:30b"),
            ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
            ("gpt-4o-2024-11-20", "gpt-4o"),
            ("models/gemini-3.8-flash", "google/gemini-3.8-flash"),
            ("qwen2.5-coder:32b-instruct-q4_K_M", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ"),
            ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "qwen2.5:72b"),
            ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "llama3.1:70b"),
            ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.3-70B-Instruct"),
            ("mlx-community/Qwen3.6-27B-4bit", "qwen3.6:27b"),
            ("google/gemma-4-26B-A4B-it-qat-w4a16", "gemma4:26b"),
            ("qwen3-coder:480b-cloud", "Qwen3-Coder-480B-A35B-Instruct-FP8"),
            ("moonshotai/Kimi-K2.6", "kimi-k2.6:cloud"),
            ("zai-org/GLM-4.7-FP8", "z-ai/glm-4.7"),
        ] {
            assert!(ModelName::parse(one).is_same(&ModelName::parse(other)), "{one} {other}");
        }
    }

    #[test]
    fn names_of_other_weights_differ() {
        for (one, other) in [
            ("llama-3-70b", "llama-3.1-70b"),
            ("llama-3.1-70b", "llama-3.1-8b"),
            ("gpt-4o", "gpt-4o-mini"),
            ("gpt-4", "gpt-4.1"),
            ("qwen3-235b-a22b", "qwen3-235b-a35b"),
            ("claude-opus-4", "claude-opus-4-1"),
            ("qwen3-coder-30b", "qwen3-30b"),
            ("claude-opus-5", "claude-opus-5-5"),
            ("gpt-6-sol", "gpt-6.1-sol"),
            ("kimi-k2", "kimi-k2.6"),
            ("qwen3.5:27b", "qwen3.6:27b"),
            ("devstral-2:123b", "devstral:24b"),
            ("qwen2.5-7b-instruct-1m", "qwen2.5:7b"),
        ] {
            let (one, other) = (ModelName::parse(one), ModelName::parse(other));
            assert!(!one.is_same(&other), "{one:?} {other:?}");
        }
        let variant = ModelName::parse("nvidia/Llama-3.1-70B-Nemotron");
        assert!(variant.is_variant_of(&ModelName::parse("llama3.1:70b")));
        assert!(!variant.is_variant_of(&ModelName::parse("llama3:70b")), "3.1 is no variant of 3");
        assert!(
            !ModelName::parse("gpt-4o-mini").is_variant_of(&ModelName::parse("gpt-4o")),
            "without a size"
        );
    }

    #[test]
    fn vendor_quantisation_and_tag_are_separated() {
        let name = ModelName::parse("hf.co/bartowski/Qwen2.5-Coder-32B-Instruct-GGUF:Q4_K_M");
        assert_eq!(name.vendor.as_deref(), Some("hf.co/bartowski"));
        assert_eq!(name.family, ["qwen", "2.5", "coder"]);
        assert_eq!(name.quantisation.as_deref(), Some("q4_k_m"));
        assert_eq!(name.tag.as_deref(), Some("q4_k_m"));
    }
}
