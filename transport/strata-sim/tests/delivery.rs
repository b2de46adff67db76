//! Stories of a stream over bad links: every datagram comes out once, in order, on time.

use std::time::Duration;

use strata_bond::LinkState;
use strata_sim::{MS, Net, Sim};

/// Three links of 3 Mbit/s with the delays, jitter and loss of three carriers.
fn three_carriers() -> [Net; 3] {
    [Net::new(3000, 20, 0.005).jitter(5), Net::new(3000, 45, 0.01).jitter(10), Net::new(3000, 80, 0.02).jitter(20)]
}

#[test]
fn one_clean_link_delivers_everything_at_latency_plus_path() {
    let mut sim = Sim::new(1, 500, &[Net::new(20_000, 20, 0.0)]);
    sim.stream(6_000_000, 1316, Duration::from_secs(10));
    sim.finish();
    sim.assert_all_delivered();
    let (least, most) = (sim.delays().min().unwrap(), sim.delays().max().unwrap());
    assert!(least >= MS * 520 && most <= MS * 525, "{least:?} {most:?}");
    assert_eq!(sim.sender_stats().retransmitted_packets, 0);
}

#[test]
fn random_loss_on_one_link_is_repaired() {
    for seed in 0..5 {
        let mut sim = Sim::new(seed, 500, &[Net::new(20_000, 30, 0.02)]);
        sim.stream(6_000_000, 1316, Duration::from_secs(10));
        sim.finish();
        sim.assert_all_delivered();
        let stats = sim.sender_stats();
        assert!(stats.retransmitted_packets < stats.datagrams_in * 4 / 100, "{}", sim.describe());
    }
}

#[test]
fn three_links_carry_together_what_none_could_alone() {
    for seed in 0..5 {
        let mut sim = Sim::new(seed, 500, &three_carriers());
        sim.stream(6_000_000, 1316, Duration::from_secs(20));
        sim.finish();
        sim.assert_all_delivered();
        let stats = sim.sender_stats();
        assert!(stats.retransmitted_packets < stats.datagrams_in * 4 / 100, "{}", sim.describe());
    }
}

#[test]
fn a_link_that_goes_dark_costs_nothing_and_comes_back() {
    for seed in 0..20 {
        // Round trips of up to 150 ms, jitter included.
        let mut nets = three_carriers();
        nets[2] = Net::new(3000, 65, 0.02).jitter(5);
        let mut sim = Sim::new(seed, 500, &nets);
        sim.stream(4_000_000, 1316, Duration::from_secs(5));
        sim.nets[0].dark = true;
        sim.stream(4_000_000, 1316, Duration::from_millis(1000));
        assert_eq!(sim.sender.link_state(0), Some(LinkState::Dead));
        sim.stream(4_000_000, 1316, Duration::from_secs(9));
        let swallowed = sim.counted(0).swallowed;
        sim.nets[0].dark = false;
        sim.stream(4_000_000, 1316, Duration::from_millis(1000));
        assert_eq!(sim.sender.link_state(0), Some(LinkState::Up));
        sim.stream(4_000_000, 1316, Duration::from_secs(1));
        let before = sim.counted(0).packets;
        sim.stream(4_000_000, 1316, Duration::from_secs(1));
        let share = sim.counted(0).packets - before;
        assert!(share > 100, "full share within two seconds, not {share} packets a second");
        sim.finish();
        sim.assert_all_delivered();
        assert!(swallowed < 110, "{swallowed}");
    }
}

#[test]
fn a_link_that_idled_takes_over_what_another_drops() {
    for seed in 0..5 {
        // The third link carries nothing but pings for ten seconds: its jitter must not read as a queue.
        let mut sim = Sim::new(seed, 1000, &three_carriers());
        sim.stream(3_500_000, 1316, Duration::from_secs(10));
        sim.nets[0].dark = true;
        sim.stream(3_500_000, 1316, Duration::from_secs(5));
        let stats = sim.sender_stats();
        assert_eq!(stats.unsent_datagrams, 0, "seed {seed} {}", sim.describe());
        assert!(stats.queue_ms < 60.0, "{}", sim.describe());
        sim.finish();
        sim.assert_all_delivered();
    }
}

#[test]
fn a_black_hole_is_left_though_its_way_back_works() {
    let mut sim = Sim::new(3, 500, &three_carriers());
    sim.stream(4_000_000, 1316, Duration::from_secs(3));
    sim.nets[1].black_hole = true;
    sim.stream(4_000_000, 1316, Duration::from_secs(4));
    assert_eq!(sim.sender.link_state(1), Some(LinkState::Dead));
    sim.finish();
    sim.assert_all_delivered();
}

#[test]
fn the_only_link_dark_for_less_than_the_latency_loses_nothing() {
    let mut sim = Sim::new(4, 1000, &[Net::new(20_000, 20, 0.0)]);
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.nets[0].dark = true;
    sim.stream(3_000_000, 1316, Duration::from_millis(400));
    sim.nets[0].dark = false;
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.finish();
    sim.assert_all_delivered();
}

