//! Changes of personas that end between two of their steps: the log says what becomes of them.

use crate::notices::until;
use crate::stage::{Stage, me};
use arbiter_actors::{Caller, Cascade, Error, Handles};
use arbiter_core::agent::persona::Persona;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::EventRange;
use std::fs;

const NAME: &str = "team/lead";

fn persona(text: &str) -> Persona {
    Persona { name: NAME.into(), persona: text.into(), start_here: "Begin.".into() }
}

async fn text(stage: &Stage) -> Option<String> {
    match stage.h().personas.get(NAME).await {
        Ok(known) => Some(known.persona.persona),
        Err(Error::Refused(Refusal::NotFound { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Counts the recorded changes of personas.
async fn told(stage: &Stage) -> usize {
    let range = EventRange { after: Some(0), limit: 1000, ..EventRange::default() };
    let events = stage.h().store.events(range).await.unwrap().events;
    events.iter().filter(|event| event.kind.as_str().starts_with("persona.")).count()
}

/// Counts the directories beside the personas.
fn aside(stage: &Stage) -> usize {
    let names = fs::read_dir(stage.home.path().join("data/personas")).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')).count()
}

async fn restart(stage: &mut Stage) {
    stage.stop().await;
    stage.start().await;
}

/// A change that ends at this step, as a kill would end it.
async fn interrupt<T>(h: &Handles, step: &str, change: impl AsyncFnOnce() -> Result<T, Error>) {
    h.fault_injection().panic("persona", step, 1);
    let outcome = change().await;
    assert!(matches!(outcome, Err(Error::Crashed { .. })), "it was not cut off at {step}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_finishes_logged_persona_changes_discards_others() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    interrupt(&h, "drafted", async || h.personas.create(&me(), persona("# One")).await).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (None, 0, 1));
    restart(&mut stage).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (None, 0, 0));

    let h = stage.h().clone();
    interrupt(&h, "told", async || h.personas.create(&me(), persona("# One")).await).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (None, 1, 1));
    restart(&mut stage).await;
    let one = Some("# One".to_owned());
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (one.clone(), 1, 0));

    let h = stage.h().clone();
    interrupt(&h, "drafted", async || h.personas.replace(&me(), persona("# Two")).await).await;
    restart(&mut stage).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (one.clone(), 1, 0));
    let h = stage.h().clone();
    interrupt(&h, "told", async || h.personas.replace(&me(), persona("# Two")).await).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (one, 2, 1));
    restart(&mut stage).await;
    let two = Some("# Two".to_owned());
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (two.clone(), 2, 0));

    let h = stage.h().clone();
    interrupt(&h, "drafted", async || h.personas.delete(&me(), NAME, Cascade::No).await).await;
    restart(&mut stage).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (two.clone(), 2, 0));
    let h = stage.h().clone();
    interrupt(&h, "told", async || h.personas.delete(&me(), NAME, Cascade::No).await).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (two, 3, 1));
    restart(&mut stage).await;
    assert_eq!((text(&stage).await, told(&stage).await, aside(&stage)), (None, 3, 0));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_persona_change_completes_interrupted_and_dropped_ones() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    h.personas.create(&me(), persona("# One")).await.unwrap();
    interrupt(&h, "told", async || h.personas.replace(&me(), persona("# Two")).await).await;
    assert_eq!(text(&stage).await.unwrap(), "# One");
    // A caller with the first revision is refused, because the second was recorded.
    let one = h.personas.get(NAME).await.unwrap().revision();
    let late = Caller { if_match: Some(one), ..me() };
    let refused = h.personas.replace(&late, persona("# Three")).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Precondition { .. }))), "{refused:?}");
    assert_eq!((text(&stage).await.unwrap().as_str(), aside(&stage)), ("# Two", 0));

    {
        let caller = me();
        let change = h.personas.replace(&caller, persona("# Four"));
        let mut change = std::pin::pin!(change);
        assert!(futures_util::poll!(change.as_mut()).is_pending());
    }
    let four = || fs::read_to_string(stage.home.path().join("data/personas/team/lead/PERSONA.md")).unwrap();
    until("it was begun and never ended", || four() == "# Four" && aside(&stage) == 0).await;
    assert_eq!(told(&stage).await, 3);
    stage.stop().await;
}
