//! Stories of ends and links that come and go.

use std::time::Duration;

use bytes::Bytes;
use strata_bond::{ConnectionId, LinkState, Receiver, ReceiverEvent, Sender, Time};
use strata_sim::{MS, Net, Sim};

fn two_links() -> [Net; 2] {
    [Net::new(8000, 20, 0.01), Net::new(8000, 40, 0.01)]
}

#[test]
fn a_sender_started_anew_begins_a_session_and_the_former_one_plays_out() {
    let mut sim = Sim::new(1, 500, &two_links());
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    let first = sim.pushed.len() as u64;
    // What is on its way or not yet repaired dies with the sender.
    sim.run_for(MS * 300);
    sim.restart_sender(0xabcd);
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.finish();
    let starts: Vec<usize> =
        sim.released.iter().enumerate().filter(|(_, (_, release))| release.new_session).map(|(at, _)| at).collect();
    assert_eq!(starts, [0, usize::try_from(first).unwrap()], "{}", sim.describe());
    let (_, second) = &sim.released[starts[1]];
    assert_eq!((second.sequence, second.lost_before), (0, 0));
    let stats = sim.receiver_stats();
    assert_eq!((stats.sessions, stats.delivered, stats.lost), (2, sim.pushed.len() as u64, 0));
    assert_eq!(stats.session, "000000000000abcd");
}

#[test]
fn a_receiver_started_anew_gets_everything_whose_time_has_not_come() {
    let mut sim = Sim::new(2, 1000, &two_links());
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.restart_receiver(78);
    sim.stream(3_000_000, 1316, MS * 100);
    for link in 0..2 {
        sim.connect(link);
    }
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.finish();
    let sequences: Vec<u64> = sim.released.iter().map(|(_, release)| release.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "in order, nothing twice");
    // Only what was due while there was no receiver is missing: 100 ms, and what it takes to open the windows again.
    let missing = sim.pushed.len() - sequences.len();
    assert!(missing <= 100, "{missing}");
    sim.assert_payloads();
}

#[test]
fn a_link_taken_away_and_given_back_loses_nothing() {
    let mut sim = Sim::new(3, 500, &two_links());
    for _ in 0..4 {
        sim.stream(3_000_000, 1316, MS * 700);
        sim.disconnect(0);
        assert_eq!(sim.sender.link_state(0), Some(LinkState::Connecting));
        sim.stream(3_000_000, 1316, MS * 700);
        sim.connect(0);
    }
    sim.stream(3_000_000, 1316, MS * 700);
    sim.sender.remove_link(1);
    sim.stream(3_000_000, 1316, MS * 700);
    sim.finish();
    sim.assert_all_delivered();
    assert_eq!(sim.sender_stats().links.len(), 1);
}

#[test]
fn an_idle_link_is_watched_and_found_dead() {
    let mut sim = Sim::new(4, 500, &two_links());
    sim.run_for(Duration::from_secs(2));
    sim.nets[1].dark = true;
    sim.run_for(MS * 1000);
    assert_eq!(sim.sender.link_state(1), Some(LinkState::Dead));
    assert_eq!(sim.sender.link_state(0), Some(LinkState::Up));
    sim.nets[1].dark = false;
    sim.run_for(MS * 1000);
    assert_eq!(sim.sender.link_state(1), Some(LinkState::Up));
}

#[test]
fn a_changed_latency_holds_from_the_next_release_on() {
    let mut sim = Sim::new(5, 300, &two_links());
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.sender.set_latency(sim.now, MS * 800);
    sim.stream(3_000_000, 1316, Duration::from_secs(2));
    sim.run_for(Duration::from_secs(2));
    sim.assert_all_delivered();
    let (least, most) = (sim.delays().min().unwrap(), sim.delays().max().unwrap());
    assert!(least < MS * 330 && most > MS * 815, "{least:?} {most:?}");
    assert_eq!(sim.sender_stats().latency_ms, 800);
}

#[test]
fn packets_of_a_replaced_sender_are_refused_while_the_new_one_is_there() {
    let latency = MS * 500;
    let hello = |session: u64| {
        let mut sender = Sender::new(Time::ZERO, latency, session);
        sender.add_link(Time::ZERO, 0, "link");
        sender.link_up(Time::ZERO, 0, MS * 40, 1366);
        sender.poll_transmit(Time::ZERO).unwrap().packet
    };
    let mut receiver = Receiver::new(Time::ZERO, latency, 1);
    let (old, new) = (ConnectionId(0), ConnectionId(1));
    receiver.handle_packet(Time::ZERO, old, &hello(1));
    let event = receiver.handle_packet(Time::ZERO, new, &hello(2));
    assert_eq!(event, Some(ReceiverEvent::NewSession { replaced: vec![old] }));
    assert_eq!(receiver.handle_packet(Time::ZERO, ConnectionId(2), &hello(1)), Some(ReceiverEvent::Replaced));
    receiver.connection_closed(new);
    let event = receiver.handle_packet(Time::ZERO, ConnectionId(3), &hello(1));
    assert_eq!(event, Some(ReceiverEvent::NewSession { replaced: vec![] }), "the new one is gone: the old may return");
}

#[test]
fn packets_before_a_hello_and_of_the_wrong_kind_change_nothing() {
    let mut receiver = Receiver::new(Time::ZERO, MS * 500, 1);
    let data = [&[0x10u8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], b"payload"].concat();
    assert_eq!(receiver.handle_packet(Time::ZERO, ConnectionId(0), &Bytes::from(data)), None);
    assert_eq!(receiver.next_timeout(), None);
    assert!(receiver.handle_packet(Time::ZERO, ConnectionId(0), &Bytes::from_static(b"\xffgarbage")).is_some());
    assert_eq!(receiver.stats(Time::ZERO).malformed_packets, 1);
    let mut sender = Sender::new(Time::ZERO, MS * 500, 1);
    assert!(sender.handle_packet(Time::ZERO, &Bytes::from_static(b"\x10\0\0\x01\0\0\0\0\0\0\0x")).is_err());
}
