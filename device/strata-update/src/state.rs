//! An update's states, as a pure state machine.
//!
//! Owns which state follows which event and what is to be done then, at run time
//! and when the daemon starts, however the time before ended. A new state is on
//! the disk before the actions that come with it are begun ([`crate::store`]).
//! Does not own: how an action is done, reasons, times, the disk.

use serde::{Deserialize, Serialize};
use strata_control::UpdateStep;

/// How often an install that the power cut off is begun anew.
pub const MOST_RESUMES: u8 = 3;

/// How far the newest update is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There was none yet.
    #[default]
    Idle,
    /// Accepted; it begins as soon as it may.
    Waiting,
    /// RAUC fetches and writes it.
    Downloading,
    /// It is in the slot, which is the next to boot; the reboot waits until it may.
    Installed,
    /// Going back was ordered: the other slot is about to be made the next to boot.
    Switching,
    /// The reboot was ordered.
    RebootPending,
    /// The new system runs and is being checked.
    Verifying,
    /// It passed.
    Good,
    /// It failed; the former system is the one to run.
    RolledBack,
    /// It never became the one to boot.
    Refused,
}

impl State {
    /// As the relay knows it; none before the first update.
    #[must_use]
    pub fn progress_step(self) -> Option<UpdateStep> {
        Some(match self {
            Self::Idle => return None,
            Self::Waiting => UpdateStep::Waiting,
            Self::Downloading => UpdateStep::Downloading,
            Self::Installed => UpdateStep::Installed,
            Self::Switching | Self::RebootPending => UpdateStep::RebootPending,
            Self::Verifying => UpdateStep::Verifying,
            Self::Good => UpdateStep::Good,
            Self::RolledBack => UpdateStep::RolledBack,
            Self::Refused => UpdateStep::Refused,
        })
    }
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The daemon started.
    Started(Start),
    /// A bundle is to be installed.
    InstallAsked,
    /// The other slot's system is to be booted.
    RollbackAsked,
    /// Nothing forbids to install it any more.
    Allowed,
    /// It cannot or must not be installed.
    Refused,
    /// RAUC has written it and made it the next to boot.
    Installed,
    /// The other slot was made the next to boot.
    Switched,
    /// The reboot may be now.
    RebootDue,
    /// The new system passed its check.
    Passed,
    /// The new system failed its check.
    Failed,
    /// The failed system, still running, was marked bad and the former one made the next to boot.
    Rejected,
    /// The former system, running again, has marked the failed one bad and kept its journal.
    Settled,
}

/// How the daemon's start looks from the state on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Whether the slot runs that the update goes to.
    pub on_target: bool,
    /// Whether the device booted since the state was written.
    pub new_boot: bool,
    /// Whether the slot that runs may hold what the update wrote, or never ran well: only the check can tell.
    pub unproven: bool,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Wait until it may be installed, and look into the bundle.
    Prepare,
    /// Have RAUC install it.
    Install,
    /// Make the other slot the next to boot.
    Switch,
    /// Wait until the reboot may be.
    AwaitReboot,
    /// Reboot.
    Reboot,
    /// Check the new system.
    Verify,
    /// Call the running slot good as soon as its agent is ready.
    Confirm,
    /// Call the running slot good at once: it passed.
    CallGood,
    /// Mark the running slot bad and make the other one the next to boot.
    Reject,
    /// Mark the other slot bad, make this one the first to boot, keep the journal of what failed.
    Settle,
    /// Take back what RAUC may have made of the other slot, once it is done: then the update is refused.
    TakeBack,
}

/// The state and what decides the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The state.
    pub state: State,
    /// How often the install was begun anew after the power was cut.
    #[serde(default)]
    pub resumes: u8,
    /// Rolled back, and the failed slot will not be booted again by itself.
    #[serde(default)]
    pub marked: bool,
    /// Rolled back, and the journal of what failed is kept.
    #[serde(default)]
    pub settled: bool,
}

impl Machine {
    /// This state, with nothing remembered.
    #[must_use]
    pub fn at(state: State) -> Self {
        Self { state, resumes: 0, marked: false, settled: false }
    }

    /// Whether an update is under way: neither a new one nor a reset may interfere.
    #[must_use]
    pub fn is_busy(self) -> bool {
        use State::{Downloading, Installed, RebootPending, Switching, Verifying};
        matches!(self.state, Downloading | Installed | Switching | RebootPending | Verifying)
            || self.state == State::RolledBack && !self.marked
    }

    /// Whether the slot that the update goes to is the one to run.
    #[must_use]
    pub fn expects_target(self) -> bool {
        matches!(self.state, State::Installed | State::RebootPending | State::Verifying | State::Good)
    }

