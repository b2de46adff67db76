//! The daemon's start: what the state on the disk means in this boot, and why, where the device fell back.

use jiff::Timestamp;

use super::Daemon;
use crate::image::other;
use crate::journal::Rejection;
use crate::reasons::{self, Left};
use crate::state::{Event, MOST_RESUMES, Machine, State};

impl Daemon {
    /// Takes up where the time before ended.
    pub(super) fn start(&mut self) {
        let boot = self.context.boot.clone();
        self.count_rounds();
        let rounds_grew = self.persisted.rounds.grown_in.as_ref() == Some(&boot.id);
        self.problems.boot = reasons::boot_problems(&boot, rounds_grew);
        let start = self.persisted.start(boot.slot, &boot.id);
        let before = self.machine();
        let (next, _) = before.step(Event::Started(start));
        if matches!(before.state, State::Waiting | State::Refused) && next.state == State::Verifying {
            self.check_what_runs();
        }
        let reason = self.start_reason(before, next, start.on_target);
        if start.on_target && before.state == State::RolledBack && before.marked {
            let kept = self.persisted.update.as_ref().and_then(|update| update.reason.as_deref());
            self.problems.boot.push(reasons::rejected_runs(&boot, kept));
        }
        self.apply(Event::Started(start), reason);
        self.refresh_slots();
    }

    fn count_rounds(&mut self) {
        let boot = &self.context.boot;
        if let Some(rounds) = self.persisted.rounds.counted(boot.rounds, &boot.id) {
            self.persisted.rounds = rounds;
            self.keep();
        }
    }

    /// Why the update ended, or the slot was left, before this start; none when nothing of that happened.
    fn start_reason(&mut self, before: Machine, next: Machine, on_target: bool) -> Option<String> {
        let checked = next.state == State::Verifying;
        if matches!(before.state, State::Idle | State::Refused | State::Waiting) && on_target && !checked {
            let slot = other(self.context.boot.slot);
            let note = self.persisted.note(slot);
            let left = Left { slot, version: note.version.as_deref(), was_good: note.called_good, verify_step: None };
            let reason = reasons::fall_back(&self.context.boot, left);
            self.persisted.note_mut(slot).reason = Some(reason.clone());
            return (before.state == State::Waiting).then_some(reason);
        }
        let update = self.persisted.update.as_ref()?;
        match (before.state, next.state) {
            (State::Installed | State::RebootPending | State::Verifying | State::Good, State::RolledBack) => {
                let is_verifying = before.state == State::Verifying;
                let left = Left {
                    slot: update.target,
                    version: Some(&update.version),
                    was_good: before.state == State::Good,
                    verify_step: update.verify_step.filter(|_| is_verifying),
                };
                Some(reasons::fall_back(&self.context.boot, left))
            }
            (State::Switching, State::Refused) => {
                Some("The power went away before the other slot was chosen: order to go back again.".to_owned())
            }
            _ => None,
        }
    }

    /// What runs is what is checked, whichever order it came from; why that was refused no longer counts.
    fn check_what_runs(&mut self) {
        let version = self.context.image.version.to_string();
        if let Some(update) = &mut self.persisted.update {
            update.version = version;
            update.reason = None;
        }
    }

    /// Why an install that was begun again and again is given up.
    pub(super) fn given_up(&self) -> String {
        let version = self.persisted.update.as_ref().map_or("unknown", |update| update.version.as_str());
        format!(
            "The power went away while the update to {version} was written, {} times: it was given up; install it again where the power holds.",
            MOST_RESUMES + 1
        )
    }

    /// What is to be kept of the system in the slot that does not run.
    pub(super) fn rejection(&self) -> Rejection {
        let slot = other(self.context.boot.slot);
        let update = self
            .persisted
            .update
            .as_ref()
            .filter(|update| update.machine.state == State::RolledBack && update.target == slot);
        let note = self.persisted.note(slot);
        let version = update.map(|update| update.version.clone()).or_else(|| note.version.clone());
        let reason = update.and_then(|update| update.reason.clone()).or_else(|| note.reason.clone());
        Rejection {
            version: version.unwrap_or_else(|| "unknown".to_owned()),
            slot,
            reason: reason.unwrap_or_else(|| "It is not known why.".to_owned()),
            verify_step: update.and_then(|update| update.verify_step),
            found_at: Timestamp::now(),
            installed_in: update.and_then(|update| update.installed_in.clone()),
            found_in: self.context.boot.id.clone(),
        }
    }
}
