//! Losses that no repeat can make good in time: parity does, within what is spare, and nowhere else.

#![allow(clippy::print_stdout, reason = "figures are printed")]

use std::time::Duration;

use strata_sim::scenario::Scenario;
use strata_sim::{MS, Net, Outcome, Sim};

/// A round trip of the far scenarios does not fit into this.
const LATENCY_MS: u32 = 300;

/// What was lost once the windows were open, in percent.
fn lost_percent(outcome: &Outcome) -> f64 {
    outcome.lost_steady as f64 * 100.0 / outcome.sent as f64
}

/// Runs a scenario without parity and with it; at least and, of all runs together, at most so much is lost, in percent:
/// a block that is beyond repair now and then takes several datagrams along.
fn compare(scenario: &Scenario, without: f64, with: f64, overhead_percent: f64) {
    let mut deaf = scenario.clone();
    deaf.nets.iter_mut().for_each(|net| net.no_parity = true);
    let mut all_left = 0.0;
    for seed in 1..=4 {
        let [before, after] = [&deaf, scenario].map(|scenario| scenario.run(seed, LATENCY_MS));
        let (lost, left, overhead) = (lost_percent(&before), lost_percent(&after), after.overhead_percent);
        println!("{} seed {seed}: lost {lost:.2} % -> {left:.3} %, overhead {overhead:.1} %", scenario.name);
        all_left += left / 4.0;
        assert!(lost >= without && overhead <= overhead_percent, "seed {seed}: {after:?}");
        assert_eq!((before.recovered_by_parity, after.late), (0, 0), "seed {seed}: {after:?}");
    }
    assert!(all_left <= with, "{all_left} %");
}

#[test]
fn two_percent_of_loss_over_round_trips_longer_than_the_latency_are_repaired_for_a_sixth_more() {
    // Five percent of overhead are headers.
    compare(&Scenario::far(), 1.6, 0.02, 24.0);
}

#[test]
fn bursts_are_repaired_nine_times_of_ten_for_half_more() {
    compare(&Scenario::far_bursts(), 0.6, 0.1, 62.0);
}

#[test]
fn where_repeats_are_in_time_there_is_not_one_packet_of_parity() {
    for scenario in Scenario::all() {
        let outcome = scenario.run(1, 500);
        assert_eq!(outcome.parity_packets, 0, "{}: {outcome:?}", scenario.name);
    }
}

#[test]
fn where_nothing_is_lost_there_is_none_after_the_start() {
    let mut sim = Sim::new(1, LATENCY_MS, &[Net::new(6000, 175, 0.0), Net::new(6000, 175, 0.0)]);
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    let before = sim.sender_stats().parity_packets;
    sim.stream(3_000_000, 1316, Duration::from_secs(8));
    assert_eq!(sim.sender_stats().parity_packets, before, "{}", sim.describe());
}

#[test]
fn links_that_are_nearly_full_get_little_parity_and_no_queue_of_it() {
    for seed in 0..3 {
        let mut sim = Sim::new(seed, LATENCY_MS, &[Net::new(1700, 175, 0.02), Net::new(1700, 175, 0.02)]);
        sim.stream(3_000_000, 1316, Duration::from_secs(30));
        let stats = sim.sender_stats();
        assert!(stats.parity_packets > 0 && stats.parity_packets < stats.datagrams_in / 12, "{}", sim.describe());
        assert_eq!(sim.total(|link| link.queue_drops), 0, "{}", sim.describe());
        sim.finish();
        sim.assert_payloads();
        let (lost, repaired) = (sim.receiver_stats().lost, sim.receiver_stats().recovered_by_parity);
        assert!(repaired > stats.datagrams_in / 100, "seed {seed}: {lost} lost, {repaired} repaired");
    }
}

#[test]
fn what_comes_back_by_parity_is_what_went_in_whatever_its_size() {
    let mut sim = Sim::new(5, LATENCY_MS, &[Net::new(6000, 175, 0.05).jitter(10), Net::new(6000, 160, 0.05)]);
    for bytes in (1..=1340).cycle().take(5000) {
        sim.push(bytes);
        sim.run_for(MS * 3);
    }
    sim.finish();
    sim.assert_payloads();
    let stats = sim.receiver_stats();
    assert!(stats.recovered_by_parity > 150 && stats.lost < 25, "{}", sim.describe());
    assert_eq!(stats.malformed_packets, 0);
}

#[test]
fn a_far_link_beside_a_near_one_is_protected_where_repeats_come_too_late() {
    let nets = [Net::new(3000, 25, 0.01).jitter(5), Net::new(6000, 180, 0.02).jitter(5)];
    for seed in 0..3 {
        let mut sim = Sim::new(seed, LATENCY_MS, &nets);
        sim.stream(4_000_000, 1316, Duration::from_secs(30));
        sim.finish();
        sim.assert_payloads();
        let (stats, pushed) = (sim.receiver_stats(), sim.pushed.len() as u64);
        assert!(stats.recovered_by_parity > 0 && stats.lost < pushed / 200, "seed {seed} {}", sim.describe());
    }
}
