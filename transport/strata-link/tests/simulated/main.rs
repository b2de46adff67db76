//! The real ends, QUIC included, under simulated time: tokio's clock stands still while anything is left to do and
//! then jumps to the next timer, and packets cross a network in memory.
//!
//! What the network does is decided by its seed. Keys, connection ids and session ids are random, and with them the
//! exact packets: the same seed gives the same faults at the same moments, not the same run bit for bit. Therefore
//! each story asserts what must hold for all runs, and nothing depends on the machine's speed. A run that is exactly
//! the same each time is what `strata-sim` offers, without QUIC.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up fails, and tells its figures"
)]

mod network;
mod random;
mod story;

use std::time::Duration;

use network::Link;
use story::Story;
use strata_link::LinkState;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn three_links() -> [Link; 3] {
    [Link::new(4000, 20.0, 0.5), Link::new(4000, 45.0, 1.0), Link::new(4000, 70.0, 0.0)]
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_over_three_links_that_no_two_could_carry() {
    let links = [Link::new(900, 20.0, 0.5), Link::new(900, 45.0, 1.0), Link::new(900, 80.0, 0.0)];
    let mut story = Story::start(1, 1000, &links).await;
    story.stream(2_000_000, SECOND * 600).await;
    story.finish().await;
    story.assert_all();
    let delays = story.taken().into_iter().map(|taken| taken.at - story.pushed[taken.number]);
    let (least, most) = (delays.clone().min().unwrap(), delays.max().unwrap());
    // A repaired datagram may come out 50 ms after its time.
    assert!(least >= MS * 1015 && most < MS * 1080, "in the source's timing: {least:?} to {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_without_signal_costs_nothing_and_comes_back() {
    let mut story = Story::start(2, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 3).await;
    // Longer than a connection lives without an answer.
    for (link, lasts) in [(0, 5), (1, 45)] {
        story.network.change(link, |link| link.dark = true);
        story.stream(2_000_000, SECOND * lasts).await;
        assert_ne!(story.stats().links[link].state, LinkState::Up);
        story.network.change(link, |link| link.dark = false);
        // The longest attempt, and the pause before the next.
        story.stream(2_000_000, SECOND * 8).await;
        story.all_up_soon().await;
    }
    story.finish().await;
    story.assert_all();
}

#[tokio::test(start_paused = true)]
async fn a_blackout_of_all_links_costs_no_more_than_its_length_beyond_the_latency() {
    let mut story = Story::start(3, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 3).await;
    for (dark, lasts) in [(true, 3), (false, 5)] {
        (0..3).for_each(|link| story.network.change(link, |link| link.dark = dark));
        story.stream(2_000_000, SECOND * lasts).await;
    }
    story.finish().await;
    let ended = story.pushed[story.pushed.len() - 1] - SECOND * 5;
    let missing = story.missing();
    // The links are found within a second, and what waited goes first: nothing handed over afterwards is missing.
    let expected = ended - SECOND * 3 - MS * 100..ended;
    assert!(missing.iter().all(|at| expected.contains(at)), "{missing:?} beyond {expected:?}\n{}", story.describe());
    assert!(missing.len() < 3 * 190, "{missing:?}\n{}", story.describe());
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_is_noticed_without_a_word_from_anybody() {
    let mut story = Story::start(4, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 3).await;
    story.network.change(0, |link| link.black_hole = true);
    story.stream(2_000_000, SECOND).await;
    assert_eq!(story.stats().links[0].state, LinkState::Dead);
    story.stream(2_000_000, SECOND * 19).await;
    story.network.change(0, |link| link.black_hole = false);
    story.stream(2_000_000, SECOND * 8).await;
    story.all_up_soon().await;
    story.finish().await;
    story.assert_all();
}

#[tokio::test(start_paused = true)]
async fn all_connections_starve_and_the_stream_comes_back() {
    let mut story = Story::start(5, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 3).await;
    (0..3).for_each(|link| story.network.change(link, |link| link.black_hole = true));
    story.stream(2_000_000, SECOND * 60).await;
    (0..3).for_each(|link| story.network.change(link, |link| link.black_hole = false));
    let lifted = story.network.elapsed();
    story.stream(2_000_000, SECOND * 15).await;
    story.finish().await;
    let last = story.missing().into_iter().max().unwrap();
    assert!(last < lifted + SECOND * 6, "{last:?}, lifted at {lifted:?}\n{}", story.describe());
    story.all_up_soon().await;
}

#[tokio::test(start_paused = true)]
async fn another_address_in_the_middle_of_the_stream_costs_nothing() {
    // The only link: nothing else could carry what the change costs.
    let mut story = Story::start(6, 1000, &[Link::new(6000, 30.0, 0.0)]).await;
    for _ in 0..5 {
        story.stream(2_000_000, SECOND * 4).await;
        story.network.change_address(0);
    }
    story.stream(2_000_000, SECOND * 4).await;
    story.finish().await;
    story.assert_all();
    assert_eq!(story.stats().links[0].connects, 1, "the connection moved with the address");
}

#[tokio::test(start_paused = true)]
async fn paths_of_small_packets_carry_their_share() {
    let mut links = [Link::new(1500, 20.0, 0.0), Link::new(1500, 45.0, 0.5), Link::new(1500, 70.0, 0.0)];
    links[0].mtu = 1280;
    // The least that QUIC lives with: 1,200 bytes of UDP payload.
    links[1].mtu = 1228;
    let mut story = Story::start(7, 1000, &links).await;
    story.stream(3_000_000, SECOND * 20).await;
    story.finish().await;
    story.assert_all();
    for link in 0..2 {
        let arrived = story.network.link(link).arrived;
        assert!(arrived > 2_000_000, "link {link}: {arrived} bytes\n{}", story.describe());
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_whose_packets_get_smaller_comes_back() {
    let mut story = Story::start(8, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 5).await;
    story.network.change(0, |link| link.mtu = 1280);
    // Three looks of a second, and a handshake beside the old connection.
    story.stream(2_000_000, SECOND * 8).await;
    let before = story.network.link(0).arrived;
    story.stream(2_000_000, SECOND * 10).await;
    let arrived = story.network.link(0).arrived - before;
    story.finish().await;
    // Meanwhile all repeats of a datagram may go the same way.
    assert!(story.missing().len() < 40, "{:?}\n{}", story.missing(), story.describe());
    assert!(arrived > 500_000, "{arrived} bytes\n{}", story.describe());
}

#[tokio::test(start_paused = true)]
async fn each_datagram_overtakes_those_before_it_on_the_other_link() {
    let mut story = Story::start(9, 1000, &[Link::new(1500, 5.0, 0.0), Link::new(1500, 300.0, 0.0)]).await;
    // Both are needed, and one is 295 ms behind the other: 55 datagrams.
    story.stream(2_000_000, SECOND * 20).await;
    story.finish().await;
    story.assert_all();
    let stats = story.stats();
    assert!(stats.links.iter().all(|link| link.sent_packets > stats.datagrams_in / 4), "{}", story.describe());
    assert!(stats.retransmitted_packets < stats.datagrams_in / 20, "nothing was lost: {}", story.describe());
}

#[tokio::test(start_paused = true)]
async fn each_packet_arrives_twice_or_is_overtaken() {
    let mut links = three_links();
    links[0].shape(|shape| shape.duplicate_percent = 100.0);
    links[1].shape(|shape| (shape.duplicate_percent, shape.reorder_percent) = (100.0, 50.0));
    links[2].shape(|shape| (shape.reorder_percent, shape.reorder_ms) = (50.0, 30.0));
    let mut story = Story::start(10, 1000, &links).await;
    story.stream(2_000_000, SECOND * 20).await;
    story.finish().await;
    story.assert_all();
}

#[tokio::test(start_paused = true)]
async fn a_sender_started_anew_begins_a_session_within_a_second() {
    let mut story = Story::start(11, 1000, &three_links()).await;
    story.stream(2_000_000, SECOND * 5).await;
    // What is on its way or not yet repaired dies with the sender.
    tokio::time::sleep(MS * 300).await;
    let first = story.pushed.len();
    story.kill_sender();
    story.start_sender();
    story.stream(2_000_000, SECOND * 5).await;
    story.finish().await;
    story.assert_all();
    let begins: Vec<usize> = story.taken().iter().filter(|taken| taken.new_session).map(|taken| taken.number).collect();
    assert_eq!(begins, [0, first]);
    let taken = story.taken()[first];
    assert_eq!(taken.sequence, 0);
    assert!(taken.at < story.pushed[first] + SECOND * 2, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_started_anew_goes_on_within_a_second() {
    let mut links = three_links();
    // How small the packets have to be is known from the first time.
    links.iter_mut().for_each(|link| link.mtu = 1280);
    let mut story = Story::start(12, 1000, &links).await;
    story.stream(2_000_000, SECOND * 5).await;
    let killed = story.network.elapsed();
    story.kill_receiver();
    story.start_receiver().await;
    story.stream(2_000_000, SECOND * 10).await;
    story.finish().await;
    // Only what was due while there was no receiver is missing: the reset, the handshake, what it has to be sent anew.
    let (missing, due) = (story.missing(), killed - SECOND - MS * 100..killed);
    // Within a second: no more than a second of the stream.
    assert!(missing.len() < 2_000_000 / 8 / 1316, "{}\n{}", missing.len(), story.describe());
    assert!(missing.iter().all(|at| due.contains(at)), "{missing:?} beyond {due:?}\n{}", story.describe());
    assert!(story.stats().links.iter().all(|link| link.connects == 2), "{}", story.describe());
    story.all_up_soon().await;
}
