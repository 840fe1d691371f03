//! Tests of notices to a webhook receiver that hangs, fails or stays down: it delays no other work, is given up
//! after a day, and its state is visible without the secret.

use crate::stage::{Stage, manual_clock, me};
use arbiter_actors::{Clock, Notify, NotifySecret, Settings, SharedClock};
use arbiter_core::bead::Status;
use arbiter_core::decision::edit::{DecisionWait, NewDecision};
use arbiter_core::kernel::ids::DecisionId;
use arbiter_store::EventRange;
use arbiter_testkit::{ResponseMode, Script, WebhookReceiver};
use secrecy::SecretString;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span;

const SECRET: &str = "whsec_Canary-notice-77b1e0";
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(300);

/// A cast that tells this receiver.
pub async fn telling(receiver: &WebhookReceiver, clock: SharedClock) -> Stage {
    let secret = NotifySecret::Given(SecretString::from(SECRET));
    let notify = Some(Notify { url: receiver.url().to_owned(), secret });
    Stage::with(Settings { kdf_iterations: 100_000, notify, ..Settings::default() }, clock).await
}

/// About what it was told, as often as it was.
pub fn subjects(receiver: &WebhookReceiver) -> Vec<String> {
    receiver.received().iter().map(|event| event["subject"].as_str().unwrap().to_owned()).collect()
}

pub async fn ask(stage: &Stage) -> DecisionId {
    // Without a deadline there is no reminder, which would be another notice.
    let new = NewDecision { wait: DecisionWait::Never, ..NewDecision::question("p", "Which?") };
    stage.h().decisions.create(&me(), new).await.unwrap().id
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Everything that is logged in this process, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>, Arc<AtomicU64>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(String::new());
        attributes.record(&mut line);
        self.0.lock().unwrap().push_str(&line.0);
        span::Id::from_u64(self.1.fetch_add(1, Ordering::Relaxed) + 1)
    }
    fn record(&self, _: &span::Id, record: &span::Record<'_>) {
        let mut line = Line(String::new());
        record.record(&mut line);
        self.0.lock().unwrap().push_str(&line.0);
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let about = event.metadata();
        let mut line = Line(format!("{} {}", about.level(), about.target()));
        event.record(&mut line);
        self.0.lock().unwrap().push_str(&(line.0 + "\n"));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_receiver_delays_no_work_and_notices_expire_in_a_day() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let lines = |level: &str, text: &str| {
        let log = log.0.lock().unwrap();
        log.lines().filter(|line| line.starts_with(level) && line.contains(text)).count()
    };
    let clock = manual_clock();
    let receiver = WebhookReceiver::start(ResponseMode::Hang).await;
    let mut stage = telling(&receiver, Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    let h = stage.h().clone();
    let state = || h.notifier.state().unwrap();

    // While it lets us wait, everybody else goes on.
    let first = ask(&stage).await;
    until("it was not told", || subjects(&receiver) == [first.to_string()]).await;
    stage.bead("b", 2, &[]).await;
    stage.until("b", Status::Closed).await;
    let second = ask(&stage).await;
    h.decisions.decide(&me(), &second, "this".into(), None).await.unwrap();
    assert_eq!((subjects(&receiver).len(), state().failures), (1, 0), "it hangs all the time");
    let began = clock.now();
    receiver.set_mode(ResponseMode::Status(503));

    // Tried again after pauses that double up to five minutes, for a day.
    let mut failures = 0;
    while clock.now().since(began) <= Duration::from_secs(86_400) {
        failures += 1;
        until("it is not tried again", || state().failures == failures).await;
        let pause = state().next_try.unwrap().since(clock.now());
        let full = LONGEST.min(Duration::from_secs(1 << (failures - 1).min(20)));
        assert!(pause >= full / 2 && pause <= full, "{pause:?} after {failures} failures");
        if failures == 1 {
            let (_, last) = h.store.event_bounds().await.unwrap();
            assert!(
                h.notifier.wait_delivered(last).await.is_err(),
                "and a caller that asks makes no attempt of its own"
            );
        }
        assert_eq!(subjects(&receiver).len(), failures as usize, "one try, always of the first");
        clock.advance(pause);
    }
    assert!((288..=700).contains(&failures), "{failures} tries in a day");
    until("they are not given up", || state().given_up == 3).await;
    assert_eq!((state().taken, state().failures, state().next_try), (0, 0, None));
    assert!(subjects(&receiver).iter().all(|subject| *subject == first.as_str()));
    assert_eq!(lines("WARN", "never taken and is given up"), 3);
    assert_eq!(lines("WARN", "a notice did not arrive"), 1, "what stays wrong is said once");
    assert!(lines("DEBUG", "the receiver answered 503") > 100);

    // Later events are delivered as usual.
    receiver.set_mode(ResponseMode::Status(204));
    let third = ask(&stage).await;
    until("it is not told again", || state().taken == 1).await;
    assert_eq!(subjects(&receiver).last(), Some(&third.to_string()));
    let (_, last) = h.store.event_bounds().await.unwrap();
    h.notifier.wait_delivered(last).await.unwrap();

    let range = EventRange { after: Some(0), limit: 1000, ..EventRange::default() };
    let events = h.store.events(range).await.unwrap().events;
    let told = receiver.text();
    assert!(told.contains("webhook-signature: v1,"), "{told}");
    for shown in [told, serde_json::to_string(&events).unwrap(), log.0.lock().unwrap().clone()] {
        assert!(!shown.contains(SECRET) && !shown.contains("Canary"), "the secret shows itself");
    }
    stage.stop().await;
}
