//! The catalogue of known models, and the choice of one among those a provider offers.

use crate::model::name::ModelName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

string_enum! {
    /// Expected response speed of a model on its intended hardware.
    pub enum Interactivity {
        Fast = "fast",
        Medium = "medium",
        Slow = "slow",
    }
}

/// One known model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    pub name: String,
    /// Other names of it; `*` stands for any letters.
    #[serde(default)]
    pub aliases: Vec<String>,
    pub interactivity: Interactivity,
    /// The memory of GPUs it takes at least, in GB; none: it is not for one's own machines.
    #[serde(default)]
    pub min_vram_gb: Option<u32>,
    #[serde(default)]
    pub gpu_class: Option<String>,
    /// Tokens that fit into one call.
    #[serde(default)]
    pub context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    #[serde(default)]
    pub price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    #[serde(default)]
    pub price_output_per_mtok: Option<f64>,
    /// Quality score, 0 to 1.
    pub score: f64,
}

/// Error in a catalogue entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model {name:?} {problem}")]
pub struct InvalidEntry {
    pub name: String,
    pub problem: &'static str,
}

/// The known models, the best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    entries: Vec<(CatalogEntry, ModelName)>,
}

/// A model that a provider offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedModel {
    pub id: String,
    /// Tokens that fit into one call, where the provider tells.
    pub context_window: Option<u64>,
}

impl OfferedModel {
    /// A model of which only the name is told.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), context_window: None }
    }
}

/// Reason why a model was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionReason {
    Configured,
    Best,
    /// None is known; it stands first.
    First,
}

/// The model that calls are to use.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSelection {
    pub model: String,
    pub basis: SelectionReason,
    pub reason: String,
    /// Quality score, 0 to 1, if known.
    pub score: Option<f64>,
    pub gpu: Option<String>,
    /// Tokens that fit into one call: the provider's word, else the catalogue's.
    pub context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars, if it is known.
    pub price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars, if it is known.
    pub price_output_per_mtok: Option<f64>,
}

/// Confidence with which an offered name matches an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MatchScore {
    Variant(usize),
    Same,
    /// One of its aliases.
    Alias,
    Exact,
}

impl Catalog {
    /// A catalogue of these models. A later entry of a name takes the place of an earlier one.
    ///
    /// # Errors
    /// [`InvalidEntry`] for an empty name, a score beyond 0 to 1, a price below 0.
    pub fn new(entries: impl IntoIterator<Item = CatalogEntry>) -> Result<Self, InvalidEntry> {
        let entries: Vec<CatalogEntry> = entries.into_iter().collect();
        let (mut seen, mut kept) = (BTreeSet::new(), Vec::new());
        for entry in entries.into_iter().rev() {
            check(&entry)?;
            if seen.insert(entry.name.to_lowercase()) {
                let name = ModelName::parse(&entry.name);
                kept.push((entry, name));
            }
        }
        kept.sort_by(|(one, _), (other, _)| {
            other.score.total_cmp(&one.score).then_with(|| one.name.cmp(&other.name))
        });
        Ok(Self { entries: kept })
    }

    /// Every known model, the best first.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    /// The entry that an offered name means: by its name, an alias, the same name in another dress, or the
    /// family and the size, in this order.
    pub fn find(&self, offered: &str) -> Option<&CatalogEntry> {
        let name = ModelName::parse(offered);
        let alike = self.entries.iter().filter_map(|(entry, known)| {
            match_score(offered, &name, entry, known).map(|match_score| (match_score, entry))
        });
        // Of equal ones the first, which is the best.
        alike.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, entry)| entry)
    }
}

fn check(entry: &CatalogEntry) -> Result<(), InvalidEntry> {
    let price_ok = |price: Option<f64>| price.is_none_or(|price| price.is_finite() && price >= 0.0);
    let problem = if entry.name.trim().is_empty() {
        "has no name"
    } else if !(0.0..=1.0).contains(&entry.score) {
        "has a score that is not 0 to 1"
    } else if !price_ok(entry.price_input_per_mtok) || !price_ok(entry.price_output_per_mtok) {
        "has a price below 0"
    } else if entry.context_window == Some(0) {
        "has a context window of 0"
    } else {
        return Ok(());
    };
    Err(InvalidEntry { name: entry.name.clone(), problem })
}

