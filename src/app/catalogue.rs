//! The catalogue of models: the one in the program, and a file of the operator's beside it or instead of it.

use crate::app::StartError;
use arbiter_core::catalogue::{BadEntry, Catalogue, Entry};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The models that come with the program.
const BUILT_IN: &str = include_str!("../../config/models.toml");
/// The operator's file, when the configuration names none.
const FILE: &str = "models.toml";

/// What a file does to the models that come with the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// It adds to them.
    #[default]
    Extend,
    /// It stands in their place.
    Replace,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mode: Mode,
    #[serde(default, rename = "model")]
    models: Vec<Entry>,
}

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not written as it should be.
    #[error("{path} is no catalogue of models")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A model cannot be.
    #[error("{path} is no catalogue of models")]
    Entry {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BadEntry,
    },
}

/// Reads the catalogue: the file that is named, else `models.toml` of the data directory if there is one.
pub fn load(directory: &Path, named: &Path) -> Result<Catalogue, StartError> {
    let is_named = !named.as_os_str().is_empty();
    let path = if is_named { named.to_owned() } else { directory.join(FILE) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => None,
        Err(source) => return Err(CatalogueError::Read { path, source }.into()),
    };
    Ok(read(text.as_deref(), &path)?)
}

fn read(own: Option<&str>, path: &Path) -> Result<Catalogue, CatalogueError> {
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
    Catalogue::new(models).map_err(|source| CatalogueError::Entry { path: blamed.to_owned(), source })
}

fn parse(text: &str, path: &Path) -> Result<File, CatalogueError> {
    toml::from_str(text)
        .map_err(|source| CatalogueError::Parse { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "[[model]]\nname = \"our-model\"\ninteractivity = \"fast\"\nscore = 1.0\n";

    fn own(text: &str) -> Result<Catalogue, CatalogueError> {
        read(Some(text), Path::new("own.toml"))
    }

    #[test]
    fn the_built_in_catalogue_knows_each_of_its_models_by_its_own_name() {
        let catalogue = read(None, Path::new("")).unwrap();
        assert!(catalogue.entries().count() >= 40);
        for entry in catalogue.entries() {
            assert_eq!(catalogue.find(&entry.name).map(|found| &found.name), Some(&entry.name));
            assert_eq!(entry.price_input_per_mtok.is_some(), entry.min_vram_gb.is_none(), "{}", entry.name);
        }
        for (offered, known) in [
            ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen3-Coder-480B-A35B-Instruct"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4"),
            ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("openai/gpt-oss-120b", "gpt-oss-120b"),
            ("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.3-70B-Instruct"),
            ("llama3.1:8b-instruct-q4_K_M", "Llama-3.1-8B-Instruct"),
            ("deepseek-r1:70b", "DeepSeek-R1-Distill-Llama-70B"),
            ("deepseek-ai/DeepSeek-V3-0324", "DeepSeek-V3"),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Mixtral-8x7B-Instruct"),
            ("gemma3:27b", "gemma-3-27b-it"),
        ] {
            assert_eq!(catalogue.find(offered).map(|found| found.name.as_str()), Some(known), "{offered}");
        }
    }

    #[test]
    fn a_file_adds_to_it_or_stands_in_its_place() {
        let more = own(OWN).unwrap();
        assert_eq!(more.entries().next().unwrap().name, "our-model");
        assert!(more.entries().count() > 40);
        assert_eq!(own(&format!("mode = \"replace\"\n{OWN}")).unwrap().entries().count(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        for wrong in ["mode = \"add\"", "[[model]]\nname = \"m\"", &OWN.replace("1.0", "2.0"), "modle = 1"] {
            assert!(own(wrong).unwrap_err().to_string().contains("own.toml"), "{wrong}");
        }
        let missing = load(Path::new("/nowhere"), Path::new("/nowhere/m.toml"));
        assert_eq!(missing.unwrap_err().exit_code(), 78);
        assert!(load(Path::new("/nowhere"), Path::new("")).is_ok());
    }
}
