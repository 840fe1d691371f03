use super::*;
use crate::bead::edit::NewBead;
use crate::bead::readiness::BlockingRule;
use crate::kernel::record::{apply_all, created_event, event, replay};
use crate::kernel::state_machine::tests::check_exhaustively;
use proptest::prelude::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn bead(priority: u8) -> Bead {
    let new = NewBead {
        title: "Do it".into(),
        project_id: "p".into(),
        priority: Some(priority),
        ..NewBead::default()
    };
    new.build(BeadId::from_trusted("bd-1"), at(0)).unwrap().0
}

fn claim() -> Command {
    Command::Claim(Claimant::Agent(AgentId::from_trusted("a")))
}

#[test]
fn transitions_every_pair_is_listed_or_refused() {
    check_exhaustively(Status::ALL, Trigger::ALL);
}

#[test]
fn claim_sets_the_holder_and_emits_events() {
    let open = bead(2);
    let happenings = open.decide(&claim(), &ClaimContext::default(), at(9)).unwrap();
    let held = apply_all(&open, &happenings, at(9));
    assert_eq!((held.status, held.assigned_to.as_deref(), held.revision), (Status::InProgress, Some("a"), 2));
    assert_eq!(held.updated_at, at(9));
    let kinds: Vec<EventType> = happenings.iter().map(|h| event(&held, h).kind).collect();
    assert_eq!(kinds, [EventType::BeadStatusChange, EventType::BeadAssigned]);
}

#[test]
fn claim_of_unready_or_reserved_bead_is_refused() {
    let waiting = ClaimContext {
        waiting_on: vec![Blocker { id: BeadId::from_trusted("bd-0"), rule: BlockingRule::Blocks }],
        ..ClaimContext::default()
    };
    let undecided = ClaimContext { pending_decisions: vec!["dec-1".into()], ..ClaimContext::default() };
    let deferred = Bead { defer_until: Some(at(10)), ..bead(2) };
    let by_parent = ClaimContext { parent_until: Some(at(10)), ..ClaimContext::default() };
    let reserved = Bead { assigned_to: Some("b".into()), ..bead(2) };
    for (bead, claim_context) in [
        (bead(2), waiting),
        (bead(2), undecided),
        (deferred.clone(), ClaimContext::default()),
        (bead(2), by_parent.clone()),
        (reserved, ClaimContext::default()),
    ] {
        let refused = bead.decide(&claim(), &claim_context, at(9)).unwrap_err();
        assert!(matches!(refused, Refusal::Conflict { code: ProblemCode::NotReady, .. }), "{refused}");
    }
    assert!(deferred.decide(&claim(), &ClaimContext::default(), at(10)).is_ok());
    assert!(bead(2).decide(&claim(), &by_parent, at(10)).is_ok());
}

#[test]
fn critical_bead_needs_approval_before_agent_claim() {
    let critical = bead(0);
    let refused = critical.decide(&claim(), &ClaimContext::default(), at(1)).unwrap_err();
    assert!(matches!(refused, Refusal::Conflict { code: ProblemCode::NotApproved, .. }));
    let by_person = Command::Claim(Claimant::Person("ann".into()));
    assert!(critical.decide(&by_person, &ClaimContext::default(), at(1)).is_ok());
    let approval = critical.decide(&Command::Approve, &ClaimContext::default(), at(1)).unwrap();
    let approved = apply_all(&critical, &approval, at(1));
    assert!(approved.decide(&claim(), &ClaimContext::default(), at(1)).is_ok());
}

#[test]
fn raising_to_critical_resets_the_approval() {
    let approved = Bead { approval: Approval::Given, ..bead(2) };
    let wanted = Bead { priority: 0, ..approved.clone() };
    let happenings =
        approved.decide(&Command::Update(Box::new(wanted)), &ClaimContext::default(), at(1)).unwrap();
    assert_eq!(apply_all(&approved, &happenings, at(1)).approval, Approval::Missing);
}

#[test]
fn only_a_failed_attempt_is_counted() {
    let held = Bead { status: Status::InProgress, assigned_to: Some("a".into()), ..bead(2) };
    let release = |attempt| Command::Release { reason: "no route".into(), attempt };
    let failed = held
        .decide(&release(Attempt::Failed { retry_at: at(70), answer: None }), &ClaimContext::default(), at(9))
        .unwrap();
    let failed = apply_all(&held, &failed, at(9));
    assert_eq!((failed.attempts, failed.next_attempt_at, failed.assigned_to), (1, Some(at(70)), None));
    let spared = held.decide(&release(Attempt::NotCounted), &ClaimContext::default(), at(9)).unwrap();
    assert_eq!(apply_all(&held, &spared, at(9)).attempts, 0);
    let postponed = release(Attempt::Deferred { retry_at: at(70) });
    let postponed =
        apply_all(&held, &held.decide(&postponed, &ClaimContext::default(), at(9)).unwrap(), at(9));
    assert_eq!((postponed.attempts, postponed.next_attempt_at), (0, Some(at(70))));
    assert_eq!(postponed.last_error.as_deref(), Some("no route"));
}

#[test]
fn close_emits_bead_completed_once() {
    let open = bead(2);
    let close = Command::Close { reason: "done elsewhere".into() };
    let happenings = open.decide(&close, &ClaimContext::default(), at(3)).unwrap();
    let closed = apply_all(&open, &happenings, at(3));
    assert_eq!((closed.closed_at, closed.close_reason.as_deref()), (Some(at(3)), Some("done elsewhere")));
    let told = happenings.iter().filter(|h| event(&closed, h).kind == EventType::BeadCompleted).count();
    assert_eq!(told, 1);
    assert!(closed.decide(&close, &ClaimContext::default(), at(4)).is_err());
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        "[a-c]".prop_map(|id| Command::Claim(Claimant::Agent(AgentId::from_trusted(id)))),
        "[x-z]".prop_map(|name| Command::Claim(Claimant::Person(name))),
        Just(Command::Release { reason: "r".into(), attempt: Attempt::NotCounted }),
        (0..99i64).prop_map(|ms| Command::Release {
            reason: "r".into(),
            attempt: Attempt::Failed { retry_at: at(ms), answer: None }
        }),
        (0..99i64).prop_map(|ms| Command::Release {
            reason: "r".into(),
            attempt: Attempt::Deferred { retry_at: at(ms) }
        }),
        (0..99i64).prop_map(|ms| Command::ExpireLease { retry_at: at(ms) }),
        Just(Command::Block { reason: "b".into() }),
        Just(Command::Unblock { reason: "u".into() }),
        Just(Command::Complete { summary: "s".into() }),
        Just(Command::Close { reason: "c".into() }),
        Just(Command::Reopen),
        Just(Command::Redispatch { reason: None }),
        Just(Command::Approve),
        Just(Command::ResetAttempts),
    ]
}

proptest! {
    #[test]
    fn replay_of_any_history_yields_the_row(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut row = bead(1);
        let first = created_event(&row);
        let mut log = vec![(first.kind, first.data, row.created_at)];
        for (step, command) in commands.iter().enumerate() {
            let now = at(1 + i64::try_from(step).unwrap());
            let Ok(happenings) = row.decide(command, &ClaimContext::default(), now) else { continue };
            let next = apply_all(&row, &happenings, now);
            for happening in &happenings {
                let told = event(&next, happening);
                log.push((told.kind, told.data, now));
            }
            row = next;
        }
        let replayed: Option<Bead> = replay(log.iter().map(|(kind, data, at)| (*kind, data, *at)));
        prop_assert_eq!(replayed, Some(row));
    }
}
