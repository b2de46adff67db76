//! Two processes for as long as wanted (`STRATA_SOAK_S`) over links with random faults, from a seed (`STRATA_SEED`).
//!
//! One link at a time is left alone and carries the stream, so nothing may be lost; memory stays flat, and what comes
//! out keeps the source's clock.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up fails, and tells its figures"
)]

mod common;

use std::time::Duration;

use common::{Bench, Process, Sink, Source, free_port, links, shape, soak};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strata_link::LinkState;
use strata_netem::Emulator;
use strata_netem::protocol::{Command, Reply, Shape, ShapeChange};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The stream, in bits per second; each link alone carries twice as much.
const STREAM_BPS: u64 = 3_000_000;
/// The most that sender and receiver may grow over the second half. Under each of the sender's links lies a socket with
/// 3 MiB of room for what arrives in one call, and a second one while it is connected anew.
const GROWTH_KIB: [u64; 2] = [4096 + 3 * 3072, 4096];
/// Below this a busy machine's pauses weigh more than the clocks.
const CLOCK_NEEDS: Duration = Duration::from_secs(300);
/// How far the output's clock may be from the source's.
const MOST_PPM: f64 = 10.0;

fn shapes() -> [Shape; 3] {
    [shape(8000, 20.0, 0.5), shape(8000, 45.0, 2.0), shape(8000, 70.0, 0.0)]
}

/// What goes wrong with a link.
#[derive(Debug)]
enum Fault {
    Cut,
    Change(ShapeChange),
}

impl Fault {
    fn draw(random: &mut SmallRng, healthy: Shape) -> Self {
        let change = ShapeChange::default();
        match random.random_range(0..4) {
            0 => Self::Cut,
            1 => Self::Change(ShapeChange { rate_kbps: Some(random.random_range(400..2000)), ..change }),
            2 => Self::Change(ShapeChange { loss_percent: Some(random.random_range(3.0..30.0)), ..change }),
            _ => Self::Change(ShapeChange {
                delay_ms: Some(healthy.delay_ms + random.random_range(10.0..200.0)),
                ..change
            }),
        }
    }

    fn begin(&self, emulator: &Emulator, link: usize) {
        let command = match self {
            Self::Cut => Command::Cut { link },
            Self::Change(change) => Command::Set { link, way: None, change: *change },
        };
        assert_eq!(emulator.apply(&command), Reply::Ok);
    }
}

fn heal(emulator: &Emulator, link: usize, healthy: Shape) {
    let Shape { rate_kbps, delay_ms, loss_percent, .. } = healthy;
    let change = ShapeChange {
        rate_kbps: Some(rate_kbps),
        delay_ms: Some(delay_ms),
        loss_percent: Some(loss_percent),
        ..ShapeChange::default()
    };
    for command in [Command::Restore { link }, Command::Set { link, way: None, change }] {
        assert_eq!(emulator.apply(&command), Reply::Ok);
    }
}

/// Faults of one or two links at a time until `end`; says how many there were.
async fn faults(emulator: &Emulator, random: &mut SmallRng, end: Instant) -> u64 {
    let (shapes, mut count) = (shapes(), 0);
    let calm = Duration::from_secs(5);
    while Instant::now() + calm < end {
        let spared = random.random_range(0..shapes.len());
        // Mostly short, at times longer than a connection's patience.
        let lasts = Duration::from_secs_f64(random.random_range(0.2f64.ln()..40f64.ln()).exp());
        for link in (0..shapes.len()).filter(|&link| link != spared) {
            if random.random_bool(0.7) {
                let fault = Fault::draw(random, shapes[link]);
                println!("link {link}, {:.1} s: {fault:?}", lasts.as_secs_f64());
                fault.begin(emulator, link);
                count += 1;
            }
        }
        sleep_until((Instant::now() + lasts).min(end - calm)).await;
        for (link, &healthy) in shapes.iter().enumerate() {
            heal(emulator, link, healthy);
        }
        sleep(Duration::from_secs_f64(random.random_range(2.0..5.0))).await;
    }
    sleep_until(end).await;
    count
}

