//! The order of the vault's two commits: what is used, replaced or deleted is told first, what is new is
//! written first; and a key goes to its hosts alone.

use crate::stage::{KEY, ParseId, Stage, me};
use arbiter_actors::Error;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::ProviderType;
use arbiter_core::provider::edit::NewProvider;
use arbiter_testkit::Script;
use secrecy::{ExposeSecret, SecretString};

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
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
    let before = key_file(&stage);

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
    assert_eq!(key_file(&stage), before);

    // A new key is written first; if the commit of its row is uncertain, the key stays and is reported.
    let mut new = NewProvider::named("New", ProviderType::Custom, "http://127.0.0.1:1");
    new.id = Some("new".into());
    assert!(matches!(h.providers.register(&me(), new, Some(secret("sk-new"))).await, Err(Error::Store(_))));
    assert_eq!(h.vault.orphans().await.unwrap(), ["key_new"]);
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
async fn unwritable_key_replacement_is_logged_and_changes_nothing() {
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
    assert_eq!(told(&stage, EventType::KeyUpdated).await, 1);
    assert_eq!(key_file(&stage), meddled);
    let stored = h.vault.store(&me(), entry("spare"), secret("sk")).await;
    assert!(matches!(stored, Err(Error::Vault(_))));
    assert_eq!(told(&stage, EventType::KeyStored).await, 1, "only that of the provider");
}