fn match_score(
    offered: &str,
    name: &ModelName,
    entry: &CatalogEntry,
    known: &ModelName,
) -> Option<MatchScore> {
    let bare = offered.rsplit_once('/').map_or(offered, |(_, bare)| bare);
    if offered.eq_ignore_ascii_case(&entry.name) {
        Some(MatchScore::Exact)
    } else if entry
        .aliases
        .iter()
        .any(|alias| is_pattern_match(alias, offered) || is_pattern_match(alias, bare))
    {
        Some(MatchScore::Alias)
    } else if name.is_same(known) {
        Some(MatchScore::Same)
    } else if name.is_variant_of(known) {
        Some(MatchScore::Variant(known.family.len()))
    } else {
        None
    }
}

/// Returns whether a text is as a pattern says, capitals or not; `*` stands for any letters, also for none.
fn is_pattern_match(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let parts: Vec<&str> = tail.split('*').collect();
    let Some((last, between)) = parts.split_last() else { return true };
    for part in between {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Name parts of offered models that are not chat models.
const NON_CHAT_MARKERS: &[&str] = &[
    "embed",
    "whisper",
    "tts",
    "dall-e",
    "moderation",
    "rerank",
    "image",
    "transcribe",
    "bge-",
    "e5-",
    "realtime",
    "sora",
    "stable-diffusion",
    "flux",
];

fn is_chat_model(model: &str) -> bool {
    let model = model.to_lowercase();
    !NON_CHAT_MARKERS.iter().any(|word| model.contains(word))
}

/// Chooses the model that calls are to use: the configured one if it is offered, else the best known one that
/// is offered, else the first. None when nothing is offered.
pub fn negotiate(
    configured: Option<&str>,
    offered: &[OfferedModel],
    catalog: &Catalog,
) -> Option<ModelSelection> {
    let wanted = configured.and_then(|name| {
        // Ollama and similar servers add a tag that configurations omit.
        let is_wanted = |one: &&OfferedModel| one.id == name || one.id.strip_suffix(":latest") == Some(name);
        offered.iter().find(|one| one.id == name).or_else(|| offered.iter().find(is_wanted))
    });
    if let Some(one) = wanted {
        let reason = "the configured model is offered".to_owned();
        return Some(selection(one, SelectionReason::Configured, reason, catalog.find(&one.id)));
    }
    let missing = configured.map_or_else(String::new, |name| format!("{name} is not offered; "));
    let known = offered.iter().filter_map(|one| Some((one, catalog.find(&one.id)?)));
    let best = known.reduce(|best, next| if next.1.score > best.1.score { next } else { best });
    if let Some((one, entry)) = best {
        let (name, score) = (&entry.name, entry.score);
        let reason =
            format!("{missing}{name} is the best known model of {}, score {score:.2}", offered.len());
        return Some(selection(one, SelectionReason::Best, reason, Some(entry)));
    }
    let first = offered.iter().find(|one| is_chat_model(&one.id)).or(offered.first())?;
    let reason = format!("{missing}no offered model is in the catalogue, so the first one is used");
    Some(selection(first, SelectionReason::First, reason, None))
}

fn selection(
    one: &OfferedModel,
    basis: SelectionReason,
    reason: String,
    entry: Option<&CatalogEntry>,
) -> ModelSelection {
    ModelSelection {
        model: one.id.clone(),
        basis,
        reason,
        score: entry.map(|entry| entry.score),
        gpu: entry.and_then(|entry| entry.gpu_class.clone()),
        context_window: one.context_window.or(entry.and_then(|entry| entry.context_window)),
        price_input_per_mtok: entry.and_then(|entry| entry.price_input_per_mtok),
        price_output_per_mtok: entry.and_then(|entry| entry.price_output_per_mtok),
    }
}

#[cfg(test)]
mod tests;
