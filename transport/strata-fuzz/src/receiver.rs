//! The receiver as a whole: any packets over any connections at any times.

use std::time::Duration;

use strata_bond::Time;

use crate::steps;
use crate::watched::Watched;

/// What the receiver was started with.
const LATENCY: Duration = Duration::from_millis(200);
/// A connection's end is a step with this bit set.
const CLOSED: u8 = 0x80;

/// Steps as `steps::read` finds them; the actor is the connection.
pub fn run(data: &[u8]) {
    let mut receiver = Watched::new(Time::from_micros(1_000_000_000), LATENCY);
    for step in steps::read(data) {
        receiver.wait(step.elapsed);
        if step.actor & CLOSED == 0 {
            receiver.packet(step.actor.into(), &step.packet);
        } else {
            receiver.closed((step.actor & !CLOSED).into());
        }
    }
    receiver.finish();
}
