//! A thousand random networks under simulated time, each from its seed: what must arrive arrives, once, in order.
//!
//! Rates, delays, jitter, loss alone and in bursts, overtaken and doubled packets, small packets, blackouts of one
//! link and of all, black holes either way, new addresses, new connections, either end started anew, clocks that
//! drift. The clock on the wall may jump as it likes: neither the engine nor `strata-link` can read it, for their
//! `clippy.toml` forbid `SystemTime`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails, and tells its figures")]

mod oracle;

use std::time::Duration;

use strata_bond::Time;
use strata_sim::Sim;
use strata_sim::network::Network;

use oracle::Oracle;

/// Networks in all, unless `STRATA_NETWORKS` says otherwise; `STRATA_SEED` names the only one.
const NETWORKS: u64 = 1000;
/// They are shared out among so many tests, which run side by side.
const SHARES: u64 = 8;

/// Says how to repeat a network when its test fails.
struct Replay<'a>(&'a Network);

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("repeat with: STRATA_SEED={} cargo test -p strata-sim --test networks\n{}", self.0.seed, self.0);
        }
    }
}

/// How many datagrams were handed over, had to arrive, and had to although something was wrong.
#[derive(Debug, Default)]
struct Judged {
    all: u64,
    must: u64,
    must_in_fault: u64,
    faulty: u64,
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn share(share: u64) {
    let seeds: Vec<u64> = match number_of("STRATA_SEED") {
        Some(seed) => vec![seed],
        None => (0..number_of("STRATA_NETWORKS").unwrap_or(NETWORKS)).collect(),
    };
    let mut judged = Judged::default();
    let mut failed = String::new();
    for seed in seeds.into_iter().filter(|seed| seed % SHARES == share) {
        let network = Network::from_seed(seed);
        if let Some(missing) = judge(&network, &mut judged) {
            failed = format!("{failed}STRATA_SEED={seed}: {missing}\n{network}\n");
        }
    }
    println!("{judged:?}");
    assert!(failed.is_empty(), "{failed}");
    // The oracle says something of most datagrams, also where something is wrong. One network alone may be hopeless.
    if std::env::var_os("STRATA_SEED").is_none() {
        assert!(judged.must * 100 > judged.all * 50, "{judged:?}");
        assert!(judged.must_in_fault * 100 > judged.faulty * 15, "{judged:?}");
    }
}

/// What is missing that had to arrive.
fn judge(network: &Network, judged: &mut Judged) -> Option<String> {
    let _replay = Replay(network);
    let sim = network.run();
    let there = numbers_in_order(&sim);
    let oracle = Oracle::new(network, &sim);
    let mut missing = Vec::new();
    for ((pushed, _), there) in sim.pushed.iter().zip(&there) {
        let at = pushed.since(Time::ZERO);
        let must = oracle.must(at) || at >= network.flows();
        let faulty = (0..network.links.len()).any(|link| network.faults_at(link, at).next().is_some());
        judged.all += 1;
        judged.must += u64::from(must);
        judged.faulty += u64::from(faulty);
        judged.must_in_fault += u64::from(must && faulty);
        if must && !there {
            missing.push(at);
        }
    }
    (!missing.is_empty())
        .then(|| format!("{} datagrams had to arrive, handed over at {}", missing.len(), spans(&missing)))
}

/// Which datagrams came out; panics unless each came once, in order and unchanged.
fn numbers_in_order(sim: &Sim) -> Vec<bool> {
    let mut there = vec![false; sim.pushed.len()];
    let (mut next, mut session, mut before) = (0, 0, None);
    for (at, release) in &sim.released {
        let number = u64::from_be_bytes(release.payload[..8].try_into().unwrap());
        assert!(number >= next, "{number} came out after {} at {at:?}", next - 1);
        let number_at = usize::try_from(number).unwrap();
        assert_eq!(sim.pushed[number_at].1, release.payload, "{number} was changed");
        there[number_at] = true;
        if release.new_session {
            session = number - release.sequence;
        } else if let Some(before) = before {
            assert!(release.sequence > before, "sequence {} after {before}", release.sequence);
        }
        assert_eq!(release.sequence + session, number, "sequences count the datagrams of a session");
        (next, before) = (number + 1, Some(release.sequence));
    }
    there
}

/// Moments, close ones together.
fn spans(moments: &[Duration]) -> String {
    let mut spans: Vec<(Duration, Duration, usize)> = Vec::new();
    for &at in moments {
        match spans.last_mut() {
            Some((_, end, count)) if at.saturating_sub(*end) < Duration::from_millis(50) => {
                (*end, *count) = (at, *count + 1)
            }
            _ => spans.push((at, at, 1)),
        }
    }
    spans
        .iter()
        .map(|(from, until, count)| format!("{:.3} to {:.3} s ({count})", from.as_secs_f64(), until.as_secs_f64()))
        .collect::<Vec<_>>()
        .join(", ")
}

macro_rules! shares {
    ($($name:ident $number:literal,)*) => {
        $(#[test]
        fn $name() {
            share($number);
        })*
    };
}

shares! {
    networks_0 0, networks_1 1, networks_2 2, networks_3 3,
    networks_4 4, networks_5 5, networks_6 6, networks_7 7,
}
