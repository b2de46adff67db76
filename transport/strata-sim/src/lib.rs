//! The bond under simulated time: a sender, a receiver and the links between them
//! in one thread, with a clock that jumps from event to event.
//!
//! Minutes of network take moments, and everything is decided by the seed: the
//! same seed, the same run. Links are those of the emulator ([`strata_netem::lane`]).

mod clock;
mod fading;
mod net;
pub mod network;
mod outcome;
pub mod scenario;
mod sim;

pub use clock::Clock;
pub use net::Net;

pub use outcome::Outcome;
pub use sim::{MS, STRANGER, Sim};
