use super::cell::{ActorFailure, Behavior, BehaviorContext};
use super::clock::{ManualClock, SharedClock};
use super::fault_injection::FaultInjection;
use super::host::{Host, Kind, Limits};
use super::registry::{ActorThreads, Affinity, IdlePolicy, Registry, RegistryAccess};
use super::reply::{AskError, Reply};
use actix_rt::{Arbiter, System};
use arbiter_core::kernel::restart::RestartVerdict;
use arbiter_core::kernel::time::Timestamp;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CounterKind;

impl Display for CounterKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("counter")
    }
}

impl Kind for CounterKind {}

struct TestHost {
    clock: SharedClock,
    limits: Limits,
    threads: ActorThreads,
    faults: FaultInjection,
    failures: mpsc::Sender<ActorFailure<CounterKind>>,
    ends: mpsc::Sender<usize>,
    starts: AtomicUsize,
    is_stopping: AtomicBool,
    panic_in_report: AtomicBool,
    counters: Registry<Counter>,
}

impl Host for TestHost {
    type Kind = CounterKind;

    fn clock(&self) -> &SharedClock {
        &self.clock
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn threads(&self) -> &ActorThreads {
        &self.threads
    }

    fn timer_runtime(&self) -> &tokio::runtime::Handle {
        unreachable!("a counter sets no timer")
    }

    fn report(&self, failure: ActorFailure<CounterKind>) {
        assert!(!self.panic_in_report.swap(false, Ordering::AcqRel), "the report of a failure fails");
        self.failures.try_send(failure).unwrap();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn fault_injection(&self) -> &FaultInjection {
        &self.faults
    }
}

type Answer = Reply<Result<usize, AskError>>;

enum Command {
    Add(Answer),
    /// Adds one without an answer.
    Count,
    Panic(Answer),
    /// Says that it has begun, then waits until it may go on.
    Hold(oneshot::Sender<()>, oneshot::Receiver<()>, Answer),
}

struct Counter {
    context: BehaviorContext<Self>,
    count: usize,
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.context.shared.ends.try_send(self.count);
    }
}

impl Behavior for Counter {
    type Command = Command;
    type Host = TestHost;
    const KIND: CounterKind = CounterKind;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context, count: 0 }
    }

    async fn start(&mut self) {
        self.context.shared.starts.fetch_add(1, Ordering::AcqRel);
        self.context.pin.store(false, Ordering::Release);
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Add(answer) => {
                let work = async {
                    self.count += 1;
                    Ok(self.count)
                };
                answer.with(work).await;
            }
            Command::Count => self.count += 1,
            Command::Panic(answer) => {
                let _answer = answer;
                panic!("a fault of the counter");
            }
            Command::Hold(begun, go_on, answer) => {
                begun.send(()).unwrap();
                go_on.await.unwrap();
                answer.send(Ok(self.count));
            }
        }
    }
}

struct Stage {
    clock: ManualClock,
    host: Arc<TestHost>,
    failures: mpsc::Receiver<ActorFailure<CounterKind>>,
    ends: mpsc::Receiver<usize>,
}

impl Stage {
    fn new(mailbox: usize, restart_limit: usize) -> Self {
        let (failures, reported) = mpsc::channel(16);
        let (ends, ended) = mpsc::channel(16);
        let thread = Arbiter::current();
        let clock = ManualClock::at(Timestamp::from_millis(1000));
        let own_clock = clock.clone();
        let host = Arc::new_cyclic(|host| TestHost {
            clock: Arc::new(own_clock),
            limits: Limits { mailbox, restart_limit, restart_window: Duration::from_secs(3600) },
            threads: ActorThreads { root: thread.clone(), entities: Arc::from([thread]) },
            faults: FaultInjection::default(),
            failures,
            ends,
            starts: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            panic_in_report: AtomicBool::new(false),
            counters: Registry::new(host.clone(), Affinity::Entities, IdlePolicy::Retire),
        });
        Self { clock, host, failures: reported, ends: ended }
    }

    async fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<usize, AskError> {
        self.host.counters.ask("one", command).await
    }

    fn starts(&self) -> usize {
        self.host.starts.load(Ordering::Acquire)
    }
}

fn crashed() -> AskError {
    AskError::Crashed { actor: "counter one".to_owned() }
}

/// Runs a test on a thread of actors of its own.
fn run(test: impl Future<Output = ()>) {
    System::new().block_on(test);
}

#[test]
fn panic_is_answered_and_the_state_is_built_anew() {
    run(async {
        let mut stage = Stage::new(8, 5);
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
        assert_eq!(stage.ask(Command::Add).await, Ok(2));
        assert_eq!(stage.ask(Command::Panic).await, Err(crashed()));
        let failure = stage.failures.recv().await.unwrap();
        assert_eq!((failure.id.as_str(), failure.message.as_str()), ("one", "a fault of the counter"));
        assert_eq!(failure.verdict, RestartVerdict::Restart { after: Duration::ZERO });
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
        assert_eq!(stage.starts(), 2);
    });
}

