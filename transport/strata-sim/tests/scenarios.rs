//! The bars of the bond, as far as simulated time can tell: losses, overhead, what goes into a dead link.
//!
//! The judge runs the same in real time (`./dev bench transport`), beside other transports; here a change that
//! misses a bar is seen in seconds, and replayed by its seed.

use strata_sim::Outcome;
use strata_sim::scenario::Scenario;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// QUIC's acknowledgements and pings, which the engine's simulation does not have, in percent of the payload.
const QUIC_PERCENT: f64 = 0.5;

fn each(name: &str, latency_ms: u32, check: impl Fn(u64, &Outcome)) {
    let scenario = Scenario::named(name).unwrap_or_else(|| panic!("there is no scenario {name}"));
    for seed in SEEDS {
        let outcome = scenario.run(seed, latency_ms);
        check(seed, &outcome);
    }
}

/// Nothing lost, nothing late, no more overhead than so many percent.
fn clean(name: &str, latency_ms: u32, overhead_percent: f64) {
    each(name, latency_ms, |seed, outcome| {
        assert_eq!((outcome.lost, outcome.late), (0, 0), "seed {seed}");
        assert!(outcome.overhead_percent + QUIC_PERCENT <= overhead_percent, "seed {seed}: {outcome:?}");
    });
}

#[test]
fn one_clean_link() {
    clean("S1", 500, 6.0);
}

#[test]
fn one_link_with_two_percent_of_loss() {
    clean("S2", 500, 8.5);
    clean("S2", 250, 8.5);
}

#[test]
fn three_links_at_two_thirds_and_five_sixths_of_what_they_carry() {
    clean("S3", 500, 8.0);
    clean("S3+", 500, 8.0);
}

#[test]
fn three_links_with_a_quarter_of_a_second() {
    each("S3", 250, |seed, outcome| assert_eq!((outcome.lost, outcome.late), (0, 0), "seed {seed}"));
}

#[test]
fn a_blackout_of_ten_seconds() {
    for (latency_ms, overhead_percent) in [(500, 9.0), (1000, 9.0)] {
        clean("S4", latency_ms, overhead_percent);
        // The judge's bar is 60, acknowledgements and pings of QUIC included.
        each("S4", latency_ms, |seed, outcome| {
            assert!(outcome.swallowed[0] <= 60, "seed {seed}: {:?}", outcome.swallowed)
        });
    }
}

#[test]
fn bursts_of_loss() {
    clean("S5", 500, 13.0);
    each("S5", 250, |seed, outcome| assert!(outcome.bad_percent() <= 0.02, "seed {seed}: {outcome:?}"));
}

#[test]
fn unequal_links() {
    clean("S8", 500, 8.0);
}

#[test]
fn links_that_change_places() {
    each("S9", 500, |seed, outcome| {
        assert!(outcome.bad_percent() <= 0.02, "seed {seed}: {outcome:?}");
        assert!(outcome.overhead_percent + QUIC_PERCENT <= 9.0, "seed {seed}: {outcome:?}");
    });
}

#[test]
fn a_source_that_follows_fading_links() {
    each("fading", 1000, |seed, outcome| {
        assert!(outcome.bad_percent() <= 0.1, "seed {seed}: {outcome:?}");
        assert!(outcome.used_percent.is_some_and(|used| used >= 60.0), "seed {seed}: {outcome:?}");
    });
}
