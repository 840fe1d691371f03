//! Resolution of the model name in a gateway request.

/// The name that leaves the choice to Arbiter.
pub const AUTO: &str = "auto";

/// Target of a gateway request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelSelector<'a> {
    Best,
    /// One provider, for a model or, with [`AUTO`], for its own.
    FromProvider {
        provider: &'a str,
        /// The model; none: its own.
        model: Option<&'a str>,
    },
    Named(&'a str),
}

/// Reads `auto`, `PROVIDER/MODEL`, `PROVIDER/auto` or the plain name of a model. Names of models have slashes
/// too, so what is before the first one is a provider only if there is one of that id.
pub fn parse(name: &str, is_provider: impl Fn(&str) -> bool) -> ModelSelector<'_> {
    if name == AUTO {
        return ModelSelector::Best;
    }
    match name.split_once('/') {
        Some((provider, model)) if !model.is_empty() && is_provider(provider) => {
            ModelSelector::FromProvider { provider, model: Some(model).filter(|model| *model != AUTO) }
        }
        _ => ModelSelector::Named(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selector_parses_against_known_providers() {
        let of = |name| parse(name, |id| id == "local");
        assert_eq!(of("auto"), ModelSelector::Best);
        assert_eq!(of("local/auto"), ModelSelector::FromProvider { provider: "local", model: None });
        assert_eq!(
            of("local/org/m:7b"),
            ModelSelector::FromProvider { provider: "local", model: Some("org/m:7b") }
        );
        for plain in ["m", "org/m", "local", "local/", "/m", ""] {
            assert_eq!(of(plain), ModelSelector::Named(plain));
        }
    }
}
