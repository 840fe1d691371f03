//! The machine of a decision: its answers, its deadline, what it is about.

use super::*;
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::{apply_all, created_event, event, replay};
use crate::kernel::state_machine::tests::check_exhaustively;

pub fn decision(purpose: Purpose, options: &[&str]) -> Decision {
    Decision {
        id: DecisionId::from_trusted("dec-1"),
        project_id: ProjectId::from_trusted("p"),
        bead_id: Some(BeadId::from_trusted("bd-1")),
        purpose,
        question: "Which?".into(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        recommendation: None,
        requester_id: None,
        decider_id: None,
        decision: None,
        rationale: None,
        priority: 2,
        status: Status::Pending,
        deadline: Some(Timestamp::from_millis(100)),
        on_timeout: OnTimeout::Expire,
        escalated_at: None,
        reminded: 0,
        subject_digest: None,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        decided_at: None,
        revision: 1,
    }
}

pub fn answer(text: &str) -> Command {
    Command::Resolve {
        decision: text.into(),
        rationale: None,
        decider_id: "ann".into(),
        context: AnswerContext::default(),
    }
}

const EXPIRE: Command = Command::Expire { subject: None };

#[test]
fn transitions_every_pair_is_listed_or_refused() {
    check_exhaustively(Status::ALL, Trigger::ALL);
}

#[test]
fn answer_must_be_an_option_and_is_final() {
    let asked = decision(Purpose::Question, &["red", "blue"]);
    let now = Timestamp::from_millis(5);
    assert!(matches!(asked.decide(&answer("green"), now), Err(Refusal::Invalid(_))));
    let happenings = asked.decide(&answer("red"), now).unwrap();
    let ended = apply_all(&asked, &happenings, now);
    assert_eq!((ended.status, ended.decision.as_deref()), (Status::Resolved, Some("red")));
    assert!(matches!(ended.decide(&answer("blue"), now), Err(Refusal::Transition { .. })));
    let mut log = vec![(Decision::CREATED, created_event(&asked).data, now)];
    log.extend(happenings.iter().map(|h| (event(&ended, h).kind, event(&ended, h).data, now)));
    assert_eq!(replay(log.iter().map(|(k, d, t)| (*k, d, *t))), Some(ended));
}

#[test]
fn decision_expires_at_its_deadline_and_not_before() {
    let asked = decision(Purpose::Question, &[]);
    assert!(asked.decide(&EXPIRE, Timestamp::from_millis(99)).is_err());
    assert!(asked.decide(&EXPIRE, Timestamp::from_millis(100)).is_ok());
    let never = Decision { deadline: None, ..asked };
    assert!(never.decide(&EXPIRE, Timestamp::from_millis(i64::MAX)).is_err());
}

#[test]
fn answer_for_a_changed_subject_is_stale() {
    let asked = Decision { subject_digest: Some("old".into()), ..decision(Purpose::Question, &[]) };
    let now = Timestamp::from_millis(5);
    let give = |at_present: Option<&str>, seen: Option<&str>| {
        let context = AnswerContext { now: at_present.map(str::to_owned), seen: seen.map(str::to_owned) };
        let command =
            Command::Resolve { decision: "y".into(), rationale: None, decider_id: "ann".into(), context };
        asked.decide(&command, now).map(|happenings| apply_all(&asked, &happenings, now))
    };
    assert!(give(Some("old"), None).is_ok());
    for (at_present, seen) in
        [(Some("new"), None), (Some("new"), Some("old")), (Some("old"), Some("new")), (None, None)]
    {
        let refused = give(at_present, seen);
        assert!(
            matches!(refused, Err(Refusal::Conflict { code: ProblemCode::Stale, .. })),
            "{at_present:?} {seen:?}"
        );
    }
    assert_eq!(give(Some("new"), Some("new")).unwrap().subject_digest.as_deref(), Some("new"));
}

#[test]
fn deadline_without_effect_is_refused() {
    let mut asked = decision(Purpose::Question, &["red"]);
    assert!(check(&asked).is_ok());
    asked.on_timeout = OnTimeout::Choose("blue".into());
    assert!(check(&asked).is_err());
    asked.on_timeout = OnTimeout::Choose("red".into());
    assert!(check(&asked).is_ok());
    assert!(check(&Decision { deadline: None, ..asked.clone() }).is_err());
    assert!(check(&Decision { deadline: Some(Timestamp::from_millis(0)), ..asked }).is_err());
}

#[test]
fn blank_question_and_equal_options_are_refused() {
    let asked = decision(Purpose::Question, &["red", "blue"]);
    assert!(check(&asked).is_ok());
    let blank = Decision { question: " \n\t".into(), ..asked.clone() };
    let equal = Decision { options: vec!["a".into(), "a ".into()], ..asked.clone() };
    let empty = Decision { options: vec!["a".into(), "  ".into()], ..asked };
    for wrong in [blank, equal, empty] {
        assert!(matches!(check(&wrong), Err(Refusal::Invalid(_))), "{wrong:?}");
    }
}
