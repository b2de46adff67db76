//! Random faults by seed, one link at a time left alone: it carries the stream. Beside what was due while the receiver
//! was started anew, nothing may be lost but what the dice take: a repeat may go over a link that loses a third.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strata_netem::protocol::Shape;

use crate::network::Link;
use crate::story::Story;
use crate::{MS, SECOND};

/// Each is a network of its own, unless `STRATA_SEED` names the only one.
const SEEDS: u64 = 20;
/// They are shared out among so many tests, which run side by side.
const SHARES: u64 = 4;
const STREAM_BPS: u64 = 1_500_000;
const LATENCY: Duration = SECOND;
const ROUNDS: usize = 6;
/// One datagram in so many may be missing.
const MOST_MISSING: usize = 2000;

fn link(random: &mut SmallRng) -> Link {
    let delay_ms = random.random_range(5.0..100.0);
    let mut link = Link::new(random.random_range(3500..12_000), delay_ms, random.random_range(0.0..2.0));
    link.shape(|shape| shape.jitter_ms = delay_ms / 10.0);
    link.up.duplicate_percent = random.random_range(0.0..3.0);
    link.up.reorder_percent = random.random_range(0.0..3.0);
    link.mtu = [1500, 1500, 1280, 1228][random.random_range(0..4)];
    link
}

/// Something goes wrong with a link; says what.
fn fault(random: &mut SmallRng, link: &mut Link) -> String {
    match random.random_range(0..6) {
        0 => {
            link.dark = true;
            "dark".into()
        }
        1 => {
            link.black_hole = true;
            "a black hole".into()
        }
        2 => {
            link.mute = true;
            "mute".into()
        }
        3 => {
            let kbps = random.random_range(400..1500);
            link.shape(|shape| shape.rate_kbps = kbps);
            format!("{kbps} kbit/s")
        }
        4 => {
            let percent = random.random_range(3.0..30.0);
            link.shape(|shape| shape.loss_percent = percent);
            format!("{percent:.0} % lost")
        }
        _ => {
            let ms = random.random_range(10.0..300.0);
            link.shape(|shape| shape.delay_ms += ms);
            format!("{ms:.0} ms more")
        }
    }
}

/// A network's story, told as it goes: the output of a test that passes is not shown.
async fn run(seed: u64) {
    println!("repeat with: STRATA_SEED={seed} cargo test -p strata-link --test simulated random");
    let mut random = SmallRng::seed_from_u64(seed);
    let links: Vec<Link> = (0..random.random_range(2..5)).map(|_| link(&mut random)).collect();
    for (at, Link { up, mtu, .. }) in links.iter().enumerate() {
        let Shape { rate_kbps, delay_ms, loss_percent, .. } = up;
        println!("link {at}: {rate_kbps} kbit/s, {delay_ms:.0} ms, {loss_percent:.1} % lost, {mtu} bytes");
    }
    let mut story = Story::start(seed, 1000, &links).await;
    story.stream(STREAM_BPS, SECOND * 3).await;
    let mut restarts = Vec::new();
    for _ in 0..ROUNDS {
        let spared = random.random_range(0..links.len());
        // Mostly short, at times longer than a connection's patience.
        let lasts = Duration::from_secs_f64(random.random_range(0.1f64.ln()..40f64.ln()).exp());
        let begins = story.network.elapsed();
        for at in (0..links.len()).filter(|&at| at != spared) {
            if random.random_bool(0.8) {
                story
                    .network
                    .change(at, |link| println!("{begins:?}, {lasts:?}, link {at}: {}", fault(&mut random, link)));
            }
        }
        story.stream(STREAM_BPS, lasts).await;
        if random.random_bool(0.3) {
            let moved = random.random_range(0..links.len());
            println!("{:?}, link {moved}: another address", story.network.elapsed());
            story.network.change_address(moved);
        }
        for (at, &healthy) in links.iter().enumerate() {
            story.network.change(at, |link| *link = healthy);
        }
        story.stream(STREAM_BPS, SECOND * 5).await;
        if random.random_bool(0.15) {
            println!("{:?}: the receiver is started anew", story.network.elapsed());
            restarts.push(story.network.elapsed());
            story.kill_receiver();
            story.start_receiver().await;
            story.stream(STREAM_BPS, SECOND * 5).await;
        }
    }
    story.finish().await;
    let mut missing = story.missing();
    missing.retain(|&at| !restarts.iter().any(|&at_restart| due_at(at_restart).contains(&at)));
    println!("{} of {} datagrams missing", missing.len(), story.pushed.len());
    let most = story.pushed.len() / MOST_MISSING;
    assert!(missing.len() <= most, "seed {seed}: {} missing: {missing:?}\n{}", missing.len(), story.describe());
}

/// When what is due while the receiver is away was handed over: six round trips until the first link stands again, and
/// two or three until what waited is through.
fn due_at(restart: Duration) -> std::ops::Range<Duration> {
    restart - LATENCY - MS * 400..restart - LATENCY + MS * 2000
}

async fn share(share: u64) {
    let only = std::env::var("STRATA_SEED").ok().map(|text| text.parse().expect("STRATA_SEED is a number"));
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds.filter(|seed| seed % SHARES == share) {
        run(seed).await;
    }
}

macro_rules! shares {
    ($($name:ident $number:literal,)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            share($number).await;
        })*
    };
}

shares! { faults_0 0, faults_1 1, faults_2 2, faults_3 3, }