    /// The state after `event`, and what is to be done. An event that does not fit changes nothing.
    #[must_use]
    pub fn step(self, event: Event) -> (Self, Vec<Action>) {
        use State::{
            Downloading, Good, Idle, Installed, RebootPending, Refused, RolledBack, Switching, Verifying, Waiting,
        };
        match (self.state, event) {
            (_, Event::Started(start)) => self.start(start),
            // What RAUC may have begun for an order that this one replaces counts on.
            (Idle | Waiting | Good | RolledBack | Refused, Event::InstallAsked) if !self.is_busy() => {
                (Self { resumes: self.resumes, ..Self::at(Waiting) }, vec![Action::Prepare])
            }
            (Idle | Waiting | Good | RolledBack | Refused, Event::RollbackAsked) if !self.is_busy() => {
                (Self::at(Switching), vec![Action::Switch])
            }
            (Waiting, Event::Allowed) => (Self { state: Downloading, ..self }, vec![Action::Install]),
            (Waiting | Downloading | Switching, Event::Refused) => (Self::at(Refused), vec![]),
            (Downloading, Event::Installed) => (Self::at(Installed), vec![Action::AwaitReboot]),
            (Switching, Event::Switched) => (Self::at(RebootPending), vec![Action::Reboot]),
            (Installed, Event::RebootDue) => (Self::at(RebootPending), vec![Action::Reboot]),
            (Verifying, Event::Passed) => (Self::at(Good), vec![Action::CallGood]),
            (Verifying, Event::Failed) => (Self::at(RolledBack), vec![Action::Reject]),
            (RolledBack, Event::Rejected) => (Self { marked: true, ..self }, vec![Action::Reboot]),
            (RolledBack, Event::Settled) => (Self { marked: true, settled: true, ..self }, vec![]),
            (
                _,
                Event::InstallAsked
                | Event::RollbackAsked
                | Event::Allowed
                | Event::Refused
                | Event::Installed
                | Event::Switched
                | Event::RebootDue
                | Event::Passed
                | Event::Failed
                | Event::Rejected
                | Event::Settled,
            ) => (self, vec![]),
        }
    }

    /// What the state on the disk means now. Everything but a running check and a finished one also calls the slot
    /// good as soon as its agent is ready, as on any boot.
    fn start(self, Start { on_target, new_boot, unproven }: Start) -> (Self, Vec<Action>) {
        use State::{
            Downloading, Good, Idle, Installed, RebootPending, Refused, RolledBack, Switching, Verifying, Waiting,
        };
        let fell_back = (Self::at(RolledBack), vec![Action::Settle, Action::Confirm]);
        match (self.state, on_target) {
            // RAUC was done all the same, after its end had been given up or was awaited anew.
            (Waiting | Refused, _) if unproven => (Self::at(Verifying), vec![Action::Verify]),
            (Idle | Refused, false) => (self, vec![Action::Confirm]),
            (Waiting, false) => (self, vec![Action::Confirm, Action::Prepare]),
            // RAUC may still be at work for the daemon before, or be done: both are found out by asking it again.
            (Downloading, false) if self.resumes < MOST_RESUMES => {
                (Self { state: Waiting, resumes: self.resumes + 1, ..self }, vec![Action::Confirm, Action::Prepare])
            }
            (Downloading, false) => (self, vec![Action::Confirm, Action::TakeBack]),
            (Switching, false) if new_boot => (Self::at(Refused), vec![Action::Confirm]),
            (Switching, false) => (self, vec![Action::Switch]),
            // RAUC was done, only its end was not written down; or the reboot came by itself.
            (Downloading | Switching | Installed | RebootPending | Verifying, true) => {
                (Self::at(Verifying), vec![Action::Verify])
            }
            (Installed | RebootPending, false) if !new_boot => (Self::at(Installed), vec![Action::AwaitReboot]),
            (Installed | RebootPending | Verifying | Good, false) => fell_back,
            (Good, true) => (self, vec![Action::Confirm]),
            (RolledBack, false) if self.settled => (self, vec![Action::Confirm]),
            (RolledBack, false) => (self, vec![Action::Settle, Action::Confirm]),
            (RolledBack, true) if !self.marked => (self, vec![Action::Reject]),
            // The former system does not boot either: better this one than none.
            (RolledBack, true) => (self, vec![Action::Confirm]),
            // The system that ran fell back to the slot that the update would have gone to.
            (Idle | Refused, true) => (self, vec![Action::Settle, Action::Confirm]),
            (Waiting, true) => (Self::at(Refused), vec![Action::Settle, Action::Confirm]),
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
