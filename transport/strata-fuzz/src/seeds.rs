//! The seeds: small inputs made by the project's own encoders, from which mutations begin.
//!
//! `cargo run -p strata-fuzz --example write-seeds` writes them. What a fuzz run
//! finds is added beside them by hand, under a name that says what it broke.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use strata_bond::{ConnectionId, Receiver, Sender, Time};
use strata_identity::KeyPair;
use strata_netem::protocol::{Command, Config, LinkSpec, Ready, Reply, Shape, ShapeChange};

use crate::steps;

#[path = "../../strata-media/tests/support/mod.rs"]
mod mux;

use mux::Mux;

const MS: Duration = Duration::from_millis(1);

/// A seed: its target, its name, its bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// All seeds.
#[must_use]
pub fn all() -> Vec<Seed> {
    let mut seeds = bond();
    seeds.extend(drawn());
    seeds.extend(streams());
    seeds.extend(lines());
    seeds
}

/// What crosses the links of a session, as either end gets it.
struct Recording {
    to_receiver: Vec<u8>,
    to_sender: Vec<u8>,
    packets: Vec<Bytes>,
    reports: Vec<Bytes>,
}

/// A short session over two links; `change` may lose a packet or restart the sender before each round.
fn record(session: u64, max_datagram: usize, mut lost: impl FnMut(usize) -> bool) -> Recording {
    let mut now = Time::from_micros(5_000_000);
    let mut sender = Sender::new(now, MS * 100, session);
    for link in 0..2 {
        sender.add_link(now, link, "link");
        sender.link_up(now, link, MS * 20, max_datagram);
    }
    let mut receiver = Receiver::new(now, MS * 100, 0);
    let mut recording = Recording { to_receiver: vec![], to_sender: vec![], packets: vec![], reports: vec![] };
    let mut count = 0;
    for round in 0..24 {
        now = now + MS * 5;
        sender.push(now, Bytes::from(vec![round; 30 + usize::from(round)])).expect("a small datagram");
        let mut elapsed = MS * 5;
        while let Some(transmit) = sender.poll_transmit(now) {
            count += 1;
            if lost(count) {
                continue;
            }
            steps::write(&mut recording.to_receiver, transmit.link, elapsed, &transmit.packet);
            elapsed = Duration::ZERO;
            receiver.handle_packet(now, ConnectionId(transmit.link.into()), &transmit.packet);
            recording.packets.push(transmit.packet);
        }
        while receiver.poll_release(now).is_some() {}
        let mut elapsed = MS * 5;
        while let Some(report) = receiver.poll_report(now) {
            steps::write(&mut recording.to_sender, 1, elapsed, &report.packet);
            elapsed = Duration::ZERO;
            if sender.handle_packet(now, &report.packet).is_ok() {
                recording.reports.push(report.packet);
            }
        }
    }
    recording
}

/// What a sender says, with gaps, whose links are so long that it sends parity; nobody answers.
fn far() -> Recording {
    let mut now = Time::from_micros(5_000_000);
    let mut sender = Sender::new(now, MS * 300, crate::sender::SESSION);
    for link in 0..2 {
        sender.add_link(now, link, "link");
        sender.link_up(now, link, MS * 200, 1366);
    }
    let mut recording = Recording { to_receiver: vec![], to_sender: vec![], packets: vec![], reports: vec![] };
    for round in 0..60 {
        now = now + MS * 5;
        sender.push(now, Bytes::from(vec![round; 30 + usize::from(round)])).expect("a small datagram");
        let sent: Vec<_> = std::iter::from_fn(|| sender.poll_transmit(now)).collect();
        for transmit in sent.into_iter().filter(|_| round % 7 != 3) {
            steps::write(&mut recording.to_receiver, transmit.link, MS * 5, &transmit.packet);
            recording.packets.push(transmit.packet);
        }
    }
    recording
}

fn bond() -> Vec<Seed> {
    let session = crate::sender::SESSION;
    let clean = record(session, 1366, |_| false);
    let lossy = record(session, 1366, |packet| packet % 5 == 3);
    let halves = record(session, 40, |packet| packet % 7 == 3);
    let far = far();
    let again = record(session + 1, 1366, |_| false);
    let restart = [clean.to_receiver.as_slice(), &again.to_receiver].concat();
    let mut renewed = clean.to_receiver.clone();
    steps::write(&mut renewed, 0x80, MS, b"");
    renewed.extend(&lossy.to_receiver);
    let mut seeds = vec![
        ("receiver", "two-links", clean.to_receiver),
        ("receiver", "lossy", lossy.to_receiver),
        ("receiver", "halves", halves.to_receiver),
        ("receiver", "parity", far.to_receiver),
        ("receiver", "sender-restarted", restart),
        ("receiver", "link-renewed", renewed),
        ("sender", "two-links", clean.to_sender),
        ("sender", "lossy", lossy.to_sender),
        ("sender", "halves", halves.to_sender),
    ];
    let kind =
        |packets: &[Bytes], kind: u8| packets.iter().rfind(|packet| packet[0] == kind).map(|packet| packet.to_vec());
    let packets = [
        ("hello", kind(&clean.packets, 0x20)),
        ("whole", kind(&clean.packets, 0x10)),
        ("first-half", kind(&halves.packets, 0x11)),
        ("second-half", kind(&halves.packets, 0x12)),
        ("repeat", kind(&lossy.packets, 0x14)),
        ("parity", kind(&far.packets, 0x50)),
        ("report", kind(&clean.reports, 0x30)),
        ("report-with-gaps", kind(&lossy.reports, 0x30)),
    ];
    seeds.extend(packets.into_iter().filter_map(|(name, bytes)| Some(("packet", name, bytes?))));
    seeds.push(("packet", "ping", crate::wire::ping(9).to_vec()));
    seeds
}