#[test]
fn panic_keeps_the_messages_that_wait() {
    run(async {
        let stage = Stage::new(8, 5);
        let (panicked, added) = tokio::join!(stage.ask(Command::Panic), stage.ask(Command::Add));
        assert_eq!((panicked, added), (Err(crashed()), Ok(1)));
    });
}

#[test]
fn full_mailbox_gives_busy() {
    run(async {
        let stage = Stage::new(1, 5);
        let (begun, is_held) = oneshot::channel();
        let (go_on, released) = oneshot::channel();
        let held = stage.ask(|answer| Command::Hold(begun, released, answer));
        let refused = async {
            is_held.await.unwrap();
            let refused = stage.ask(Command::Add).await;
            go_on.send(()).unwrap();
            refused
        };
        let (held, refused) = tokio::join!(held, refused);
        assert_eq!(refused, Err(AskError::Busy { actor: "counter one".to_owned() }));
        assert_eq!(held, Ok(0));
    });
}

#[test]
fn wakeups_of_one_name_wait_once() {
    run(async {
        let stage = Stage::new(8, 5);
        let (begun, is_held) = oneshot::channel();
        let (go_on, released) = oneshot::channel();
        let held = stage.ask(|answer| Command::Hold(begun, released, answer));
        let woken = async {
            is_held.await.unwrap();
            for name in ["a", "a", "b", "a", "b"] {
                stage.host.counters.wake("one", name, Command::Count);
            }
            go_on.send(()).unwrap();
        };
        let (held, ()) = tokio::join!(held, woken);
        assert_eq!(held, Ok(0));
        assert_eq!(stage.ask(Command::Add).await, Ok(3), "two wake-ups and the question");
        stage.host.counters.wake("one", "a", Command::Count);
        assert_eq!(stage.ask(Command::Add).await, Ok(5), "a handled wake-up lets the next one be sent");
    });
}

#[test]
fn lost_wakeup_lets_the_next_one_be_sent() {
    run(async {
        let stage = Stage::new(8, 5);
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
        stage.host.faults.panic("counter", "one", 1);
        stage.host.counters.wake("one", "a", Command::Count);
        assert_eq!(stage.ask(Command::Add).await, Ok(1), "the panic took the wake-up");
        stage.host.counters.wake("one", "a", Command::Count);
        assert_eq!(stage.ask(Command::Add).await, Ok(3));
    });
}

#[test]
fn given_up_actor_returns_when_the_window_ends() {
    run(async {
        let mut stage = Stage::new(8, 1);
        for _ in 0..2 {
            assert_eq!(stage.ask(Command::Panic).await, Err(crashed()));
            stage.failures.recv().await.unwrap();
        }
        assert_eq!(stage.ask(Command::Add).await, Err(crashed()));
        stage.clock.advance(Duration::from_secs(3600));
        while stage.starts() < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
    });
}

#[test]
fn idle_actor_is_retired_without_a_failure() {
    run(async {
        let mut stage = Stage::new(8, 5);
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
        stage.host.counters.retire(1000);
        assert_eq!(stage.host.counters.living(), 1, "it was addressed at 1000");
        // The permit of the last question returns after its answer.
        while stage.host.counters.living() > 0 {
            stage.host.counters.retire(1001);
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.ends.recv().await, Some(1));
        assert!(stage.failures.try_recv().is_err());
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
        assert_eq!(stage.starts(), 2);
    });
}

#[test]
fn actor_over_its_restart_limit_handles_nothing() {
    run(async {
        let mut stage = Stage::new(8, 1);
        for _ in 0..2 {
            assert_eq!(stage.ask(Command::Panic).await, Err(crashed()));
        }
        let first = stage.failures.recv().await.unwrap().verdict;
        assert_eq!(first, RestartVerdict::Restart { after: Duration::ZERO });
        assert_eq!(stage.failures.recv().await.unwrap().verdict, RestartVerdict::GiveUp);
        assert_eq!(stage.ask(Command::Add).await, Err(crashed()));
        assert_eq!(stage.starts(), 2);
    });
}

#[test]
fn death_outside_the_guard_is_reported_and_mended() {
    run(async {
        let mut stage = Stage::new(8, 5);
        stage.host.panic_in_report.store(true, Ordering::Release);
        assert_eq!(stage.ask(Command::Panic).await, Err(crashed()));
        assert_eq!(stage.failures.recv().await.unwrap().message, "the actor died");
        stage.host.counters.restart_if_dead("one");
        assert_eq!(stage.ask(Command::Add).await, Ok(1));
    });
}

#[test]
fn question_to_a_stopping_host_is_refused() {
    run(async {
        let stage = Stage::new(8, 5);
        stage.host.is_stopping.store(true, Ordering::Release);
        assert_eq!(stage.ask(Command::Add).await, Err(AskError::ShuttingDown));
        assert_eq!(stage.host.counters.living(), 0);
    });
}
