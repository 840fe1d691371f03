//! Reading: pages that neither lose nor repeat a row, and lists that show one moment.

use crate::home::Home;
use crate::rows::{agent, at, bead, unit, with_bead, with_project};
use arbiter_core::bead::Bead;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{AgentFilter, BeadFilter, BeadSort, Change, PageRequest, Store, StoreError, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn pages(store: &Store, sort: BeadSort, limit: u32) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let filter = BeadFilter { sort, ..BeadFilter::default() };
        let page = store.beads(filter, PageRequest { limit, cursor }).await.unwrap();
        assert_eq!(page.total, 30);
        assert!(page.items.len() <= usize::try_from(limit).unwrap());
        ids.extend(page.items.iter().map(|one| one.bead.id.to_string()));
        assert!(ids.len() <= 30, "rows come again: {ids:?}");
        cursor = page.next;
        if cursor.is_none() {
            return ids;
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_yield_every_row_once_in_order() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    let mut rows = Vec::new();
    for number in 0..30_u16 {
        // Imported ids may hold anything, the cursor's own separator included.
        let id = format!("b~{}~{}", number % 7, (number * 11) % 30);
        let row = Bead {
            priority: u8::try_from(number % 5).unwrap(),
            created_at: at(i64::from(number / 8)),
            ..bead(&id)
        };
        unit.create(&row, Change::Bead);
        rows.push(row);
    }
    store.commit(unit).await.unwrap();
    rows.sort_by_key(|row| (row.created_at, row.id.clone()));
    let by_age: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    rows.sort_by_key(|row| (row.priority, row.created_at, row.id.clone()));
    let by_urgency: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    for limit in [1, 2, 7, 29, 30, 31] {
        assert_eq!(pages(&store, BeadSort::Age, limit).await, by_age, "{limit}");
        assert_eq!(pages(&store, BeadSort::Urgency, limit).await, by_urgency, "{limit}");
    }
    let page = PageRequest { limit: 5, cursor: Some("x~2~y".into()) };
    let filter = BeadFilter { sort: BeadSort::Urgency, ..BeadFilter::default() };
    let refused = store.beads(filter, page).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::Invalid(_)))), "{refused:?}");
}

#[tokio::test]
async fn page_continues_after_its_last_row_was_deleted() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    for id in ["b1", "b2", "b3", "b4"] {
        unit.create(&bead(id), Change::Bead);
    }
    store.commit(unit).await.unwrap();
    let first = PageRequest { limit: 2, cursor: None };
    let cursor = store.beads(BeadFilter::default(), first).await.unwrap().next;
    let mut deleting = crate::rows::unit();
    deleting.change(Change::Bead(Write::Delete { row: bead("b2") }));
    store.commit(deleting).await.unwrap();
    let next = store.beads(BeadFilter::default(), PageRequest { limit: 2, cursor }).await.unwrap();
    let ids: Vec<&str> = next.items.iter().map(|one| one.bead.id.as_str()).collect();
    assert_eq!((ids, next.next), (vec!["b3", "b4"], None));
}

#[tokio::test]
async fn search_matches_prefixes_and_filters_are_anded() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    unit.create(&Bead { title: "100% done_".into(), tags: vec!["x".into()], ..bead("b1") }, Change::Bead);
    unit.create(&Bead { title: "1000 done!".into(), tags: vec!["x".into()], ..bead("b2") }, Change::Bead);
    unit.create(&Bead { title: "100% done_".into(), ..bead("b3") }, Change::Bead);
    store.commit(unit).await.unwrap();
    let found = async |filter: BeadFilter| {
        let page = store.beads(filter, PageRequest { limit: 9, cursor: None }).await.unwrap();
        page.items.iter().map(|one| one.bead.id.to_string()).collect::<Vec<_>>()
    };
    let text = |text: &str| BeadFilter { text: Some(text.into()), ..BeadFilter::default() };
    assert_eq!(found(text("100%")).await, ["b1", "b2", "b3"]);
    assert_eq!(found(text("1000")).await, ["b2"]);
    assert_eq!(found(text("DON 100 \"(OR")).await, Vec::<String>::new(), "all of the words");
    assert_eq!(found(text("DON 100")).await, ["b1", "b2", "b3"]);
    assert_eq!(found(text("%*")).await, Vec::<String>::new());
    assert_eq!(found(BeadFilter { tag: Some("x".into()), ..text("done_") }).await, ["b1", "b2"]);
    let mut retitle = crate::rows::unit();
    let row = store.bead("b3".into()).await.unwrap().unwrap();
    let renamed = Bead { title: "Ünïcode".into(), revision: 2, ..row };
    retitle.change(Change::Bead(Write::Update { row: renamed.clone(), expected: 1 }));
    store.commit(retitle).await.unwrap();
    assert_eq!(
        (found(text("unico")).await, found(text("done")).await),
        (vec!["b3".to_owned()], vec!["b1".to_owned(), "b2".to_owned()])
    );
    let mut delete = crate::rows::unit();
    delete.change(Change::Bead(Write::Delete { row: renamed }));
    store.commit(delete).await.unwrap();
    assert_eq!(found(text("unico")).await, Vec::<String>::new());
    let mut untag = crate::rows::unit();
    let row = store.bead("b1".into()).await.unwrap().unwrap();
    untag.change(Change::Bead(Write::Update { row: Bead { tags: vec![], ..row }, expected: 1 }));
    store.commit(untag).await.unwrap();
    assert_eq!(found(BeadFilter { tag: Some("x".into()), ..BeadFilter::default() }).await, ["b2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn list_reads_one_snapshot_under_writes() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (store.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let page = PageRequest { limit: 100, cursor: None };
                let list = store.beads(BeadFilter::default(), page).await.unwrap();
                // Beads come and go by twos.
                assert_eq!((list.items.len() % 2, list.total % 2), (0, 0));
                assert_eq!(u64::try_from(list.items.len()).unwrap(), list.total);
                for one in list.items {
                    store.bead_detail(one.bead.id.to_string()).await.unwrap();
                }
            }
        })
    };
    for number in 0..150 {
        let (one, two) = (bead(&format!("b{number}")), bead(&format!("c{number}")));
        let mut unit = with_bead(&one);
        unit.create(&two, Change::Bead);
        store.commit(unit).await.unwrap();
        let mut unit = crate::rows::unit();
        unit.change(Change::Bead(Write::Delete { row: one }));
        unit.change(Change::Bead(Write::Delete { row: two }));
        store.commit(unit).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    reader.await.unwrap();
}

#[tokio::test]
async fn agent_floats_round_trip_exactly() {
    let home = Home::new();
    let store = home.open();
    let mut row = agent("a");
    row.config.temperature = Some(0.1 + 0.2);
    let mut unit = unit();
    unit.create(&row, Change::Agent);
    store.commit(unit).await.unwrap();
    let page = PageRequest { limit: 5, cursor: None };
    assert_eq!(store.agents(AgentFilter::default(), page).await.unwrap().items, [row]);
}
