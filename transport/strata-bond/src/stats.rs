//! What the two ends count, as people and programs read it.
//!
//! Every number says what it measures. Counters are cumulative since the start
//! of the end that reports them and never smoothed: loss shown to people is what
//! the viewer lost, after repair. Rates cover the last second unless stated.

use serde::{Deserialize, Serialize};

/// What a sender is to its link right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// No connection yet, or being connected again.
    #[default]
    Connecting,
    /// Carries its share.
    Up,
    /// Acknowledgements are overdue: no new packets until one arrives.
    Suspect,
    /// Nothing was acknowledged for max(3 round trips, 250 ms): its packets went elsewhere, only probes go there.
    Dead,
}

/// One link as its sender sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct SenderLinkStats {
    /// The link's number, 0..=15, as configured.
    pub id: u8,
    /// The link's name, as configured.
    pub name: String,
    /// Whether it carries packets.
    pub state: LinkState,
    /// Last round trip, packet to report, in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// One-way delay above that of the fastest link, queue included, in milliseconds.
    pub extra_delay_ms: f64,
    /// Delay that packets meet in queues on the link's way (now − least of the last 10 s), in milliseconds.
    pub queue_ms: f64,
    /// What the link is known to carry, in bits of link packets per second: as trains of packets showed in the last
    /// minute, or as it was when it was full; 0 before: a link that was given little shows little.
    pub capacity_bps: u64,
    /// What the receiver got over this link in the last second, in bits of link packets per second.
    pub delivered_bps: u64,
    /// Bytes handed to the link: payload and bond header, repeats, parity and probes included, QUIC and UDP headers not.
    pub sent_bytes: u64,
    /// Packets handed to the link, repeats, parity and probes included.
    pub sent_packets: u64,
    /// Of these, repeats of packets that another link or this one had lost.
    pub retransmitted_packets: u64,
    /// Of these, parity: what losses are repaired from that no repeat could make good in time.
    pub parity_packets: u64,
    /// Of these, copies sent to find out whether a dead link lives again.
    pub probe_packets: u64,
    /// Of these, packets without data that measure what it could carry.
    pub train_packets: u64,
    /// Packets that this link lost (before repair).
    pub lost_packets: u64,
    /// Bytes sent over this link and not yet acknowledged nor lost.
    pub in_flight_bytes: u64,
    /// The most bytes that may be in flight on this link now.
    pub window_bytes: u64,
    /// How often the link was connected.
    pub connects: u64,
    /// Why the link is not up, in words; empty while it is.
    pub error: String,
}

/// The receiver's counters as last reported to the sender: what the viewer really got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ReceiverTruth {
    /// Datagrams handed out in order and in time, in this session.
    pub delivered: u64,
    /// Datagrams given up after repair, late ones included, in this session.
    pub lost: u64,
    /// Of the lost ones, those that arrived after their time.
    pub late: u64,
    /// Copies that arrived although the datagram was there already.
    pub duplicates: u64,
    /// Datagrams that arrived by repair only: a repeat or parity.
    pub recovered: u64,
    /// How old these numbers are, in milliseconds.
    pub age_ms: u64,
}

/// What a sender counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct SenderStats {
    /// The session's id, chosen at start: 16 hexadecimal digits.
    pub session: String,
    /// Milliseconds since the sender was started.
    pub uptime_ms: u64,
    /// The configured latency, in milliseconds.
    pub latency_ms: u64,
    /// The bitrate of the stream that can be sustained now, in bits of payload per second.
    pub target_bps: u64,
    /// What the application handed over in the last second, in bits of payload per second.
    pub offered_bps: u64,
    /// Datagrams the application handed over.
    pub datagrams_in: u64,
    /// Their payload bytes.
    pub bytes_in: u64,
    /// Link packets that repeated an earlier one (sum over the links).
    pub retransmitted_packets: u64,
    /// Link packets of parity (sum over the links).
    pub parity_packets: u64,
    /// Datagrams that were never sent, because no link could have delivered them in time.
    pub unsent_datagrams: u64,
    /// Datagrams waiting for their first transmission now.
    pub queue_datagrams: u64,
    /// How long the oldest of them has been waiting, in milliseconds.
    pub queue_ms: f64,
    /// What the receiver says; none before its first report.
    pub receiver: Option<ReceiverTruth>,
    /// Each link, by id.
    pub links: Vec<SenderLinkStats>,
}

/// One link as the receiver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ReceiverLinkStats {
    /// The link's number, as its sender configured it.
    pub id: u8,
    /// Whether its connection is open.
    pub connected: bool,
    /// Link packets received in this session.
    pub received_packets: u64,
    /// Their bytes: payload and bond header.
    pub received_bytes: u64,
    /// Link packets missing in the link's own sequence (before repair).
    pub lost_packets: u64,
}

/// What a receiver counts, over all its sessions unless stated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ReceiverStats {
    /// The current session's id: 16 hexadecimal digits; empty before the first.
    pub session: String,
    /// Sessions seen: more than 1 means the sender was started anew.
    pub sessions: u64,
    /// Milliseconds since the receiver was started.
    pub uptime_ms: u64,
    /// The configured latency, in milliseconds.
    pub latency_ms: u64,
    /// Datagrams handed out in order and in time.
    pub delivered: u64,
    /// Their payload bytes.
    pub delivered_bytes: u64,
    /// Datagrams given up after repair, late ones included.
    pub lost: u64,
    /// Of the lost ones, those that arrived after their time.
    pub late: u64,
    /// Copies that arrived although the datagram was there already.
    pub duplicates: u64,
    /// Datagrams that arrived by repair only: a repeat or parity.
    pub recovered: u64,
    /// Of the recovered ones, those that were put together from parity; some would have arrived a little later.
    pub recovered_by_parity: u64,
    /// Datagrams waiting for their time now.
    pub buffer_datagrams: u64,
    /// Send time covered by the waiting datagrams, oldest to newest, in milliseconds.
    pub buffer_ms: f64,
    /// Packets that could not be read and were ignored.
    pub malformed_packets: u64,
    /// Each link of the current session, by id.
    pub links: Vec<ReceiverLinkStats>,
}
