//! The catalogue of models: the one in the program, and a file of the operator's beside it or instead of it.

use crate::app::StartError;
use arbiter_core::model::catalog::{Catalog, CatalogEntry, InvalidEntry};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// The models that come with the program.
const BUILT_IN: &str = include_str!("../../config/models.toml");
/// The operator's file, when the configuration names none.
const FILE: &str = "models.toml";
/// The largest catalogue that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The effect of a catalog file on the built-in models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// The file adds models.
    #[default]
    Extend,
    /// The file replaces all models.
    Replace,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mode: Mode,
    #[serde(default, rename = "model")]
    models: Vec<CatalogEntry>,
}

/// An error in a model catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not written as it should be.
    #[error("{path} is no catalogue of models")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<toml::de::Error>,
    },
    /// A model breaks a rule.
    #[error("{path} is no catalogue of models")]
    InvalidEntry {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: InvalidEntry,
    },
}

/// Reads the catalogue: the file that is named, else `models.toml` of the data directory if there is one.
pub fn load(directory: &Path, named: &Path) -> Result<Catalog, StartError> {
    let is_named = !named.as_os_str().is_empty();
    let path = if is_named { named.to_owned() } else { directory.join(FILE) };
    let text = match arbiter_files::read_text(&path, MAX_BYTES) {
        Ok(text) => Some(text),
        Err(error) if error.is_missing() && !is_named => None,
        Err(error) => return Err(CatalogError::Read { path, source: error.into() }.into()),
    };
    Ok(read(text.as_deref(), &path)?)
}

fn read(own: Option<&str>, path: &Path) -> Result<Catalog, CatalogError> {
    let built_in = Path::new("config/models.toml");
    let mut models = parse(BUILT_IN, built_in)?.models;
    let mut blamed = built_in;
    if let Some(text) = own {
        let own = parse(text, path)?;
        blamed = path;
        if own.mode == Mode::Replace {
            models.clear();
        }
        models.extend(own.models);
    }
    Catalog::new(models).map_err(|source| CatalogError::InvalidEntry { path: blamed.to_owned(), source })
}

