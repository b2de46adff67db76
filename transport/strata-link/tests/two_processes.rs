//! `strata-bond send | receive` as two processes over emulated links.

mod common;

use std::time::Duration;

use common::{Bench, Sink, Source, fails, free_port, links, shape, soak};
use strata_link::LinkState;
use strata_netem::protocol::{Command, Reply};
use tokio::net::UdpSocket;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_datagram_once_in_order_unchanged_over_three_links() {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    // No two of them could carry it.
    let shapes = [shape(2800, 20.0, 0.0), shape(2800, 45.0, 2.0), shape(2800, 70.0, 0.0)];
    let emulator = links(listen, &shapes).await;
    let receiver = bench.receive(listen, sink.address, "1000ms");
    let sender = bench.send(input, &emulator.addresses(), "1000ms");
    bench.sender_shows("three links", |stats| stats.links.iter().all(|link| link.state == LinkState::Up)).await;
    let source = Source::start(input, 6_000_000);
    sleep(soak()).await;
    let sent = source.stop().await;
    sink.has(usize::try_from(sent).unwrap()).await;
    sender.terminate().await;
    receiver.terminate().await;
    let expected: Vec<u64> = (0..sent).collect();
    assert_eq!(sink.numbers(), expected);
    let (theirs, ours) = (bench.receiver_stats().unwrap(), bench.sender_stats().unwrap());
    assert_eq!((theirs.delivered, theirs.lost, theirs.sessions), (sent, 0, 1));
    assert!(theirs.recovered > 0, "the loss was real: {theirs:#?}");
    assert_eq!((ours.datagrams_in, ours.unsent_datagrams), (sent, 0));
    assert!(ours.links.iter().all(|link| link.sent_packets > sent / 20), "{ours:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_cut_and_restored_costs_nothing() {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let emulator = links(listen, &[shape(6000, 20.0, 0.0), shape(6000, 40.0, 0.0)]).await;
    let receiver = bench.receive(listen, sink.address, "1s");
    let sender = bench.send(input, &emulator.addresses(), "1s");
    bench.sender_shows("two links", |stats| stats.links.iter().all(|link| link.state == LinkState::Up)).await;
    let source = Source::start(input, 3_000_000);
    sink.has(300).await;
    assert_eq!(emulator.apply(&Command::Cut { link: 0 }), Reply::Ok);
    bench.sender_shows("the cut link dead", |stats| stats.links[0].state == LinkState::Dead).await;
    let before = sink.count();
    sink.has(before + 500).await;
    assert_eq!(emulator.apply(&Command::Restore { link: 0 }), Reply::Ok);
    bench.sender_shows("the link back", |stats| stats.links[0].state == LinkState::Up).await;
    let sent = source.stop().await;
    sink.has(usize::try_from(sent).unwrap()).await;
    assert_eq!(sink.numbers(), (0..sent).collect::<Vec<u64>>());
    sender.terminate().await;
    receiver.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_killed_and_started_again_goes_on_with_the_session() {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let emulator = links(listen, &[shape(8000, 20.0, 0.0), shape(8000, 40.0, 0.0)]).await;
    let receiver = bench.receive(listen, sink.address, "1s");
    let sender = bench.send(input, &emulator.addresses(), "1s");
    let source = Source::start(input, 2_000_000);
    sink.has(300).await;
    receiver.kill().await;
    let before = sink.count();
    let receiver = bench.receive(listen, sink.address, "1s");
    sink.has(before + 300).await;
    let sent = source.stop().await;
    sleep(Duration::from_millis(1500)).await;
    sender.terminate().await;
    receiver.terminate().await;
    let numbers = sink.numbers();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, nothing twice");
    assert_eq!(numbers.last(), Some(&(sent - 1)));
    assert!(sender_reconnected(&bench), "{:#?}", bench.sender_stats());
}

fn sender_reconnected(bench: &Bench) -> bool {
    bench.sender_stats().is_some_and(|stats| stats.links.iter().all(|link| link.connects == 2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_started_again_begins_anew() {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let receiver = bench.receive(listen, sink.address, "300ms");
    for _ in 0..2 {
        let sender = bench.send(input, &[listen], "300ms");
        sender.says("connected").await;
        let before = sink.count();
        let source = Source::start(input, 2_000_000);
        sink.has(before + 200).await;
        source.stop().await;
        sender.kill().await;
    }
    receiver.terminate().await;
    let stats = bench.receiver_stats().unwrap();
    assert_eq!((stats.sessions, stats.lost), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_gets_nothing_and_both_ends_say_why() {
    let (bench, stranger) = (Bench::new(), Bench::new());
    let (sink, listen, input) = (Sink::start().await, free_port(), free_port());
    let receiver = bench.receive(listen, sink.address, "300ms");
    receiver.says("listening").await;

    // The stranger knows the receiver's key, but its own is not allowed.
    std::fs::remove_file(bench.path("send.key")).unwrap();
    stranger.sender_key.write_new(&bench.path("send.key")).unwrap();
    let sender = bench.send(input, &[listen], "300ms");
    sender.says(&format!("refused this sender's key {}", stranger.sender_key.public())).await;
    receiver.says("its key is not the allowed one").await;
    bench.sender_shows("the reason", |stats| stats.links[0].error.contains("refused")).await;
    assert_eq!(bench.sender_stats().unwrap().links[0].connects, 0);
    sender.terminate().await;

    // This sender expects another receiver.
    let sender = stranger.send(input, &[listen], "300ms");
    sender.says(&format!("another key than the expected {}", stranger.receiver_key.public())).await;
    sender.terminate().await;
    receiver.terminate().await;
    assert_eq!(sink.count(), 0);
    let stats = bench.receiver_stats().unwrap();
    assert_eq!((stats.sessions, stats.links.len(), stats.malformed_packets, stats.delivered), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_at_the_port_disturbs_nobody() {
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let receiver = bench.receive(listen, sink.address, "300ms");
    let sender = bench.send(input, &[listen], "300ms");
    sender.says("connected").await;
    let source = Source::start(input, 2_000_000);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut packet = [0u8; 1400];
    for round in 0..3000usize {
        for (at, byte) in packet.iter_mut().enumerate() {
            *byte = (round.wrapping_mul(97).wrapping_add(at * at) % 256) as u8;
        }
        // Long and short headers, all lengths.
        packet[0] = if round % 2 == 0 { 0xc0 | packet[0] } else { 0x40 | (packet[0] & 0x3f) };
        stranger.send_to(&packet[..1 + round % 1399], listen).await.unwrap();
        if round % 50 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    sink.has(300).await;
    let sent = source.stop().await;
    sink.has(usize::try_from(sent).unwrap()).await;
    assert_eq!(sink.numbers(), (0..sent).collect::<Vec<u64>>());
    sender.terminate().await;
    receiver.terminate().await;
}

#[tokio::test]
async fn bad_values_are_named_with_what_to_do() {
    let bench = Bench::new();
    let key = bench.path("receive.key");
    let key = key.to_str().unwrap();
    let public = bench.sender_key.public().to_string();
    let receive = |key: &'static str| ["receive", "--output", "udp://127.0.0.1:9", "--key", key];

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said =
        fails(&["receive", "--key", key, "--allow", &public, "--listen", &address, "--output", "udp://127.0.0.1:9"])
            .await;
    assert!(said.contains(&address) && said.contains("in use"), "{said}");

    let [command, output, to, flag, file] = receive("/nonexistent/key");
    let said = fails(&[command, output, to, flag, file, "--allow", &public, "--listen", "127.0.0.1:0"]).await;
    assert!(said.contains("/nonexistent/key") && said.contains("No such file"), "{said}");

    let said = fails(&[command, output, to, "--key", key, "--allow", "abc", "--listen", "127.0.0.1:0"]).await;
    assert!(said.contains("abc") && said.contains("64 hexadecimal digits"), "{said}");

    let said = fails(&[
        "send",
        "--key",
        key,
        "--peer",
        &public,
        "--input",
        "udp://127.0.0.1:0",
        "--link",
        "127.0.0.1:9@nosuch0",
    ])
    .await;
    assert!(said.contains("nosuch0") && said.contains("ip link"), "{said}");

    let said = fails(&["keygen", key]).await;
    assert!(said.contains(key) && said.contains("exists"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_works_as_well() {
    let (bench, sink, input) = (Bench::new(), Sink::start().await, free_port());
    let listen = match std::net::UdpSocket::bind("[::1]:0") {
        Ok(socket) => socket.local_addr().unwrap(),
        // A machine without IPv6 has nothing to test here.
        Err(_) => return,
    };
    let receiver = bench.receive(listen, sink.address, "300ms");
    let sender = bench.send(input, &[listen], "300ms");
    sender.says("connected").await;
    let source = Source::start(input, 2_000_000);
    sink.has(100).await;
    source.stop().await;
    sender.terminate().await;
    receiver.terminate().await;
}
