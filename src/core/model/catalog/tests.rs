//! Tests of matching offered names and of choosing a model.

use super::*;

fn entry(name: &str, score: f64) -> CatalogEntry {
    CatalogEntry {
        name: name.into(),
        aliases: vec![],
        interactivity: Interactivity::Medium,
        min_vram_gb: Some(80),
        gpu_class: Some("H100".into()),
        context_window: Some(131_072),
        price_input_per_mtok: Some(1.0),
        price_output_per_mtok: Some(4.0),
        score,
    }
}

fn catalog() -> Catalog {
    let sonnet = CatalogEntry {
        aliases: vec!["claude-sonnet-4-*".into(), "sonnet".into()],
        ..entry("claude-sonnet-4", 0.9)
    };
    Catalog::new([
        entry("Llama-3.1-8B-Instruct", 0.3),
        entry("Qwen3-Coder-480B-A35B-Instruct", 0.88),
        entry("Llama-3.1-70B-Instruct", 0.6),
        sonnet,
    ])
    .unwrap()
}

fn offered(names: &[&str]) -> Vec<OfferedModel> {
    names.iter().copied().map(OfferedModel::named).collect()
}

#[test]
fn catalog_finds_by_name_alias_variant_or_size() {
    let catalog = catalog();
    for (name, found) in [
        ("llama-3.1-8b-instruct", Some("Llama-3.1-8B-Instruct")),
        ("claude-sonnet-4-20250514", Some("claude-sonnet-4")),
        ("anthropic/sonnet", Some("claude-sonnet-4")),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", Some("Qwen3-Coder-480B-A35B-Instruct")),
        ("qwen3-coder:480b", Some("Qwen3-Coder-480B-A35B-Instruct")),
        ("qwen3-coder:35b", None),
        ("llama3.1:70b-instruct-q4_K_M", Some("Llama-3.1-70B-Instruct")),
        ("llama-3.1-nemotron-70b", Some("Llama-3.1-70B-Instruct")),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", Some("Llama-3.1-70B-Instruct")),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", Some("Llama-3.1-8B-Instruct")),
        ("llama3.1:8b-instruct-q4_K_M", Some("Llama-3.1-8B-Instruct")),
        ("qwen3-coder:480b-cloud", Some("Qwen3-Coder-480B-A35B-Instruct")),
        ("anthropic/claude-sonnet-4", Some("claude-sonnet-4")),
        ("anthropic/claude-sonnet-4.6", None),
        ("llama3:70b", None),
        ("somebody/unheard-of", None),
    ] {
        assert_eq!(catalog.find(name).map(|entry| entry.name.as_str()), found, "{name}");
    }
}

#[test]
fn configured_model_is_selected_when_offered() {
    let choice = negotiate(Some("unheard-of"), &offered(&["sonnet", "unheard-of"]), &catalog()).unwrap();
    assert_eq!((choice.model.as_str(), choice.basis), ("unheard-of", SelectionReason::Configured));
    assert_eq!((choice.score, choice.context_window), (None, None));
    let tagged = negotiate(Some("llama3.1"), &offered(&["x", "llama3.1:latest"]), &catalog()).unwrap();
    assert_eq!((tagged.model.as_str(), tagged.basis), ("llama3.1:latest", SelectionReason::Configured));
}

#[test]
fn best_known_model_is_selected_with_a_reason() {
    let offers = offered(&["llama3.1:8b", "qwen3-coder:480b-a35b", "other", "llama3.1:70b"]);
    let choice = negotiate(Some("gone"), &offers, &catalog()).unwrap();
    assert_eq!((choice.model.as_str(), choice.basis), ("qwen3-coder:480b-a35b", SelectionReason::Best));
    assert_eq!(
        choice.reason,
        "gone is not offered; Qwen3-Coder-480B-A35B-Instruct is the best known model of 4, score 0.88"
    );
    assert_eq!((choice.score, choice.gpu.as_deref()), (Some(0.88), Some("H100")));
    assert_eq!(choice.price_output_per_mtok, Some(4.0));
}

#[test]
fn first_chat_model_is_selected_when_none_is_known() {
    let choice = negotiate(None, &offered(&["text-embedding-3", "b", "a"]), &catalog()).unwrap();
    assert_eq!((choice.model.as_str(), choice.basis), ("b", SelectionReason::First));
    let only = negotiate(None, &offered(&["whisper-1"]), &Catalog::default()).unwrap();
    assert_eq!(only.model, "whisper-1");
    assert_eq!(negotiate(Some("m"), &[], &catalog()), None);
}

#[test]
fn provider_context_window_precedes_the_catalog() {
    let mut offers = offered(&["sonnet"]);
    assert_eq!(negotiate(None, &offers, &catalog()).unwrap().context_window, Some(131_072));
    offers[0].context_window = Some(8_192);
    assert_eq!(negotiate(None, &offers, &catalog()).unwrap().context_window, Some(8_192));
}

#[test]
fn later_catalog_entry_replaces_an_earlier_one() {
    let both = Catalog::new([entry("m", 0.1), entry("n", 0.5), entry("M", 0.9)]).unwrap();
    let names: Vec<(&str, f64)> = both.entries().map(|entry| (entry.name.as_str(), entry.score)).collect();
    assert_eq!(names, [("M", 0.9), ("n", 0.5)]);
}

#[test]
fn invalid_catalog_entries_are_refused() {
    for bad in [
        entry(" ", 0.5),
        entry("m", 1.5),
        entry("m", f64::NAN),
        CatalogEntry { price_input_per_mtok: Some(-1.0), ..entry("m", 0.5) },
        CatalogEntry { context_window: Some(0), ..entry("m", 0.5) },
    ] {
        assert!(Catalog::new([bad.clone()]).is_err(), "{bad:?}");
    }
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, text) in
        [("gpt-4o-*", "gpt-4o-2024-08-06"), ("*sonnet*", "claude-sonnet-4"), ("a*b*c", "a-b-b-c"), ("*", "")]
    {
        assert!(is_pattern_match(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("gpt-4o", "gpt-4o-mini"), ("a*b*c", "a-c"), ("sonnet*", "claude-sonnet")] {
        assert!(!is_pattern_match(pattern, text), "{pattern} {text}");
    }
}
