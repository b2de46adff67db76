//! What any bytes may do to each parser and to both ends of the bond.
//!
//! Each module is the body of one fuzz target: it takes bytes and panics where
//! a promise is broken. `fuzz/` runs them under libFuzzer, `tests/corpus.rs`
//! with the seeds and a bounded number of mutations. Owns no parser: all goes
//! through the public functions of the crates under test.

pub mod control;
pub mod emulator;
pub mod identity;
pub mod packet;
pub mod pair;
pub mod receiver;
pub mod receiver_steps;
pub mod seeds;
pub mod sender;
pub mod sender_steps;
mod steps;
pub mod transport_stream;
mod watched;
mod wire;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also of its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// What is done with any bytes.
    pub run: fn(&[u8]),
    /// Where its seeds are, below this crate.
    pub seeds: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "packet", run: packet::run, seeds: &["fuzz/seeds/packet"] },
    Target { name: "receiver", run: receiver::run, seeds: &["fuzz/seeds/receiver"] },
    Target { name: "receiver_steps", run: receiver_steps::run, seeds: &["fuzz/seeds/receiver_steps"] },
    Target { name: "sender", run: sender::run, seeds: &["fuzz/seeds/sender"] },
    Target { name: "sender_steps", run: sender_steps::run, seeds: &["fuzz/seeds/sender_steps"] },
    Target { name: "pair", run: pair::run, seeds: &["fuzz/seeds/pair"] },
    Target { name: "transport_stream", run: transport_stream::run, seeds: &["fuzz/seeds/transport_stream"] },
    Target {
        name: "control",
        run: control::run,
        seeds: &["fuzz/seeds/control", "../strata-control/tests/golden/device", "../strata-control/tests/golden/relay"],
    },
    Target { name: "identity", run: identity::run, seeds: &["fuzz/seeds/identity"] },
    Target { name: "emulator", run: emulator::run, seeds: &["fuzz/seeds/emulator"] },
];