/// Targets that draw their steps from bytes: any bytes are steps.
fn drawn() -> Vec<Seed> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut any = |bytes| (0..bytes).map(|_| random.random()).collect::<Vec<u8>>();
    // Ten datagrams, 15 ms, all delivered over each link, reports back, 300 ms: twice, then a link lost and renewed.
    let round = [10, 9, 14, 0x5f, 0, 255, 16, 255, 32, 255, 14, 0x5f, 6, 255, 14, 0x9f];
    // All links connected with 400 ms, ten datagrams every 65 ms, three packets of a link lost, the others delivered.
    let far = [13, 200, 29, 200, 45, 200];
    let repaired = [10, 9, 14, 0x81, 10, 9, 14, 0x81, 3, 3, 0, 255, 16, 255, 32, 255, 14, 0x81];
    let renewed = [12, 0, 10, 9, 14, 0x5f, 13, 40, 14, 0x5f, 16, 3, 19, 2, 20, 4, 21, 1, 32, 255, 14, 0x9f];
    vec![
        ("receiver_steps", "any-1", any(200)),
        ("receiver_steps", "any-2", any(800)),
        ("sender_steps", "any-1", any(200)),
        ("sender_steps", "any-2", any(800)),
        ("pair", "any", any(400)),
        ("pair", "two-rounds", [round, round].concat()),
        ("pair", "parity", [far.as_slice(), &repaired, &repaired, &round].concat()),
        ("pair", "link-renewed", [round.as_slice(), &renewed, &round].concat()),
    ]
}

fn streams() -> Vec<Seed> {
    let stream = |name, chunk: u8, fill: &dyn Fn(&mut Mux)| {
        let mut mux = Mux::new(chunk.is_multiple_of(2));
        fill(&mut mux);
        ("transport_stream", name, [&[chunk], mux.bytes.as_slice()].concat())
    };
    vec![
        stream("flags", 16, &|mux| mux.stream(90_000, 6, 3)),
        stream("no-flags", 17, &|mux| mux.stream(90_000, 6, 3)),
        stream("wrap", 18, &|mux| mux.stream((1 << 33) - 7_200, 6, 3)),
        stream("long-pictures", 20, &|mux| {
            for second in 0..5 {
                mux.tables(0x1b, 0x0f);
                mux.video(second * 90_000, true);
                mux.audio(second * 90_000);
            }
        }),
        stream("other-streams", 22, &|mux| {
            mux.stream(0, 2, 2);
            mux.tables(0x24, 0);
            mux.video(9_000, true);
            mux.tables(0, 0x0f);
            mux.audio(12_600);
        }),
        stream("jump", 24, &|mux| {
            mux.stream(0, 3, 3);
            mux.stream(900_000, 3, 3);
        }),
    ]
}

fn line(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has a JSON form")
}

fn lines() -> Vec<Seed> {
    let key = KeyPair::from_seed(&[7; 32]);
    let signature = line(&key.sign("fuzz", b"message"));
    let [listen, target] = [6000, 6001].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let shape = Shape { rate_kbps: 3000, delay_ms: 20.0, ..Shape::default() };
    let config = Config {
        seed: 1,
        links: vec![LinkSpec { listen, target, shape, down: None, trace: None }],
        control: Some("control.sock".into()),
        exit_idle_s: Some(30),
    };
    let change = ShapeChange { loss_percent: Some(5.0), ..ShapeChange::default() };
    vec![
        ("identity", "text", key.public().to_string().into_bytes()),
        ("identity", "der", key.public().to_spki_der()),
        ("identity", "signature-text", signature[1..signature.len() - 1].to_vec()),
        ("identity", "signed", [[7; 32].as_slice(), &[9; 64], b"message"].concat()),
        ("emulator", "config", line(&config)),
        ("emulator", "cut", line(&Command::Cut { link: 1 })),
        ("emulator", "set", line(&Command::Set { link: 0, way: None, change })),
        ("emulator", "stats", line(&Command::Stats)),
        ("emulator", "ready", line(&Ready { links: vec![listen] })),
        ("emulator", "error", line(&Reply::Error { message: "there is no link 3".into() })),
        ("control", "deep", "{\"a\":".repeat(200).into_bytes()),
        ("control", "unknown-type", br#"{"id":"0198c0de-0000-7000-8000-000000000001","type":"no.such","ts":"2026-01-01T00:00:00Z","version":1,"payload":{}}"#.to_vec()),
    ]
}
