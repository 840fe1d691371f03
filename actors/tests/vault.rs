//! The order of the vault's two commits: what is used or deleted is told first; a new value is a draft until it is told,
//! and a cut at any step is made good by the next unlock. A key goes to its hosts alone.

use crate::stage::{KEY, ParseId, Stage, me};
use arbiter_actors::{Cascade, Error, Handles};
use arbiter_core::kernel::event::{EventFilter, NewEvent, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::edit::{Enabled, NewProvider, ProviderPatch};
use arbiter_core::provider::{ProviderType, Status};
use arbiter_store::{Change, EventRange, Unit, Write};
use arbiter_testkit::Script;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// The entries of the key file, as they are stored.
fn stored(stage: &Stage) -> Value {
    let file: Value = serde_json::from_slice(&key_file(stage)).unwrap();
    file["keys"].clone()
}

fn key_file(stage: &Stage) -> Vec<u8> {
    std::fs::read(stage.home.path().join("data/keys.json")).unwrap()
}

async fn told(stage: &Stage, kind: EventType) -> usize {
    let counts = stage.h().store.event_counts(None, None).await.unwrap();
    counts
        .iter()
        .filter(|count| count.kind == kind.as_str())
        .map(|count| usize::try_from(count.count).unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_commit_releases_replaces_and_deletes_no_key() {
    let stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let id = "scripted".parse_id();
    let key = h.providers.key(&me(), &id).await.unwrap().unwrap();
    assert_eq!(key.expose_secret(), KEY);
    let spare = entry("spare");
    h.vault.store(&me(), spare, secret("sk-spare")).await.unwrap();
    let before = stored(&stage);

    h.store.close();
    let other = arbiter_actors::Caller::named("bob");
    assert!(matches!(h.providers.key(&other, &id).await, Err(Error::Store(_))));
    let spare = KeyId::from_trusted("spare");
    assert!(matches!(h.vault.replace(&me(), &spare, secret("new"), None).await, Err(Error::Store(_))));
    assert!(matches!(h.vault.delete(&me(), &spare).await, Err(Error::Store(_))));
    let changed = h.vault.change_password(&me(), secret("password"), secret("other password"), None).await;
    assert!(matches!(changed, Err(Error::Store(_))));
    let exported = h.vault.export(&me(), secret("password"), None, None).await;
    assert!(matches!(exported, Err(Error::Store(_))));
    assert_eq!(stored(&stage), before);

    // A new key is a draft until its row is committed.
    let mut new = NewProvider::named("New", ProviderType::Custom, "http://127.0.0.1:1");
    new.id = Some("new".into());
    assert!(matches!(h.providers.register(&me(), new, Some(secret("sk-new"))).await, Err(Error::Store(_))));
    assert!(h.vault.entries().iter().all(|entry| entry.id.as_str() != "key_new"));
}

fn entry(id: &str) -> arbiter_vault::NewEntry {
    arbiter_vault::NewEntry {
        id: KeyId::from_trusted(id),
        name: id.to_owned(),
        description: String::new(),
        purpose: "provider".to_owned(),
        allowed_hosts: vec![],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_for_another_host_is_refused_and_no_use_logged() {
    let stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h();
    let (id, key) = ("scripted".parse_id(), KeyId::from_trusted("key_scripted"));
    let hosts = Some(vec!["api.example.com".to_owned()]);
    h.vault.replace(&me(), &key, secret(KEY), hosts).await.unwrap();
    let used = told(&stage, EventType::KeyUsed).await;
    let refused = h.providers.key(&me(), &id).await;
    let Err(Error::Refused(Refusal::Conflict { code, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(code, ProblemCode::KeyNotForHost);
    assert_eq!(told(&stage, EventType::KeyUsed).await, used);
    let heartbeat = h.providers.heartbeat(&id).await.unwrap();
    assert!(heartbeat.last_heartbeat_error.unwrap().contains("bound to other hosts"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unwritable_key_replacement_changes_nothing() {
    let stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h();
    // Another program changed the file: the vault does not overwrite unread contents.
    let path = stage.home.path().join("data/keys.json");
    let mut meddled = key_file(&stage);
    meddled.push(b'\n');
    std::fs::write(&path, &meddled).unwrap();
    let replaced = h.vault.replace(&me(), &KeyId::from_trusted("key_scripted"), secret("new"), None).await;
    assert!(matches!(replaced, Err(Error::Vault(_))));
    assert_eq!(told(&stage, EventType::KeyUpdated).await, 0);
    assert_eq!(key_file(&stage), meddled);
    let stored = h.vault.store(&me(), entry("spare"), secret("sk")).await;
    assert!(matches!(stored, Err(Error::Vault(_))));
    assert_eq!(told(&stage, EventType::KeyStored).await, 1, "only that of the provider");
}

/// Restarts and unlocks after a cut.
async fn restarted(stage: &mut Stage) -> Handles {
    stage.stop().await;
    stage.start().await;
    stage.h().vault.unlock(&me(), secret("password")).await.unwrap();
    let file = String::from_utf8(key_file(stage)).unwrap();
    assert!(!file.contains("draft:"), "a draft stays");
    stage.h().clone()
}

/// The data of the newest unlock.
async fn unlocked(h: &Handles) -> Value {
    let types = TypePattern::parse_list("vault.unlocked").unwrap();
    let filter = EventFilter { types, ..EventFilter::default() };
    let range = EventRange { filter, limit: 100, ..EventRange::default() };
    h.store.events(range).await.unwrap().events.pop().unwrap().data
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_change_of_provider_and_key_is_whole_or_nothing() {
    for (step, is_changed) in [("drafted", false), ("told", true)] {
        let mut stage = Stage::new().await;
        let provider = stage.setup(Script::default(), &[]).await;
        let h = stage.h().clone();
        let id = "scripted".parse_id();
        h.fault_injection().panic("vault", step, 1);
        let moved = provider.url().replace("127.0.0.1", "localhost");
        let patch = ProviderPatch { endpoint: Some(moved.clone()), ..ProviderPatch::default() };
        let cut = h.providers.update(&me(), &id, patch, Some(Enabled::No), Some(secret("sk-new"))).await;
        assert!(matches!(cut, Err(Error::Crashed { .. })), "{cut:?}");
        let h = restarted(&mut stage).await;
        let row = h.store.provider("scripted".into()).await.unwrap().unwrap();
        assert_eq!(row.endpoint == moved, is_changed, "{step}");
        assert_eq!(row.status == Status::Disabled, is_changed, "{step}");
        let key = h.providers.key(&me(), &id).await.unwrap().unwrap();
        assert_eq!(key.expose_secret(), if is_changed { "sk-new" } else { KEY }, "{step}");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_registration_and_deletion_leave_no_key_behind() {
    let mut stage = Stage::new().await;
    let provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let id = "scripted".parse_id();
    let new = |id: &str| NewProvider {
        id: Some(id.to_owned()),
        ..NewProvider::named("New", ProviderType::Custom, provider.url())
    };
    h.fault_injection().panic("vault", "drafted", 1);
    assert!(h.providers.register(&me(), new("new"), Some(secret("sk-new"))).await.is_err());
    // Without a restart the next change ends the draft, and the id is free.
    h.providers.register(&me(), new("new"), Some(secret("sk-new"))).await.unwrap();
    h.fault_injection().panic("vault", "deleted", 1);
    assert!(h.projects.delete_provider(&me(), &"new".parse_id(), Cascade::No).await.is_err());
    h.providers.register(&me(), new("new"), Some(secret("sk-again"))).await.unwrap();
    let key = h.providers.key(&me(), &"new".parse_id()).await.unwrap().unwrap();
    assert_eq!(key.expose_secret(), "sk-again");

    h.fault_injection().panic("vault", "deleted", 1);
    assert!(h.projects.delete_provider(&me(), &id, Cascade::No).await.is_err());
    let h = restarted(&mut stage).await;
    assert!(h.store.provider("scripted".into()).await.unwrap().is_none());
    let ids: Vec<String> = h.vault.entries().iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(ids, ["key_new"]);
    assert_eq!(unlocked(&h).await["unfinished"][0]["type"], "key.deleted");
    h.providers.register(&me(), new("scripted"), Some(secret(KEY))).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_of_a_deleted_provider_is_ended_by_the_next_unlock() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    // As an earlier version left it: the row is gone, and its key is not.
    let row = h.store.provider("scripted".into()).await.unwrap().unwrap();
    let mut unit = Unit::new(row.updated_at, "ann", "providers");
    unit.emit(NewEvent::of(EventType::ProviderDeleted, "scripted", json!({})));
    unit.change(Change::Provider(Write::Delete { row }));
    h.store.commit(unit).await.unwrap();
    // A key that waits for its provider is no orphan.
    h.vault.store(&me(), entry("key_later"), secret("sk")).await.unwrap();
    let h = restarted(&mut stage).await;
    let ids: Vec<String> = h.vault.entries().iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(ids, ["key_later"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlock_names_a_password_change_that_never_happened() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    h.vault.store(&me(), entry("spare"), secret("sk")).await.unwrap();
    assert_eq!(unlocked(&h).await.get("unfinished"), None);
    h.fault_injection().panic("vault", "password", 1);
    assert!(
        h.vault.change_password(&me(), secret("password"), secret("other password"), None).await.is_err()
    );
    let h = restarted(&mut stage).await;
    assert_eq!(unlocked(&h).await["unfinished"][0]["type"], "vault.password_changed");
    // What is written from here on is of another generation.
    h.vault.replace(&me(), &KeyId::from_trusted("spare"), secret("new"), None).await.unwrap();
    let h = restarted(&mut stage).await;
    assert_eq!(unlocked(&h).await.get("unfinished"), None);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_change_of_provider_and_key_writes_nothing() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let id = "scripted".parse_id();
    let before = (h.store.provider("scripted".into()).await.unwrap().unwrap(), key_file(&stage));
    let (_, seq) = h.store.event_bounds().await.unwrap();
    let name = || ProviderPatch { name: Some("Other".into()), ..ProviderPatch::default() };
    let bad = ProviderPatch { endpoint: Some("ftp://nowhere".into()), ..name() };
    for (patch, switch) in [(name(), Some(Enabled::Yes)), (bad, Some(Enabled::No))] {
        let refused = h.providers.update(&me(), &id, patch, switch, Some(secret("sk-new"))).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    let after = h.store.provider("scripted".into()).await.unwrap().unwrap();
    assert_eq!(
        (after.name, after.endpoint, after.revision),
        (before.0.name, before.0.endpoint, before.0.revision)
    );
    assert_eq!(key_file(&stage), before.1);
    assert_eq!(h.store.event_bounds().await.unwrap().1, seq);
    stage.stop().await;
}
