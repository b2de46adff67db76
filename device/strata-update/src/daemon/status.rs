//! The status as callers see it, made anew after each change and sent only when it differs.

use strata_control::{SlotName, SlotState, SlotStatus, UpdateProgress};
use strata_update_protocol::{Answer, Status};

use super::Daemon;
use crate::state::State;

impl Daemon {
    /// Tells the watchers, when there is something new.
    pub(super) fn publish(&mut self) {
        let mut line = match serde_json::to_string(&Answer::Status(self.status())) {
            Ok(line) => line,
            Err(error) => return tracing::error!("the status has no JSON form: {error}"),
        };
        line.push('\n');
        self.status.send_if_modified(|now| {
            let differs = **now != *line;
            if differs {
                *now = line.into();
            }
            differs
        });
    }

    pub(super) fn status(&self) -> Status {
        Status {
            version: self.context.image.version.to_string(),
            booted: self.context.boot.slot,
            slots: [SlotName::A, SlotName::B].map(|name| self.slot(name)).to_vec(),
            update: self.progress(),
            problems: self.problems.all(&self.context.config.data_problems_file),
        }
    }

    fn progress(&self) -> Option<UpdateProgress> {
        let update = self.persisted.update.as_ref()?;
        let percent = match update.machine.state {
            State::Idle | State::Waiting => 0,
            State::Downloading | State::Refused => self.percent,
            _ => 100,
        };
        Some(UpdateProgress {
            version: update.version.clone(),
            slot: update.target,
            percent,
            step: update.machine.state.progress_step()?,
            error: update.reason.clone(),
        })
    }

    /// RAUC knows what may boot; whether it ever ran well, and why not, is ours to know.
    pub(super) fn slot(&self, name: SlotName) -> SlotStatus {
        let booted = name == self.context.boot.slot;
        let note = self.persisted.note(name);
        let seen = self.slots.iter().find(|slot| slot.name == name);
        let version = if booted {
            Some(self.context.image.version.to_string())
        } else {
            note.version.clone().or_else(|| seen.and_then(|slot| slot.version.clone()))
        };
        let is_empty = version.is_none() && !note.called_good;
        let used_up = seen.is_some_and(|slot| !slot.bootable) && !is_empty;
        let (state, reason) = match (&note.reason, booted) {
            (_, true) if self.good => (SlotState::Good, None),
            (reason, true) => (SlotState::Untested, reason.clone()),
            (Some(reason), false) => (SlotState::Bad, Some(reason.clone())),
            (None, false) if used_up => {
                (SlotState::Bad, Some("The boot loader has no attempts left for it.".to_owned()))
            }
            (None, false) if note.called_good => (SlotState::Good, None),
            (None, false) => (SlotState::Untested, None),
        };
        SlotStatus { name, booted, state, version, reason }
    }
}