#[test]
fn duplicates_and_overtaken_packets_change_nothing() {
    for seed in 0..5 {
        let mut nets = three_carriers();
        for net in &mut nets {
            (net.up.duplicate_percent, net.up.reorder_percent) = (5.0, 2.0);
            net.down = net.up;
        }
        let mut sim = Sim::new(seed, 500, &nets);
        sim.stream(4_000_000, 1316, Duration::from_secs(5));
        sim.finish();
        sim.assert_all_delivered();
        assert!(sim.receiver_stats().duplicates > 0);
    }
}

#[test]
fn every_size_is_preserved_also_in_two_halves() {
    let mut small = Net::new(20_000, 20, 0.02);
    small.max_datagram = 1100;
    let mut sim = Sim::new(5, 500, &[small, Net::new(20_000, 30, 0.02)]);
    for bytes in 1..=1456 {
        sim.push(bytes);
        sim.run_for(MS * 2);
    }
    sim.finish();
    sim.assert_all_delivered();
}

#[test]
fn a_lone_datagram_that_is_lost_is_repaired_too() {
    for seed in 0..30 {
        let mut sim = Sim::new(seed, 1000, &[Net::new(20_000, 30, 0.2)]);
        sim.run_for(MS * 500);
        sim.push(100);
        sim.finish();
        assert_eq!(sim.released.len(), 1, "seed {seed} {}", sim.describe());
    }
}

#[test]
fn more_than_the_links_carry_is_dropped_unsent_and_the_target_says_so() {
    let mut sim = Sim::new(6, 500, &[Net::new(3000, 20, 0.0)]);
    sim.stream(6_000_000, 1316, Duration::from_secs(10));
    let stats = sim.sender_stats();
    assert!(stats.unsent_datagrams > 1000, "{}", sim.describe());
    assert!((1_200_000..3_000_000).contains(&stats.target_bps), "{}", sim.describe());
    assert_eq!(sim.total(|link| link.queue_drops), 0, "the link's queue is never filled");
    sim.finish();
    sim.assert_payloads();
    let delivered = sim.receiver_stats().delivered;
    assert!(delivered > 2_400_000 * 10 / 8 / 1316, "{}", sim.describe());
}

#[test]
fn ten_megabits_are_found_while_two_are_sent_and_used_at_once_when_they_are_wanted() {
    for seed in 0..10 {
        for jitter in [0, 5] {
            let mut sim = Sim::new(seed, 500, &[Net::new(10_000, 30, 0.005).jitter(jitter)]);
            sim.stream(2_000_000, 1316, Duration::from_secs(20));
            let target = sim.sender.target_bps();
            assert!((5_000_000..10_000_000).contains(&target), "{target}, seed {seed}, jitter {jitter}");
            sim.stream(target * 95 / 100, 1316, Duration::from_secs(5));
            assert!(sim.sender.target_bps() > target * 9 / 10, "seed {seed} {}", sim.describe());
            sim.finish();
            sim.assert_all_delivered();
            let trains = sim.sender_stats().links[0].train_packets * 1200;
            assert!(trains < 100_000, "{trains} bytes");
        }
    }
}

#[test]
fn a_link_that_became_slow_while_little_was_sent_lowers_the_target_before_it_is_used() {
    let mut sim = Sim::new(9, 500, &[Net::new(10_000, 30, 0.0)]);
    sim.stream(1_000_000, 1316, Duration::from_secs(10));
    let before = sim.sender.target_bps();
    sim.nets[0].up.rate_kbps = 2_500;
    sim.stream(1_000_000, 1316, Duration::from_secs(60));
    let target = sim.sender.target_bps();
    assert!(target < before / 2 && target >= 1_000_000, "{before} {target} {}", sim.describe());
    sim.finish();
    sim.assert_all_delivered();
}

#[test]
fn the_way_back_costs_little() {
    let mut sim = Sim::new(7, 500, &three_carriers());
    sim.stream(6_000_000, 1316, Duration::from_secs(10));
    let share = sim.total(|link| link.back_wire_bytes) as f64 / sim.total(|link| link.wire_bytes) as f64;
    // With IP, UDP and QUIC headers.
    assert!(share < 0.03, "{share}");
}

#[test]
fn a_link_that_was_never_full_shows_what_trains_measure_and_one_that_was_shows_its_own() {
    let mut sim = Sim::new(8, 1000, &[Net::new(5000, 35, 0.0).jitter(8), Net::new(6000, 25, 0.02).jitter(5)]);
    assert!(sim.sender_stats().links.iter().all(|link| link.capacity_bps == 0), "{}", sim.describe());
    sim.stream(900_000, 1316, Duration::from_secs(10));
    for (link, bps) in sim.sender_stats().links.iter().zip([5_000_000, 6_000_000]) {
        assert!((bps * 5 / 10..bps * 13 / 10).contains(&link.capacity_bps), "{}", sim.describe());
    }
    sim.stream(12_000_000, 1316, Duration::from_secs(10));
    for (link, bps) in sim.sender_stats().links.iter().zip([5_000_000, 6_000_000]) {
        assert!((bps * 8 / 10..bps * 11 / 10).contains(&link.capacity_bps), "{}", sim.describe());
    }
}
