//! Which change of a stream's state may follow which: one pure table, `requested → starting → live → stopping →
//! ended | failed`.

use strata_control::EndReason;
use strata_relay_db::StreamState;

/// Something that changes a stream's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// The worker receives; the device may be told.
    WorkerReady,
    /// Media arrives at the worker.
    MediaArrived,
    /// Somebody wants it to end.
    StopAsked,
    /// It is over for this reason.
    Over(EndReason),
}

/// A change that is not in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stream that is {from} cannot follow {change:?}")]
pub(crate) struct NotInTable {
    pub(crate) from: StreamState,
    pub(crate) change: Change,
}

/// The state after a change.
///
/// # Errors
/// [`NotInTable`]: the change is refused.
pub(crate) fn next(from: StreamState, change: Change) -> Result<StreamState, NotInTable> {
    use StreamState::{Ended, Failed, Live, Requested, Starting, Stopping};
    match (from, change) {
        (Requested, Change::WorkerReady) => Ok(Starting),
        (Starting, Change::MediaArrived) => Ok(Live),
        (Requested | Starting | Live, Change::StopAsked) => Ok(Stopping),
        // Whatever goes wrong after somebody asked for the end: the end is what was wanted.
        (Stopping, Change::Over(_)) => Ok(Ended),
        (Requested | Starting | Live, Change::Over(reason)) => Ok(if was_wanted(reason) { Ended } else { Failed }),
        (from, change) => Err(NotInTable { from, change }),
    }
}

/// Whether somebody wanted an end with this reason.
fn was_wanted(reason: EndReason) -> bool {
    matches!(reason, EndReason::StoppedByUser | EndReason::DeviceShutdown)
}

/// A reason as people read it.
pub(crate) fn reason_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::StoppedByUser => "stopped by a person",
        EndReason::SourceMissing => "the source is not there",
        EndReason::SourceUnreadable => "the source cannot be read",
        EndReason::NoInput => "no input for too long",
        EndReason::PluginMissing => "a GStreamer plugin is missing on the device",
        EndReason::EncoderFailed => "the encoder failed again and again",
        EndReason::NoLinks => "the device has no link that reaches the relay",
        EndReason::RefusedByDevice => "the device refused the stream",
        EndReason::DeviceShutdown => "the device restarted or shut down",
        EndReason::DeviceLostStream => "the device no longer runs the stream",
        EndReason::DeviceOffline => "the device was away for too long",
        EndReason::DeviceRevoked => "the device was deleted or its key revoked",
        EndReason::WorkerFailed => "the relay's worker failed again and again",
        EndReason::NoPort => "the relay has no free UDP port",
        EndReason::DiskFull => "a disk is full",
        EndReason::Other => "another reason",
    }
}

#[cfg(test)]
mod tests {
    use StreamState::{Ended, Failed, Live, Requested, Starting, Stopping};

    use super::*;

    #[test]
    fn the_table() {
        let stopped = Change::Over(EndReason::StoppedByUser);
        let broken = Change::Over(EndReason::EncoderFailed);
        let changes = [Change::WorkerReady, Change::MediaArrived, Change::StopAsked, stopped, broken];
        let table: [(StreamState, [Option<StreamState>; 5]); 6] = [
            (Requested, [Some(Starting), None, Some(Stopping), Some(Ended), Some(Failed)]),
            (Starting, [None, Some(Live), Some(Stopping), Some(Ended), Some(Failed)]),
            (Live, [None, None, Some(Stopping), Some(Ended), Some(Failed)]),
            (Stopping, [None, None, None, Some(Ended), Some(Ended)]),
            (Ended, [None; 5]),
            (Failed, [None; 5]),
        ];
        assert_eq!(table.map(|(from, _)| from), StreamState::ALL, "every state has a row");
        for (from, row) in table {
            for (change, expected) in changes.into_iter().zip(row) {
                assert_eq!(next(from, change).ok(), expected, "{from} {change:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_state_and_change() {
        let text = next(Ended, Change::MediaArrived).unwrap_err().to_string();
        assert!(text.contains("ended") && text.contains("MediaArrived"), "{text}");
    }
}
