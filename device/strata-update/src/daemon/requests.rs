//! Requests: what each needs to be accepted, and the sentence when it is not.

use jiff::Timestamp;
use semver::Version;
use serde::Serialize;
use strata_control::{RefusedCode, SlotState};
use strata_update_protocol::{Answer, Install, Request};

use super::{Daemon, busy};
use crate::agent_file::Live;
use crate::image::{letter, other};
use crate::messages::is_remote;
use crate::state::{Event, Machine, State};
use crate::store::Record;
use crate::{files, floor};

/// The longest address that is taken; servers refuse longer ones.
const SOURCE_BYTES: usize = 2_048;

type Refusal = (RefusedCode, String);

/// `RESET_FILE`, as `strata-data` reads it at the next boot.
#[derive(Serialize)]
struct ResetFile {
    keep_identity: bool,
}

impl Daemon {
    /// Does what is asked, or says why not.
    pub(super) fn request(&mut self, request: Request) -> Answer {
        let result = match request {
            Request::Status | Request::Watch => return Answer::Status(self.status()),
            Request::Install(install) => self.install(install),
            Request::Rollback { even_if_live } => self.rollback(even_if_live),
            Request::Reboot { even_if_live } => self.ordered_reboot(even_if_live),
            Request::Reset { keep_identity, even_if_live } => self.reset(keep_identity, even_if_live),
        };
        match result {
            Ok(()) => Answer::Accepted,
            Err((code, message)) => {
                tracing::warn!("refused: {message}");
                Answer::Refused { code, message }
            }
        }
    }

    fn install(&mut self, install: Install) -> Result<(), Refusal> {
        let machine = self.machine();
        let is_same = self.persisted.update.as_ref().is_some_and(|update| update.asked.as_ref() == Some(&install));
        if is_same && (machine.is_busy() || machine.state == State::Waiting) {
            return Ok(());
        }
        if machine.is_busy() {
            return Err(busy(
                "Another update is under way: wait until it is done, `strata-update status` tells how far it is.",
            ));
        }
        let checked = check_order(&install);
        self.new_order(self.record(install));
        if let Err(message) = checked {
            self.refuse_record(&message);
            return Err((RefusedCode::InvalidSettings, message));
        }
        self.apply(Event::InstallAsked, None);
        self.still_begun()
    }

    /// An order that could not be written down was given up.
    fn still_begun(&self) -> Result<(), Refusal> {
        match &self.persisted.update {
            Some(Record { machine, reason: Some(reason), .. }) if machine.state == State::Refused => {
                Err((RefusedCode::Failed, reason.clone()))
            }
            _ => Ok(()),
        }
    }

    fn refuse_record(&mut self, message: &str) {
        self.change_record(|update| {
            update.machine = Machine::at(State::Refused);
            update.reason = Some(message.to_owned());
        });
    }

    fn record(&self, install: Install) -> Record {
        let version = install.version.clone().unwrap_or_else(|| "unknown".to_owned());
        Record { asked: Some(install), ..self.new_record(version) }
    }

    fn new_record(&self, version: String) -> Record {
        let booted = self.context.boot.slot;
        Record {
            machine: Machine::default(),
            asked: None,
            version,
            target: other(booted),
            source: booted,
            boot: self.context.boot.id.clone(),
            installed_in: None,
            asked_at: Timestamp::now(),
            changed_at: Timestamp::now(),
            verify_step: None,
            reason: None,
        }
    }

    fn rollback(&mut self, even_if_live: bool) -> Result<(), Refusal> {
        if self.machine().is_busy() {
            return Err(busy("An update is under way: wait until it is done."));
        }
        self.check_live(even_if_live)?;
        let slot = self.slot(other(self.context.boot.slot));
        let name = letter(slot.name);
        let failed = |message: String| (RefusedCode::Failed, message);
        if slot.state != SlotState::Good {
            let why = match (slot.state, slot.reason) {
                (SlotState::Bad, Some(reason)) => format!("it is bad: {}", reason.trim_end_matches('.')),
                _ => "its system never ran well on this device".to_owned(),
            };
            return Err(failed(format!("The device cannot go back to slot {name}: {why}.")));
        }
        let floor = self.context.floor.now();
        let version = slot.version.unwrap_or_default();
        floor::check(&version, &floor, None)
            .map_err(|_| failed(format!("The device cannot go back to slot {name}: its version {version} is older than {floor}, the oldest one that it may run.")))?;
        self.new_order(self.new_record(version));
        self.apply(Event::RollbackAsked, None);
        self.still_begun()
    }

