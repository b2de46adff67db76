//! Seeded link emulator for demos, tests and benches: UDP links on loopback, each
//! with its own rate, delay, jitter, loss and queue, cut and restored on command.
//!
//! [`Emulator`] runs in this process; the `strata-netem` program runs one in a
//! process of its own, which [`control::Client`] commands.

pub mod control;
mod emulator;
pub mod lane;
mod link;
pub mod protocol;
mod trace;

pub use emulator::{Emulator, EmulatorError};
pub use trace::{Trace, TraceError};
