//! Rows of calls and what the breaker makes of them.

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

/// Makes one call that ends at once.
fn call(breaker: &mut Breaker, signal: CircuitSignal, ms: i64) -> Result<(), CircuitOpen> {
    let permit = breaker.admit(at(ms))?;
    breaker.report(permit, signal, at(ms), 0);
    Ok(())
}

#[test]
fn breaker_opens_as_the_table_says() {
    use CircuitSignal::{Failed as F, Neutral as N, NoConnection as C, Served as S};
    let table: &[(&str, &[CircuitSignal], CircuitState)] = &[
        ("nine failures are too few", &[F; 9], CircuitState::Closed),
        ("ten of ten", &[F; 10], CircuitState::Open),
        ("half of ten", &[S, F, S, F, S, F, S, F, S, F], CircuitState::Open),
        ("four of ten", &[S, F, S, F, S, F, S, F, S, S], CircuitState::Closed),
        ("three without a connection", &[C, C, C], CircuitState::Open),
        ("two, and one that was served", &[C, C, S, C, C], CircuitState::Closed),
        ("two, and one that failed otherwise", &[C, C, F, C, C], CircuitState::Closed),
        ("what says nothing does not break the row", &[C, C, N, C], CircuitState::Open),
        ("what says nothing counts nowhere", &[N, N, N, N, N, N, N, N, N, N, N, N], CircuitState::Closed),
    ];
    for (name, ends, wanted) in table {
        let mut breaker = Breaker::default();
        for (ms, signal) in (0..).zip(*ends) {
            call(&mut breaker, *signal, ms * 100).unwrap();
        }
        assert_eq!(breaker.state(), *wanted, "{name}");
    }
}

#[test]
fn failures_outside_the_window_are_not_counted() {
    let mut breaker = Breaker::default();
    for second in 0..9 {
        call(&mut breaker, CircuitSignal::Failed, second * 1_000).unwrap();
    }
    call(&mut breaker, CircuitSignal::Failed, 38_500).unwrap();
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert!(breaker.seconds.len() <= 30);
}

#[test]
fn open_breaker_admits_one_probe_after_its_pause() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, 0).unwrap();
    }
    assert_eq!(breaker.admit(at(4_999)).unwrap_err(), CircuitOpen { until: at(5_000) });
    let probe = breaker.admit(at(5_000)).unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(breaker.admit(at(5_001)).is_err(), "one probe at a time");
    breaker.report(probe, CircuitSignal::Served, at(6_000), 0);
    assert_eq!(breaker.state(), CircuitState::Closed);
    call(&mut breaker, CircuitSignal::Failed, 6_001).unwrap();
    assert_eq!(breaker.state(), CircuitState::Closed, "it counts from the beginning");
}

#[test]
fn lost_probe_allows_another_one() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, 0).unwrap();
    }
    call(&mut breaker, CircuitSignal::Neutral, 5_000).unwrap();
    let _lost = breaker.admit(at(5_001)).unwrap();
    assert!(breaker.admit(at(300_000)).is_err());
    call(&mut breaker, CircuitSignal::Served, 305_001).unwrap();
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn breaker_pause_doubles_to_a_minute_and_resets() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, 0).unwrap();
    }
    let mut now = 0;
    for pause in [5, 10, 20, 40, 60, 60] {
        let until = at(now).plus(Duration::from_secs(pause));
        assert_eq!(breaker.admit(at(now)).unwrap_err().until, until, "{pause}");
        now = until.as_millis() - 1_000_000;
        call(&mut breaker, CircuitSignal::Failed, now).unwrap();
    }
    call(&mut breaker, CircuitSignal::Served, now + 60_000).unwrap();
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, now + 60_000).unwrap();
    }
    assert_eq!(breaker.admit(at(now + 60_000)).unwrap_err().until, at(now + 65_000));
}

#[test]
fn jitter_shortens_a_pause_by_at_most_a_tenth() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        let permit = breaker.admit(at(0)).unwrap();
        breaker.report(permit, CircuitSignal::NoConnection, at(0), u64::MAX);
    }
    assert_eq!(breaker.admit(at(0)).unwrap_err().until, at(4_500));
}

#[test]
fn call_of_an_earlier_state_is_ignored() {
    let mut breaker = Breaker::default();
    let (slow, slower) = (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, 1).unwrap();
    }
    breaker.report(slow, CircuitSignal::Served, at(2), 0);
    assert_eq!(breaker.state(), CircuitState::Open);
    let probe = breaker.admit(at(6_000)).unwrap();
    breaker.report(slower, CircuitSignal::Failed, at(6_001), 0);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.report(probe, CircuitSignal::Served, at(6_002), 0);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn clock_set_back_does_not_extend_the_pause() {
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        call(&mut breaker, CircuitSignal::NoConnection, 900_000).unwrap();
    }
    assert!(breaker.admit(at(0)).is_err());
    assert!(breaker.admit(at(5_000)).is_ok());
}

#[test]
fn call_outcome_maps_to_circuit_signal() {
    let failed = |kind| CircuitSignal::from(&CallOutcome::Failed { kind, error: String::new() });
    assert_eq!(CircuitSignal::from(&CallOutcome::Answered), CircuitSignal::Served);
    assert_eq!(failed(ErrorKind::Unreachable), CircuitSignal::NoConnection);
    for kind in [ErrorKind::Overloaded, ErrorKind::TimedOut, ErrorKind::Broken] {
        assert_eq!(failed(kind), CircuitSignal::Failed);
    }
    for kind in [ErrorKind::Auth, ErrorKind::RateLimited, ErrorKind::Cancelled, ErrorKind::Refused] {
        assert_eq!(failed(kind), CircuitSignal::Neutral);
    }
}