    fn ordered_reboot(&mut self, even_if_live: bool) -> Result<(), Refusal> {
        self.check_live(even_if_live)?;
        match self.machine().state {
            State::Downloading => {
                Err(busy("An update is being written: the reboot would break it off; wait until it is installed."))
            }
            State::Verifying => Err(busy("The new system checks itself: wait until it is done.")),
            State::Installed => {
                self.apply(Event::RebootDue, None);
                Ok(())
            }
            _ => {
                self.reboot();
                Ok(())
            }
        }
    }

    fn reset(&mut self, keep_identity: bool, even_if_live: bool) -> Result<(), Refusal> {
        if self.machine().is_busy() {
            return Err(busy("An update is under way: a factory reset has to wait until it is done."));
        }
        self.check_live(even_if_live)?;
        files::replace_json(&self.context.config.reset_file, &ResetFile { keep_identity })
            .map_err(|error| (RefusedCode::Failed, format!("The factory reset cannot be ordered: {error:#}.")))?;
        tracing::warn!(keep_identity, "factory reset at the next boot");
        self.reboot();
        Ok(())
    }

    fn check_live(&self, even_if_live: bool) -> Result<(), Refusal> {
        match self.context.live() {
            _ if even_if_live => Ok(()),
            Live::Streams(0) => Ok(()),
            Live::Streams(_) => Err(busy(
                "A stream is live, which this would end: stop it first, or order it all the same (--even-if-live).",
            )),
            Live::Unknown => Err(busy(
                "The agent does not tell whether a stream is live, which this would end: try again in a minute, or order it all the same (--even-if-live).",
            )),
        }
    }
}

/// What can be said of an order without looking at the bundle.
fn check_order(install: &Install) -> Result<(), String> {
    let Install { source, version, manifest_sha256, .. } = install;
    if source.len() > SOURCE_BYTES || source.chars().any(char::is_control) {
        return Err(format!("The bundle's address is longer than {SOURCE_BYTES} bytes or holds control characters."));
    }
    if !is_remote(source) && !source.starts_with('/') {
        return Err(format!("“{source}” is no bundle's address: http://, https:// or an absolute path is needed."));
    }
    if let Some(version) = version
        && Version::parse(version).is_err()
    {
        return Err(format!("“{version}” is no version number like 1.2.3."));
    }
    if let Some(hash) = manifest_sha256
        && (hash.len() != 64 || !hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
    {
        return Err(format!(
            "“{hash}” is no SHA-256: 64 hexadecimal digits in lower case are needed, as `rauc info` prints them."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use strata_control::UpdateSchedule;

    use super::*;

    fn order(source: &str, version: Option<&str>, hash: Option<String>) -> Result<(), String> {
        check_order(&Install {
            source: source.to_owned(),
            version: version.map(str::to_owned),
            manifest_sha256: hash,
            over_metered: false,
            install: UpdateSchedule::Now,
            reboot: UpdateSchedule::Now,
        })
    }

    #[test]
    fn orders_that_cannot_be_are_refused_by_their_value() {
        order("https://relay.example/x.raucb", Some("1.2.3-rc.1"), Some("0a".repeat(32))).unwrap();
        order("/data/x.raucb", None, None).unwrap();
        for (source, version, hash, part) in [
            ("x.raucb", None, None, "“x.raucb” is no bundle's address"),
            ("ftp://relay.example/x", None, None, "no bundle's address"),
            ("/data/x\n", None, None, "control characters"),
            (&format!("/{}", "x".repeat(3_000)), None, None, "longer than"),
            ("/data/x", Some("newest"), None, "“newest” is no version"),
            ("/data/x", None, Some("0A".repeat(32)), "is no SHA-256"),
            ("/data/x", None, Some("0a".repeat(31)), "is no SHA-256"),
        ] {
            let message = order(source, version, hash).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
