//! The agent's states, as a pure state machine.
//!
//! Owns which state follows which event and what is to be done then. It knows
//! how many streams run but has no action that touches one: losing the relay
//! cannot stop media. Does not own the connection or the streams.

use serde::Serialize;

/// What the device does, as people see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It looks for streams of its former life.
    Boot,
    /// It has no login at the relay; streams may run all the same.
    Connecting,
    /// Logged in, no stream.
    Idle,
    /// Logged in, at least one stream.
    Streaming,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The streams of the former life are taken over.
    Booted,
    /// The relay accepted the login.
    LoggedIn,
    /// The connection is gone.
    RelayLost,
    /// So many streams run now.
    Streams(usize),
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Look for the relay, for ever.
    Connect,
    /// Send the ends of streams that the relay has not acknowledged.
    ReportEnds,
    /// Send `device.status`.
    SendStatus,
    /// Write the state for people.
    Publish,
}

/// State and what decides the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The state.
    pub state: AgentState,
    /// How many streams run.
    pub streams: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Self { state: AgentState::Boot, streams: 0 }
    }
}

impl Machine {
    /// The state after `event`, and what is to be done. Ends are reported before
    /// the status, so that the relay never sees a stream missing without its reason.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Action>) {
        use AgentState::{Boot, Connecting, Idle, Streaming};
        let streams = if let Event::Streams(count) = event { count } else { self.streams };
        let logged_in = if streams == 0 { Idle } else { Streaming };
        let (state, actions) = match (self.state, event) {
            (Boot, Event::Booted) => (Connecting, vec![Action::Connect, Action::Publish]),
            (Connecting, Event::LoggedIn) => (logged_in, vec![Action::ReportEnds, Action::SendStatus, Action::Publish]),
            (Idle | Streaming, Event::RelayLost) => (Connecting, vec![Action::Publish]),
            (Idle | Streaming, Event::Streams(_)) => (logged_in, vec![Action::SendStatus, Action::Publish]),
            (Boot | Connecting, Event::Streams(_)) => (self.state, vec![Action::Publish]),
            (state, Event::Booted | Event::LoggedIn | Event::RelayLost) => (state, vec![]),
        };
        (Self { state, streams }, actions)
    }
}

#[cfg(test)]
mod tests {
    use super::AgentState::{Boot, Connecting, Idle, Streaming};
    use super::*;

    #[test]
    fn every_state_meets_every_event() {
        use Action::{Connect, Publish, ReportEnds, SendStatus};
        let table: &[(AgentState, usize, Event, AgentState, &[Action])] = &[
            (Boot, 0, Event::Booted, Connecting, &[Connect, Publish]),
            (Boot, 1, Event::Booted, Connecting, &[Connect, Publish]),
            (Boot, 0, Event::LoggedIn, Boot, &[]),
            (Boot, 0, Event::RelayLost, Boot, &[]),
            (Boot, 0, Event::Streams(2), Boot, &[Publish]),
            (Connecting, 0, Event::Booted, Connecting, &[]),
            (Connecting, 0, Event::LoggedIn, Idle, &[ReportEnds, SendStatus, Publish]),
            (Connecting, 1, Event::LoggedIn, Streaming, &[ReportEnds, SendStatus, Publish]),
            (Connecting, 1, Event::RelayLost, Connecting, &[]),
            (Connecting, 1, Event::Streams(0), Connecting, &[Publish]),
            (Idle, 0, Event::Booted, Idle, &[]),
            (Idle, 0, Event::LoggedIn, Idle, &[]),
            (Idle, 0, Event::RelayLost, Connecting, &[Publish]),
            (Idle, 0, Event::Streams(1), Streaming, &[SendStatus, Publish]),
            (Streaming, 1, Event::Booted, Streaming, &[]),
            (Streaming, 1, Event::LoggedIn, Streaming, &[]),
            (Streaming, 1, Event::RelayLost, Connecting, &[Publish]),
            (Streaming, 2, Event::Streams(1), Streaming, &[SendStatus, Publish]),
            (Streaming, 1, Event::Streams(0), Idle, &[SendStatus, Publish]),
        ];
        for (state, streams, event, expected, actions) in table {
            let (next, done) = Machine { state: *state, streams: *streams }.step(*event);
            assert_eq!(next.state, *expected, "{state:?} {event:?}");
            assert_eq!(done, *actions, "{state:?} {event:?}");
        }
    }

    #[test]
    fn losing_the_relay_keeps_the_streams_in_mind() {
        let live = Machine { state: Streaming, streams: 2 };
        let (lost, _) = live.step(Event::RelayLost);
        assert_eq!(lost.streams, 2);
        assert_eq!(lost.step(Event::LoggedIn).0, live);
    }
}
