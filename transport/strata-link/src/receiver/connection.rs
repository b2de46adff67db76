//! One connection of the allowed sender: welcome, packets in, reports out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use strata_bond::{ConnectionId, ParseError, ReceiverEvent, ReportOut};

use super::Shared;
use crate::quic;

pub(super) async fn run(shared: &Arc<Shared>, connection: quinn::Connection) {
    let id = ConnectionId(shared.next_connection.fetch_add(1, Ordering::Relaxed));
    let remote = connection.remote_address();
    if let Err(error) = welcome(&connection).await {
        tracing::debug!("{remote} left before it was welcomed: {error}");
        return;
    }
    tracing::info!("connected: {remote}");
    shared.connections().insert(id, connection.clone());
    let reason = loop {
        match connection.read_datagram().await {
            Ok(packet) => handle(shared, id, &connection, &packet),
            Err(error) => break error,
        }
    };
    tracing::info!("connection from {remote} ended: {reason}");
    shared.connections().remove(&id);
    shared.engine().connection_closed(id);
}

/// Tells the sender that its key was checked.
async fn welcome(connection: &quinn::Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(&[quic::WELCOME]).await?;
    stream.finish()?;
    Ok(())
}

fn handle(shared: &Shared, id: ConnectionId, connection: &quinn::Connection, packet: &Bytes) {
    let now = shared.clock.now();
    let (event, reports, release, report) = {
        let mut engine = shared.engine();
        let event = engine.handle_packet(now, id, packet);
        let reports: Vec<ReportOut> = std::iter::from_fn(|| engine.poll_report(now)).collect();
        (event, reports, engine.next_release(), engine.next_report())
    };
    shared.wake_sleepers(now, release, report);
    shared.send_reports(reports);
    match event {
        None => {}
        Some(ReceiverEvent::NewSession { replaced }) => {
            tracing::info!("a new session starts over {}", connection.remote_address());
            close(shared, &replaced, quic::REPLACED);
        }
        Some(ReceiverEvent::Renewed { former }) => close(shared, &former, quic::RENEWED),
        Some(ReceiverEvent::Replaced) => connection.close(quic::REPLACED, b""),
        Some(ReceiverEvent::Malformed(ParseError::Version(version))) => {
            connection.close(quic::VERSION, ParseError::Version(version).to_string().as_bytes());
        }
        Some(ReceiverEvent::Malformed(error)) => {
            tracing::debug!("ignored a packet from {}: {error}", connection.remote_address());
        }
    }
}

fn close(shared: &Shared, ids: &[ConnectionId], code: quinn::VarInt) {
    let connections: Vec<_> = {
        let mut all = shared.connections();
        ids.iter().filter_map(|id| all.remove(id)).collect()
    };
    for connection in connections {
        connection.close(code, b"");
    }
}
