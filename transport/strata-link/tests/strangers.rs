//! A peer without the right key gets nothing: no state, no amplification, no share of the processor.
//!
//! What it costs is printed, not judged: `cargo test --release -p strata-link --test strangers storm -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot be set up fails; figures are printed")]

mod common;
mod stranger;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Bench, Process, Sink, Source, free_port};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use stranger::{Storm, Stranger, initials, short_header, unknown_version};
use strata_identity::KeyPair;
use strata_link::{Receiver, ReceiverConfig};

/// Long enough for the repeats of a handshake's packets; more only finds more.
const QUIET: Duration = Duration::from_millis(700);

async fn receiver() -> Receiver {
    let (identity, allow) = (KeyPair::generate(), KeyPair::generate().public());
    let listen = "127.0.0.1:0".parse().unwrap();
    Receiver::bind(ReceiverConfig { identity, allow, listen, latency: Duration::from_millis(300) }).await.unwrap()
}

fn knows_nobody(receiver: &Receiver) {
    let stats = receiver.stats();
    assert_eq!((stats.sessions, stats.links.len(), stats.malformed_packets, stats.delivered), (0, 0, 0, 0));
}

/// Sends each packet, waits for all answers, and returns the sizes of the answers.
async fn answers(to: SocketAddr, packets: &[Vec<u8>]) -> Stranger {
    let mut stranger = Stranger::at(1).await;
    for packet in packets {
        stranger.send(to, packet).await;
    }
    stranger.listen(QUIET).await;
    println!("{} bytes in, {} bytes out in {:?}", stranger.sent_bytes, stranger.received_bytes(), stranger.answers);
    stranger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_packet_is_asked_for_a_proof_of_the_address_and_nothing_else() {
    let receiver = receiver().await;
    let to = receiver.local_addr();
    for initial in initials(to, 3) {
        // The same packet again is the same connection, but more bytes that may be answered.
        for copies in [1, 4] {
            let stranger = answers(to, &vec![initial.clone(); copies]).await;
            assert!(stranger.received_bytes() <= 3 * stranger.sent_bytes);
            assert!(!stranger.answers.is_empty() && stranger.answers.iter().all(|&bytes| bytes < 200));
        }
    }
    knows_nobody(&receiver);
    receiver.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_packets_that_were_changed_or_cut_get_no_more_than_others() {
    let receiver = receiver().await;
    let to = receiver.local_addr();
    let initial = initials(to, 1).remove(0);
    for at in [0, 1, 5, 6, 14, 20, 30, 100, 1199] {
        let mut changed = initial.clone();
        changed[at] ^= 0x15;
        let stranger = answers(to, &[changed]).await;
        assert!(stranger.received_bytes() <= 3 * stranger.sent_bytes, "byte {at}");
    }
    for bytes in [1, 7, 21, 100, 1199] {
        let stranger = answers(to, &[initial[..bytes].to_vec()]).await;
        assert_eq!(stranger.received_bytes(), 0, "a first packet of {bytes} bytes");
    }
    knows_nobody(&receiver);
    receiver.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_packets_at_once_get_no_more_each() {
    let receiver = receiver().await;
    let to = receiver.local_addr();
    let stranger = answers(to, &initials(to, 100)).await;
    // The stranger's own socket may drop some.
    assert!(
        stranger.answers.len() >= 50 && stranger.answers.iter().all(|&bytes| bytes < 200),
        "{:?}",
        stranger.answers
    );
    knows_nobody(&receiver);
    receiver.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_handshake_are_smaller_than_what_they_answer() {
    let receiver = receiver().await;
    let to = receiver.local_addr();
    let mut random = SmallRng::seed_from_u64(1);
    for bytes in [1200, 1400] {
        let stranger = answers(to, &[unknown_version(&mut random, bytes)]).await;
        assert!(stranger.received_bytes() < bytes, "a version is offered in fewer bytes");
    }
    for bytes in [23, 40, 1199] {
        assert_eq!(answers(to, &[unknown_version(&mut random, bytes)]).await.received_bytes(), 0, "{bytes} bytes");
    }
    for bytes in [1, 4, 5, 12, 20, 21] {
        assert_eq!(answers(to, &[short_header(&mut random, bytes)]).await.received_bytes(), 0, "{bytes} bytes");
    }
    for bytes in [22, 23, 30, 60, 1200] {
        let stranger = answers(to, &[short_header(&mut random, bytes)]).await;
        assert!(stranger.received_bytes() < bytes, "a reset is smaller than what it answers");
    }
    knows_nobody(&receiver);
    receiver.close().await;
}

/// A stream over one link, disturbed by a storm of `count` packets; the sender's numbers and the receiver's statistics.
async fn stream_in(storm: fn(SocketAddr, usize) -> Storm, count: usize) {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let receiver = bench.receive(listen, sink.address, "5s");
    receiver.says("listening").await;
    let sender = bench.send(input, &[listen], "5s");
    sender.says("connected").await;
    let mut storm = storm(listen, 2000);
    let source = Source::start(input, 6_000_000);
    let (started, before) = (Instant::now(), processor_ms(&receiver));
    let strangers = storm.blow(listen, count).await;
    let [out, back] =
        [|s: &Stranger| s.sent_bytes, Stranger::received_bytes].map(|of| strangers.iter().map(of).sum::<usize>());
    println!("strangers: {out} bytes in, {back} bytes out, factor {:.3}", back as f64 / out as f64);
    assert!(back <= 3 * out);
    let elapsed = started.elapsed();
    let used = processor_ms(&receiver) - before;
    println!(
        "{count} bogus packets in {elapsed:.1?}: receiver {:.1} % of a processor",
        used as f64 / elapsed.as_millis() as f64 * 100.0
    );
    let sent = source.stop().await;
    sink.has(usize::try_from(sent).unwrap()).await;
    assert_eq!(sink.numbers(), (0..sent).collect::<Vec<u64>>());
    sender.terminate().await;
    receiver.terminate().await;
    let stats = bench.receiver_stats().unwrap();
    println!("{sent} datagrams: lost {}, late {}, recovered {}", stats.lost, stats.late, stats.recovered);
    assert_eq!((stats.delivered, stats.lost, stats.late, stats.sessions), (sent, 0, 0, 1));
}

/// Processor time used so far, in milliseconds.
fn processor_ms(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_peers_stream_does_not_notice_a_storm() {
    stream_in(Storm::mixed, 60_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_peers_stream_does_not_notice_a_storm_of_first_packets() {
    stream_in(Storm::of_initials, 60_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_finish_their_handshakes_are_limited_by_their_address() {
    let (addresses, elapsed, count) = handshakes_for(Duration::from_secs(3)).await;
    let most = addresses as f64 * (33.0 + 4.0 * elapsed.as_secs_f64());
    assert!(count > 0 && f64::from(count) <= most, "{count} of at most {most}");
}

/// Strangers at eight addresses that answer everything and have no key, as fast as they can.
async fn handshakes_for(duration: Duration) -> (usize, Duration, u32) {
    let (bench, sink, listen) = (Bench::new(), Sink::start().await, free_port());
    let receiver = bench.receive(listen, sink.address, "300ms");
    receiver.says("listening").await;
    let (started, before) = (Instant::now(), processor_ms(&receiver));
    let mut tasks = tokio::task::JoinSet::new();
    for host in 2..10 {
        let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        tasks.spawn(async move {
            let mut count = 0u32;
            while started.elapsed() < duration {
                let attempt = endpoint.connect_with(stranger::client(), listen, "receiver").unwrap();
                if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(50), attempt).await {
                    connection.closed().await;
                    count += 1;
                }
            }
            count
        });
    }
    let addresses = tasks.len();
    let count = tasks.join_all().await.iter().sum();
    let elapsed = started.elapsed();
    let used = processor_ms(&receiver) - before;
    let percent = used as f64 / elapsed.as_millis() as f64 * 100.0;
    println!("{count} handshakes came to their refusal: receiver {percent:.1} % of a processor");
    receiver.terminate().await;
    (addresses, elapsed, count)
}
