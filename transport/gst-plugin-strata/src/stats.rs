//! The transport's numbers as GStreamer structures, for `gst-launch-1.0`, bindings and scripts.
//!
//! Owns the mapping only; names and units are those of `strata-link`'s statistics.
//! Rust users take the typed statistics instead.

use gstreamer as gst;
use strata_link::{LinkState, SenderStats};

use crate::SourceStats;

fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
        LinkState::Suspect => "suspect",
        LinkState::Dead => "dead",
    }
}

/// The property `stats` of `stratasink`; empty while stopped.
pub(crate) fn sender_structure(stats: Option<&SenderStats>, refused: u64) -> gst::Structure {
    let builder = gst::Structure::builder("strata-sender-stats");
    let Some(stats) = stats else { return builder.build() };
    let links = stats.links.iter().map(|link| {
        gst::Structure::builder("link")
            .field("id", u32::from(link.id))
            .field("name", &link.name)
            .field("state", state_name(link.state))
            .field("rtt-ms", link.rtt_ms)
            .field("queue-ms", link.queue_ms)
            .field("capacity-bps", link.capacity_bps)
            .field("delivered-bps", link.delivered_bps)
            .field("sent-bytes", link.sent_bytes)
            .field("sent-packets", link.sent_packets)
            .field("retransmitted-packets", link.retransmitted_packets)
            .field("parity-packets", link.parity_packets)
            .field("train-packets", link.train_packets)
            .field("lost-packets", link.lost_packets)
            .field("error", &link.error)
            .build()
    });
    let receiver = stats.receiver.unwrap_or_default();
    builder
        .field("target-bps", stats.target_bps)
        .field("offered-bps", stats.offered_bps)
        .field("datagrams-in", stats.datagrams_in)
        .field("bytes-in", stats.bytes_in)
        .field("refused-datagrams", refused)
        .field("unsent-datagrams", stats.unsent_datagrams)
        .field("retransmitted-packets", stats.retransmitted_packets)
        .field("parity-packets", stats.parity_packets)
        .field("receiver-known", stats.receiver.is_some())
        .field("receiver-delivered", receiver.delivered)
        .field("receiver-lost", receiver.lost)
        .field("receiver-late", receiver.late)
        .field("receiver-recovered", receiver.recovered)
        .field("links", gst::Array::new(links))
        .build()
}

/// The property `stats` of `stratasrc`; empty while stopped.
pub(crate) fn receiver_structure(stats: Option<&SourceStats>) -> gst::Structure {
    let builder = gst::Structure::builder("strata-receiver-stats");
    let Some(SourceStats { receiver: stats, local_address }) = stats else { return builder.build() };
    let links = stats.links.iter().map(|link| {
        gst::Structure::builder("link")
            .field("id", u32::from(link.id))
            .field("connected", link.connected)
            .field("received-packets", link.received_packets)
            .field("received-bytes", link.received_bytes)
            .field("lost-packets", link.lost_packets)
            .build()
    });
    builder
        .field("local-address", local_address.to_string())
        .field("session", &stats.session)
        .field("sessions", stats.sessions)
        .field("delivered", stats.delivered)
        .field("delivered-bytes", stats.delivered_bytes)
        .field("lost", stats.lost)
        .field("late", stats.late)
        .field("recovered", stats.recovered)
        .field("recovered-by-parity", stats.recovered_by_parity)
        .field("duplicates", stats.duplicates)
        .field("buffer-ms", stats.buffer_ms)
        .field("links", gst::Array::new(links))
        .build()
}
