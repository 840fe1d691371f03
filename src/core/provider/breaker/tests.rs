//! Rows of calls and what the breaker makes of them.

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

/// Makes one call that ends at once.
fn call(breaker: &mut Breaker, end: End, ms: i64) -> Result<(), Refused> {
    let pass = breaker.admit(at(ms))?;
    breaker.report(pass, end, at(ms), 0);
    Ok(())
}

#[test]
fn it_opens_as_the_table_says() {
    use End::{Failed as F, Neither as N, NoConnection as C, Served as S};
    let table: &[(&str, &[End], State)] = &[
        ("nine failures are too few", &[F; 9], State::Closed),
        ("ten of ten", &[F; 10], State::Open),
        ("half of ten", &[S, F, S, F, S, F, S, F, S, F], State::Open),
        ("four of ten", &[S, F, S, F, S, F, S, F, S, S], State::Closed),
        ("three without a connection", &[C, C, C], State::Open),
        ("two, and one that was served", &[C, C, S, C, C], State::Closed),
        ("two, and one that failed otherwise", &[C, C, F, C, C], State::Closed),
        ("what says nothing does not break the row", &[C, C, N, C], State::Open),
        ("what says nothing counts nowhere", &[N, N, N, N, N, N, N, N, N, N, N, N], State::Closed),
    ];
    for (name, ends, wanted) in table {
        let mut breaker = Breaker::default();
        for (ms, end) in (0..).zip(*ends) {
            call(&mut breaker, *end, ms * 100).unwrap();
        }
        assert_eq!(breaker.state(), *wanted, "{name}");
    }
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut breaker = Breaker::default();
    for second in 0..9 {
        call(&mut breaker, End::Failed, second * 1_000).unwrap();
    }
    call(&mut breaker, End::Failed, 38_500).unwrap();
    assert_eq!(breaker.state(), State::Closed);
    assert!(breaker.seconds.len() <= 30);
}

#[test]
fn open_it_refuses_until_its_pause_is_over_and_then_admits_one_probe() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, 0).unwrap();
    }
    assert_eq!(breaker.admit(at(4_999)).unwrap_err(), Refused { until: at(5_000) });
    let probe = breaker.admit(at(5_000)).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.admit(at(5_001)).is_err(), "one probe at a time");
    breaker.report(probe, End::Served, at(6_000), 0);
    assert_eq!(breaker.state(), State::Closed);
    call(&mut breaker, End::Failed, 6_001).unwrap();
    assert_eq!(breaker.state(), State::Closed, "it counts from the beginning");
}

#[test]
fn a_probe_whose_caller_left_makes_room_for_another() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, 0).unwrap();
    }
    call(&mut breaker, End::Neither, 5_000).unwrap();
    let _lost = breaker.admit(at(5_001)).unwrap();
    assert!(breaker.admit(at(300_000)).is_err());
    call(&mut breaker, End::Served, 305_001).unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn its_pause_doubles_up_to_a_minute_and_begins_anew_once_it_was_closed() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, 0).unwrap();
    }
    let mut now = 0;
    for pause in [5, 10, 20, 40, 60, 60] {
        let until = at(now).plus(Duration::from_secs(pause));
        assert_eq!(breaker.admit(at(now)).unwrap_err().until, until, "{pause}");
        now = until.as_millis() - 1_000_000;
        call(&mut breaker, End::Failed, now).unwrap();
    }
    call(&mut breaker, End::Served, now + 60_000).unwrap();
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, now + 60_000).unwrap();
    }
    assert_eq!(breaker.admit(at(now + 60_000)).unwrap_err().until, at(now + 65_000));
}

#[test]
fn jitter_shortens_a_pause_by_a_tenth_at_most() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        let pass = breaker.admit(at(0)).unwrap();
        breaker.report(pass, End::NoConnection, at(0), u64::MAX);
    }
    assert_eq!(breaker.admit(at(0)).unwrap_err().until, at(4_500));
}

#[test]
fn a_call_that_began_before_decides_nothing_afterwards() {
    let mut breaker = Breaker::default();
    let (slow, slower) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, 1).unwrap();
    }
    breaker.report(slow, End::Served, at(2), 0);
    assert_eq!(breaker.state(), State::Open);
    let probe = breaker.admit(at(6_000)).unwrap();
    breaker.report(slower, End::Failed, at(6_001), 0);
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.report(probe, End::Served, at(6_002), 0);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_it_open() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, End::NoConnection, 900_000).unwrap();
    }
    assert!(breaker.admit(at(0)).is_err());
    assert!(breaker.admit(at(5_000)).is_ok());
}

#[test]
fn outcomes_count_as_what_they_say_of_the_provider() {
    let failed = |kind| End::from(&CallOutcome::Failed { kind, error: String::new() });
    assert_eq!(End::from(&CallOutcome::Answered), End::Served);
    assert_eq!(failed(ErrorKind::Unreachable), End::NoConnection);
    for kind in [ErrorKind::Overloaded, ErrorKind::TimedOut, ErrorKind::Broken] {
        assert_eq!(failed(kind), End::Failed);
    }
    for kind in [ErrorKind::Auth, ErrorKind::RateLimited, ErrorKind::Cancelled, ErrorKind::Refused] {
        assert_eq!(failed(kind), End::Neither);
    }
}
