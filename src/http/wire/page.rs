//! Pages of lists that are short enough to be held in memory.

use crate::http::wire::query::{QueryField, number, text};
use arbiter_store::{Page, PageRequest};

/// The query parameters of every list.
pub const PAGE: &[QueryField] = &[
    number("limit", "The most entries of one answer, 1 to 1000; 100 by default"),
    text("cursor", "Where the answer before ended; comes with its Link header"),
];

/// One page of `all`, in the order of their keys; the cursor is the key of the last entry before it.
pub fn paginate<T>(mut all: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Page<T> {
    all.sort_by_cached_key(&key);
    let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let mut rest = match &request.cursor {
        Some(cursor) => all.split_off(all.partition_point(|item| key(item) <= *cursor)),
        None => all,
    };
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let next = (rest.len() > limit).then(|| rest.get(limit.saturating_sub(1)).map(&key)).flatten();
    rest.truncate(limit);
    Page { items: rest, next, total, unreadable: vec![], bytes: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cursor: Option<&str>) -> Page<u32> {
        let request = PageRequest { limit: 2, cursor: cursor.map(str::to_owned) };
        paginate(vec![3, 1, 5, 2, 4], &request, |n| n.to_string())
    }

    #[test]
    fn pages_cover_the_list_without_gap_or_repeat() {
        let first = page(None);
        assert_eq!((first.items, first.next.as_deref(), first.total), (vec![1, 2], Some("2"), 5));
        let second = page(Some("2"));
        assert_eq!((second.items, second.next.as_deref()), (vec![3, 4], Some("4")));
        let last = page(Some("4"));
        assert_eq!((last.items, last.next), (vec![5], None));
        assert!(page(Some("9")).items.is_empty());
    }
}