fn parse(text: &str, path: &Path) -> Result<File, CatalogError> {
    toml::from_str(text)
        .map_err(|source| CatalogError::Parse { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "[[model]]\nname = \"our-model\"\ninteractivity = \"fast\"\nscore = 1.0\n";

    fn own(text: &str) -> Result<Catalog, CatalogError> {
        read(Some(text), Path::new("own.toml"))
    }

    #[test]
    fn builtin_catalog_finds_each_model_by_its_name() {
        let catalogue = read(None, Path::new("")).unwrap();
        assert!(catalogue.entries().count() >= 40);
        for entry in catalogue.entries() {
            assert_eq!(catalogue.find(&entry.name).map(|found| &found.name), Some(&entry.name));
            assert_eq!(entry.price_input_per_mtok.is_some(), entry.min_vram_gb.is_none(), "{}", entry.name);
        }
    }

    #[test]
    fn catalog_finds_models_by_provider_spelling() {
        let catalogue = read(None, Path::new("")).unwrap();
        for (offered, known) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("anthropic/claude-opus-5.5", "claude-opus-5-5"),
            ("claude-opus-4-6-20260205", "claude-opus-4-6"),
            ("gpt-4o-2024-11-20", "gpt-4o"),
            ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("gpt-5.4-2026-03-05", "gpt-5.4"),
            ("openai/gpt-6.1-sol", "gpt-6.1-sol"),
            ("models/gemini-3.8-flash", "gemini-3.8-flash"),
            ("google/gemini-3.1-pro-preview", "gemini-3.1-pro-preview"),
            ("x-ai/grok-4.7", "grok-4.7"),
            ("openai/gpt-oss-120b", "gpt-oss-120b"),
            ("gpt-oss:20b", "gpt-oss-20b"),
            ("gpt-oss:120b-cloud", "gpt-oss-120b"),
            ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen3-Coder-480B-A35B-Instruct"),
            ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", "Qwen3-Coder-480B-A35B-Instruct"),
            ("qwen3-coder:30b", "Qwen3-Coder-30B-A3B-Instruct"),
            ("Qwen/Qwen3-Coder-Next-FP8", "Qwen3-Coder-Next"),
            ("Qwen/Qwen3.6-35B-A3B-FP8", "Qwen3.6-35B-A3B"),
            ("qwen3.5:27b-q4_K_M", "Qwen3.5-27B"),
            ("qwen3:32b", "Qwen3-32B"),
            ("Qwen/Qwen3-32B-AWQ", "Qwen3-32B"),
            ("qwen2.5-coder:32b-instruct-q4_K_M", "Qwen2.5-Coder-32B-Instruct"),
            ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "Qwen2.5-72B-Instruct"),
            ("qwen2.5-7b-instruct", "Qwen2.5-7B-Instruct"),
            ("qwen2.5-7b-instruct-1m", "Qwen2.5-7B-Instruct-1M"),
            ("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.3-70B-Instruct"),
            ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "Llama-3.3-70B-Instruct"),
            ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "Llama-3.1-70B-Instruct"),
            ("llama3.1:8b", "Llama-3.1-8B-Instruct"),
            ("llama3.1:8b-instruct-q4_K_M", "Llama-3.1-8B-Instruct"),
            ("meta-llama/llama-4-scout", "Llama-4-Scout-17B-16E-Instruct"),
            ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "Llama-4-Maverick-17B-128E-Instruct"),
            ("deepseek-r1:70b", "DeepSeek-R1-Distill-Llama-70B"),
            ("deepseek-r1:32b-qwen-distill-q4_K_M", "DeepSeek-R1-Distill-Qwen-32B"),
            ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek-R1"),
            ("deepseek-ai/DeepSeek-V3-0324", "DeepSeek-V3"),
            ("deepseek-v3.1:671b-cloud", "DeepSeek-V3.1"),
            ("deepseek-ai/DeepSeek-V4-Flash-0731", "DeepSeek-V4-Flash"),
            ("deepseek-v4-pro", "DeepSeek-V4-Pro"),
            ("moonshotai/Kimi-K2.6", "Kimi-K2.6"),
            ("moonshotai/Kimi-K2-Instruct-0905", "Kimi-K2-Instruct-0905"),
            ("kimi-k2-thinking", "Kimi-K2-Thinking"),
            ("zai-org/GLM-4.7-FP8", "GLM-4.7"),
            ("z-ai/glm-4.5-air:free", "GLM-4.5-Air"),
            ("MiniMaxAI/MiniMax-M2.7", "MiniMax-M2.7"),
            ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8", "Nemotron-3-Nano-30B-A3B"),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Mixtral-8x7B-Instruct-v0.1"),
            ("TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "Mistral-7B-Instruct-v0.3"),
            ("mistral-small3.2:24b", "Mistral-Small-3.2-24B-Instruct-2506"),
            ("mistral-large-2512", "Mistral-Large-3-675B-Instruct-2512"),
            ("devstral-2:123b", "Devstral-2-123B-Instruct-2512"),
            ("devstral:24b", "Devstral-Small-2507"),
            ("gemma3:27b", "gemma-3-27b-it"),
            ("google/gemma-4-31B-it-qat-w4a16-ct", "gemma-4-31B-it"),
            ("gemma4:e4b", "gemma-4-E4B-it"),
            ("microsoft/phi-4", "phi-4"),
        ] {
            assert_eq!(catalogue.find(offered).map(|found| found.name.as_str()), Some(known), "{offered}");
        }
    }

    #[test]
    fn catalog_lookup_of_other_models_finds_nothing() {
        let catalogue = read(None, Path::new("")).unwrap();
        for offered in [
            "claude-sonnet-9",
            "gpt-6.1-sol-mini",
            "gpt-image-2",
            "kimi-k9",
            "glm-4.6v",
            "mistral-large-2411",
            "llama3:8b",
            "text-embedding-3-large",
        ] {
            let found = catalogue.find(offered).map(|found| found.name.as_str());
            assert_eq!(found, None, "{offered}");
        }
    }

    /// The memory of a class of GPUs as the head of the catalogue has it, in GB.
    fn memory(class: &str) -> u32 {
        let (count, card) = class.split_once("x ").unwrap();
        let each = match card {
            "RTX 4060" => 8,
            "RTX 4070" => 12,
            "RTX 4080" => 16,
            "RTX 4090" => 24,
            "RTX 5090" => 32,
            "A6000" => 48,
            "H100" => 80,
            "H200" => 141,
            "B200" => 180,
            _ => panic!("{class} is not in the head of the catalogue"),
        };
        count.parse::<u32>().unwrap() * each
    }

    #[test]
    fn catalog_gpu_class_has_enough_memory_for_its_model() {
        for entry in read(None, Path::new("")).unwrap().entries() {
            assert_eq!(entry.gpu_class.is_some(), entry.min_vram_gb.is_some(), "{}", entry.name);
            if let (Some(class), Some(needed)) = (&entry.gpu_class, entry.min_vram_gb) {
                assert!(memory(class) >= needed, "{}: {needed} GB on {class}", entry.name);
            }
        }
    }

    #[test]
    fn catalog_file_extends_or_replaces_the_builtin() {
        let more = own(OWN).unwrap();
        assert_eq!(more.entries().next().unwrap().name, "our-model");
        assert!(more.entries().count() > 40);
        assert_eq!(own(&format!("mode = \"replace\"\n{OWN}")).unwrap().entries().count(), 1);
    }

    #[test]
    fn invalid_catalog_file_is_reported_with_its_path() {
        for wrong in ["mode = \"add\"", "[[model]]\nname = \"m\"", &OWN.replace("1.0", "2.0"), "modle = 1"] {
            assert!(own(wrong).unwrap_err().to_string().contains("own.toml"), "{wrong}");
        }
        let missing = load(Path::new("/nowhere"), Path::new("/nowhere/m.toml"));
        assert_eq!(missing.unwrap_err().exit_code(), 78);
        assert!(load(Path::new("/nowhere"), Path::new("")).is_ok());
    }
}
