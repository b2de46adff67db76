//! Desired against running: what to do when a device says what it runs. Pure; applied on every status and login.
//!
//! A lost socket means "unobserved", never "dead": nothing happens here until
//! the device is heard again. Every action is idempotent on the device.

use strata_control::{EndReason, StreamId};
use strata_relay_db::StreamState;

/// How many reports in a row a live stream may be missing from: the device may still be taking its encoders back
/// after a restart of its agent when it sends the first.
const MISSES_ALLOWED: u32 = 1;

/// What the relay knows of a device's stream that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Desired {
    /// The stream.
    pub(crate) id: StreamId,
    /// Where it is in its life.
    pub(crate) state: StreamState,
    /// Whether a command about it waits for the device's answer.
    pub(crate) command_pending: bool,
    /// In how many reports in a row it was missing.
    pub(crate) misses: u32,
}

/// What follows for one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// It runs as desired.
    Adopt(StreamId),
    /// It is missing: count that.
    Miss(StreamId),
    /// It should run and does not yet: tell the device.
    Start(StreamId),
    /// It should no longer run: tell the device.
    Stop(StreamId),
    /// It is gone.
    End(StreamId, EndReason),
    /// The device runs what is over, or what nobody knows: tell it to stop.
    StopStranger(StreamId),
}

/// What follows from what is desired and what runs.
pub(crate) fn reconcile(desired: &[Desired], running: &[StreamId]) -> Vec<Action> {
    let known = desired.iter().filter_map(|stream| action(stream, running.contains(&stream.id)));
    let strangers =
        running.iter().filter(|id| !desired.iter().any(|stream| stream.id == **id)).map(|id| Action::StopStranger(*id));
    known.chain(strangers).collect()
}

fn action(stream: &Desired, runs: bool) -> Option<Action> {
    let id = stream.id;
    match (stream.state, runs) {
        (StreamState::Starting | StreamState::Live, true) => Some(Action::Adopt(id)),
        (StreamState::Starting, false) if stream.command_pending => None,
        (StreamState::Starting, false) => Some(Action::Start(id)),
        (StreamState::Live, false) if stream.misses < MISSES_ALLOWED => Some(Action::Miss(id)),
        (StreamState::Live, false) => Some(Action::End(id, EndReason::DeviceLostStream)),
        (StreamState::Stopping, true) if stream.command_pending => None,
        (StreamState::Stopping, true) => Some(Action::Stop(id)),
        (StreamState::Stopping, false) => Some(Action::End(id, EndReason::StoppedByUser)),
        // Its worker is not ready: it will be told then.
        (StreamState::Requested, _) => None,
        (StreamState::Ended | StreamState::Failed, true) => Some(Action::StopStranger(id)),
        (StreamState::Ended | StreamState::Failed, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u128) -> StreamId {
        StreamId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn the_table() {
        use StreamState::{Ended, Failed, Live, Requested, Starting, Stopping};
        let one = id(1);
        let lost = Action::End(one, EndReason::DeviceLostStream);
        let stopped = Action::End(one, EndReason::StoppedByUser);
        // State, command pending, misses, runs → action
        for (state, command_pending, misses, runs, expected) in [
            (Requested, false, 0, false, None),
            (Requested, false, 0, true, None),
            (Starting, false, 0, true, Some(Action::Adopt(one))),
            (Starting, false, 0, false, Some(Action::Start(one))),
            (Starting, true, 0, false, None),
            (Live, false, 0, true, Some(Action::Adopt(one))),
            (Live, false, 0, false, Some(Action::Miss(one))),
            (Live, false, 1, false, Some(lost)),
            (Stopping, false, 0, true, Some(Action::Stop(one))),
            (Stopping, true, 0, true, None),
            (Stopping, false, 0, false, Some(stopped)),
            (Ended, false, 0, true, Some(Action::StopStranger(one))),
            (Ended, false, 0, false, None),
            (Failed, false, 0, true, Some(Action::StopStranger(one))),
        ] {
            let desired = [Desired { id: one, state, command_pending, misses }];
            let running: &[StreamId] = if runs { &[one] } else { &[] };
            let actions = reconcile(&desired, running);
            assert_eq!(actions, expected.into_iter().collect::<Vec<_>>(), "{state} {command_pending} {misses} {runs}");
        }
    }

    #[test]
    fn what_nobody_knows_is_stopped() {
        assert_eq!(reconcile(&[], &[id(7)]), [Action::StopStranger(id(7))]);
    }

    fn any_desired() -> impl Strategy<Value = Vec<Desired>> {
        let one = (0..6usize, any::<bool>(), 0..4u32);
        proptest::collection::vec(one, 0..5).prop_map(|streams| {
            let numbered = streams.into_iter().enumerate();
            numbered
                .map(|(number, (state, command_pending, misses))| Desired {
                    id: id(number as u128),
                    state: StreamState::ALL[state],
                    command_pending,
                    misses,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_running_stream_that_should_run_is_never_touched(
            desired in any_desired(), running in proptest::collection::vec(0..8u128, 0..6)
        ) {
            let running: Vec<StreamId> = running.into_iter().map(id).collect();
            for action in reconcile(&desired, &running) {
                if let Action::Stop(id) | Action::End(id, _) | Action::StopStranger(id) | Action::Start(id) = action {
                    let wanted = desired.iter().any(|stream| {
                        stream.id == id && matches!(stream.state, StreamState::Starting | StreamState::Live)
                    });
                    prop_assert!(!(wanted && running.contains(&id)), "{action:?}");
                }
            }
        }

        #[test]
        fn whatever_runs_and_should_not_is_told_so_or_was_told(
            desired in any_desired(), running in proptest::collection::vec(0..8u128, 0..6)
        ) {
            let running: Vec<StreamId> = running.into_iter().map(id).collect();
            let actions = reconcile(&desired, &running);
            for id in running {
                let known = desired.iter().find(|stream| stream.id == id);
                let over = known.is_none_or(|stream| stream.state.is_over());
                if over {
                    prop_assert!(actions.contains(&Action::StopStranger(id)));
                } else if known.is_some_and(|stream| stream.state == StreamState::Stopping && !stream.command_pending) {
                    prop_assert!(actions.contains(&Action::Stop(id)));
                }
            }
        }
    }
}
