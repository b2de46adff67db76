//! Any bytes as one packet, at either end: an error or not, never a panic.

use std::time::Duration;

use bytes::Bytes;
use strata_bond::{ConnectionId, Receiver, ReceiverEvent, Sender, Time};

const LATENCY: Duration = Duration::from_millis(500);

/// One packet to a fresh receiver and to a fresh sender.
///
/// # Panics
/// When an end takes what only the other may say.
pub fn run(data: &[u8]) {
    let packet = Bytes::copy_from_slice(data);
    let mut receiver = Receiver::new(Time::ZERO, LATENCY, 1);
    let event = receiver.handle_packet(Time::ZERO, ConnectionId(0), &packet);
    let malformed = matches!(event, Some(ReceiverEvent::Malformed(_)));
    assert_eq!(receiver.stats(Time::ZERO).malformed_packets, u64::from(malformed));
    assert_eq!(receiver.poll_release(Time::ZERO), None, "nothing is released by one packet at once");
    let mut sender = Sender::new(Time::ZERO, LATENCY, 1);
    let understood = sender.handle_packet(Time::ZERO, &packet).is_ok();
    assert!(malformed || !understood, "both ends took the same packet");
    assert_eq!(sender.poll_transmit(Time::ZERO), None, "a sender without links sends nothing");
}
