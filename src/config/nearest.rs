//! The known key that is most similar to an unknown one.

use strsim::levenshtein;

/// Returns the candidate with the fewest single-character edits between it and `wanted`.
///
/// A key whose section is missing or misspelt is compared by its last part too, so that `listen`
/// finds `http.listen`.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| {
        let whole = levenshtein(wanted, candidate);
        let last = 1 + levenshtein(last_part(wanted), last_part(candidate));
        (whole.min(last), whole)
    })
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_single_edits() {
        assert_eq!(levenshtein("", "abc"), 3);
        assert_eq!(levenshtein("kitten", "sitting"), 3);
        assert_eq!(levenshtein("same", "same"), 0);
    }

    #[test]
    fn misspelt_key_finds_the_nearest_one() {
        let known = ["http.listen", "http.max_streams", "log.level", "store.readers"];
        assert_eq!(nearest("http.lisen", known), Some("http.listen"));
        assert_eq!(nearest("htp.max_stream", known), Some("http.max_streams"));
        assert_eq!(nearest("listen", known), Some("http.listen"));
        assert_eq!(nearest("logging.level", known), Some("log.level"));
        assert_eq!(nearest("x", []), None);
    }
}