/// Memory of both processes in KiB, each second until `end`.
async fn memory(processes: [&Process; 2], end: Instant) -> Vec<[u64; 2]> {
    let mut samples = Vec::new();
    while Instant::now() < end {
        samples.push(processes.map(Process::resident_kib));
        sleep(Duration::from_secs(1)).await;
    }
    samples
}

/// The slope of what the output's clock shows above the source's, in parts per million, over all but the beginning.
///
/// A pause of the machine can only delay a datagram: the least delay of every five seconds is the clock's.
fn drift_ppm(sent: &[Instant], taken: &[(u64, Instant)]) -> f64 {
    const SLICE_S: f64 = 5.0;
    const SETTLED_S: f64 = 10.0;
    let mut slices: Vec<(f64, f64)> = Vec::new();
    for &(number, at) in taken {
        let pushed = sent[usize::try_from(number).unwrap()];
        let (since, delay) = ((pushed - sent[0]).as_secs_f64(), (at - pushed).as_secs_f64());
        if since < SETTLED_S {
            continue;
        }
        match slices.last_mut() {
            Some((begin, least)) if since < *begin + SLICE_S => *least = least.min(delay),
            _ => slices.push((since, delay)),
        }
    }
    let count = slices.len() as f64;
    let (x, y) = slices.iter().fold((0.0, 0.0), |(x, y), slice| (x + slice.0 / count, y + slice.1 / count));
    let (mut both, mut own) = (0.0, 0.0);
    for (since, delay) in &slices {
        both += (since - x) * (delay - y);
        own += (since - x).powi(2);
    }
    both / own * 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_lose_nothing_leak_nothing_and_keep_the_sources_clock() {
    let seed = std::env::var("STRATA_SEED").ok().map_or(1, |text| text.parse().expect("STRATA_SEED is a number"));
    println!("repeat the faults with STRATA_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (bench, sink, listen, input) = (Bench::new(), Sink::start().await, free_port(), free_port());
    let emulator = links(listen, &shapes()).await;
    let receiver = bench.receive(listen, sink.address, "1000ms");
    let sender = bench.send(input, &emulator.addresses(), "1000ms");
    bench.sender_shows("three links", |stats| stats.links.iter().all(|link| link.state == LinkState::Up)).await;
    let end = Instant::now() + soak();
    let source = Source::start(input, STREAM_BPS);
    let (faults, memory) = tokio::join!(faults(&emulator, &mut random, end), memory([&sender, &receiver], end));
    let sent = source.stop_and_tell_when().await;
    // What is missing then is missing for good; the figures below say how much.
    let rest = timeout(Duration::from_secs(20), sink.has(sent.len())).await;
    sender.terminate().await;
    receiver.terminate().await;

    let (theirs, ours) = (bench.receiver_stats().unwrap(), bench.sender_stats().unwrap());
    let (ppm, middle, last) = (drift_ppm(&sent, &sink.taken()), memory.len() / 2, memory.len() - 1);
    println!("{} datagrams, {faults} faults, lost {}, {ppm:.1} ppm", sent.len(), theirs.lost);
    let tenths: Vec<_> = (0..=10).map(|tenth| memory[last * tenth / 10]).collect();
    println!("KiB of sender and receiver, each tenth of the time: {tenths:?}");
    assert!(rest.is_ok(), "{} of {} came: {theirs:#?} {ours:#?}", sink.count(), sent.len());
    assert_eq!(sink.numbers(), (0..sent.len() as u64).collect::<Vec<u64>>());
    assert_eq!((theirs.delivered, theirs.lost, theirs.sessions), (sent.len() as u64, 0, 1));
    assert_eq!((ours.datagrams_in, ours.unsent_datagrams), (sent.len() as u64, 0));
    assert!(faults > 0, "something went wrong");
    for (end, most) in GROWTH_KIB.into_iter().enumerate() {
        let growth = memory[last][end].saturating_sub(memory[middle][end]);
        assert!(growth <= most, "{growth} KiB in the second half: {memory:?}");
    }
    assert!(soak() < CLOCK_NEEDS || ppm.abs() <= MOST_PPM, "{ppm:.1} ppm");
}
