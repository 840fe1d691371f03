//! A row that cannot be read stops no reader of the others, and no change of another field destroys it.

use crate::home::Home;
use crate::rows::{bead, unit, with_bead, with_project};
use arbiter_core::bead::Bead;
use arbiter_core::kernel::event::EventFilter;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::limits::UNREADABLE;
use arbiter_store::{BeadFilter, Change, EventRange, PageRequest, Store, StoreError, VerifyError, Write};

async fn store_with_beads(home: &Home, ids: &[&str]) -> Store {
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    for id in ids {
        store.commit(with_bead(&bead(id))).await.unwrap();
    }
    store
}

/// JSON that is nested deeper than a parser reads.
fn too_deep() -> String {
    format!("{}{}", r#"{"a":"#.repeat(200), "1".to_owned() + &"}".repeat(200))
}

#[tokio::test]
async fn unreadable_event_is_shown_in_its_place() {
    let home = Home::new();
    let store = store_with_beads(&home, &["b1", "b2"]).await;
    let last = store.event_bounds().await.unwrap().1;
    for (seq, column, value) in
        [(2, "data", too_deep()), (3, "type", "no.type".into()), (4, "timestamp", "x".into())]
    {
        let sql = format!("UPDATE events SET {column} = ?2 WHERE seq = ?1");
        assert_eq!(home.raw().execute(&sql, rusqlite::params![seq, value]).unwrap(), 1);
    }
    let page = store.events(EventRange { limit: 100, ..EventRange::default() }).await.unwrap();
    let seqs: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    for seq in [2, 3, 4] {
        let event = &page.events[seq - 1];
        assert!(event.data[UNREADABLE].is_string(), "{event:?}");
        assert_eq!(event.kind == EventType::LogUnreadable, seq != 2, "{event:?}");
    }
    let filter = EventFilter { subject: Some("b1".into()), ..EventFilter::default() };
    let about = store.events(EventRange { filter, limit: 100, ..EventRange::default() }).await.unwrap();
    assert!(!about.events.is_empty());
    assert!(matches!(store.verify_events().await, Err(VerifyError::Changed(2))));
}

#[tokio::test]
async fn deep_event_of_this_server_verifies() {
    let home = Home::new();
    let store = store_with_beads(&home, &[]).await;
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let mut told = unit();
    let event = arbiter_core::kernel::event::NewEvent::of(EventType::LogMessage, "x", deep);
    told.emit(event);
    store.commit(told).await.unwrap();
    assert_eq!(store.verify_events().await.unwrap().events, store.event_bounds().await.unwrap().1);
    let page = store.events(EventRange { limit: 100, ..EventRange::default() }).await.unwrap();
    assert!(page.events.last().unwrap().data[UNREADABLE].is_string());
}

#[tokio::test]
async fn unreadable_context_is_shown_and_kept() {
    let home = Home::new();
    let store = store_with_beads(&home, &["b1", "b2"]).await;
    let text = too_deep();
    home.raw().execute("UPDATE beads SET context = ?1 WHERE id = 'b1'", [&text]).unwrap();
    let page = PageRequest { limit: 10, cursor: None };
    let listed = store.beads(BeadFilter::default(), page).await.unwrap();
    assert_eq!((listed.items.len(), listed.unreadable.len()), (2, 0));
    let before = store.bead("b1".into()).await.unwrap().unwrap();
    assert!(before.context[UNREADABLE].is_string(), "{before:?}");
    let after = Bead { title: "Another".into(), revision: before.revision + 1, ..before.clone() };
    let mut change = unit();
    change.change(Change::Bead(Write::Update { row: after, expected: before.revision }));
    store.commit(change).await.unwrap();
    let stored: (String, String) = home
        .raw()
        .query_row("SELECT title, context FROM beads WHERE id = 'b1'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(stored, ("Another".to_owned(), text));
}

#[tokio::test]
async fn unreadable_bead_is_left_out_of_lists_and_reported() {
    let home = Home::new();
    let store = store_with_beads(&home, &["b1", "b2", "b3"]).await;
    home.raw().execute("UPDATE beads SET updated_at = 'soon' WHERE id = 'b2'", []).unwrap();
    let page = |cursor| PageRequest { limit: 2, cursor };
    let first = store.beads(BeadFilter::default(), page(None)).await.unwrap();
    assert_eq!((first.items.len(), first.unreadable.len(), first.total), (1, 1, 3));
    assert!(first.unreadable[0].key.ends_with("b2"), "{first:?}");
    let second = store.beads(BeadFilter::default(), page(first.next)).await.unwrap();
    assert_eq!((second.items[0].bead.id.as_str(), second.next), ("b3", None));
    let alone = store.bead("b2".into()).await;
    assert!(
        matches!(&alone, Err(StoreError::Unreadable { table: "beads", id, .. }) if id == "b2"),
        "{alone:?}"
    );
}

#[tokio::test]
async fn page_of_large_rows_ends_at_its_bytes() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    for number in 0..40 {
        let row = Bead { description: "x".repeat(262_144), ..bead(&format!("b{number:02}")) };
        store.commit(with_bead(&row)).await.unwrap();
    }
    let (mut cursor, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.beads(BeadFilter::default(), PageRequest { limit: 1000, cursor }).await.unwrap();
        assert!(page.items.len() < 20, "{}", page.items.len());
        seen.extend(page.items.into_iter().map(|detail| detail.bead.id.to_string()));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..40).map(|number| format!("b{number:02}")).collect::<Vec<_>>());
    assert!(pages > 2, "{pages}");
    let (mut after, mut events) = (0, 0);
    loop {
        let range = EventRange { after: Some(after), limit: 1000, ..EventRange::default() };
        let page = store.events(range).await.unwrap();
        assert!(page.events.len() < 60, "{}", page.events.len());
        let Some(last) = page.events.last() else { break };
        (after, events) = (last.seq, events + page.events.len());
    }
    assert_eq!(u64::try_from(events).unwrap(), store.event_bounds().await.unwrap().1);
}
