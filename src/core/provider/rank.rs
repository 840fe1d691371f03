//! Ranking of providers for requests that name none: best quality first, fastest among equals.

use crate::provider::Provider;

/// Scores that differ by less count as the same quality.
const QUALITY_BAND: f64 = 0.05;

/// A usable provider with what is known of its speed.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub provider: &'a Provider,
    /// Latency of its answers in milliseconds, if known.
    pub latency_ms: Option<f64>,
}

/// The candidates, the best first. Quality counts first; within the band of the best, latency; then the id, so
/// that the order is the same every time.
pub fn ranked<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let top = candidates.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
    let mut ranked = candidates.to_vec();
    let latency = |candidate: &Candidate<'_>| candidate.latency_ms.unwrap_or(f64::INFINITY);
    // A candidate in the band of the best counts as the best.
    let quality = |candidate: &Candidate<'_>| {
        let score = score(candidate);
        if score > top - QUALITY_BAND { top } else { score }
    };
    ranked.sort_by(|one, other| {
        quality(other)
            .total_cmp(&quality(one))
            .then_with(|| latency(one).total_cmp(&latency(other)))
            .then_with(|| one.provider.id.as_str().cmp(other.provider.id.as_str()))
    });
    ranked
}

/// The best candidate, and why in a sentence.
pub fn best<'a>(candidates: &[Candidate<'a>]) -> Option<(&'a Provider, String)> {
    let chosen = ranked(candidates).into_iter().next()?;
    let model = chosen.provider.model().unwrap_or("its model");
    let speed = match chosen.latency_ms {
        Some(ms) => format!("{ms:.0} ms"),
        None => "no answer measured yet".to_owned(),
    };
    let why = format!(
        "{} with {model}: score {:.2}, {speed}; the best of {} usable",
        chosen.provider.id,
        score(&chosen),
        candidates.len()
    );
    Some((chosen.provider, why))
}

fn score(candidate: &Candidate<'_>) -> f64 {
    candidate.provider.model_score.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ids::ProviderId;
    use crate::kernel::time::Timestamp;
    use crate::provider::ProviderType;
    use crate::provider::edit::NewProvider;

    fn provider(id: &str, score: Option<f64>) -> Provider {
        let new = NewProvider::named(id, ProviderType::Custom, "http://127.0.0.1:1");
        let made = new.build(ProviderId::from_trusted(id), None, Timestamp::default()).unwrap();
        Provider { model_score: score, ..made }
    }

    fn chosen(of: &[(&str, Option<f64>, Option<f64>)]) -> Option<String> {
        let providers: Vec<Provider> = of.iter().map(|(id, score, _)| provider(id, *score)).collect();
        let candidates: Vec<Candidate<'_>> = providers
            .iter()
            .zip(of)
            .map(|(provider, (_, _, latency_ms))| Candidate { provider, latency_ms: *latency_ms })
            .collect();
        best(&candidates).map(|(provider, _)| provider.id.to_string())
    }

    #[test]
    fn rank_prefers_quality_then_latency() {
        assert_eq!(chosen(&[]), None);
        let better = [("quick", Some(0.5), Some(10.0)), ("good", Some(0.9), Some(900.0))];
        assert_eq!(chosen(&better).as_deref(), Some("good"));
        let alike = [("slow", Some(0.92), Some(900.0)), ("swift", Some(0.9), Some(90.0))];
        assert_eq!(chosen(&alike).as_deref(), Some("swift"));
        let unknown = [("b", None, None), ("a", None, None), ("c", None, Some(5_000.0))];
        assert_eq!(chosen(&unknown).as_deref(), Some("c"));
        assert_eq!(chosen(&unknown[..2]).as_deref(), Some("a"));
    }
}
