//! The known key that an unknown one most likely meant.

/// The candidate with the fewest single-character edits between it and `wanted`.
///
/// A key whose section is missing or misspelt is compared by its last part too, so that `listen`
/// finds `http.listen`.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| {
        let whole = edits(wanted, candidate);
        let last = 1 + edits(last_part(wanted), last_part(candidate));
        (whole.min(last), whole)
    })
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Levenshtein distance, in characters.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_single_edits() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("same", "same"), 0);
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
